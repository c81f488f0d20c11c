"""Text in lines of a width, and badges as pixels."""

from PIL import Image, ImageDraw

from accessory.page.drawing import draw_badge, font, wrapped
from SPHINX_V.overlay import PALETTE


def test_lines_hold_whole_words_and_as_many_as_fit():
    width = font(20).getlength("one two")
    assert wrapped("one two three\n\nfour", 20, width) == ["one two", "three", "", "four"]
    assert wrapped("incomprehensibilities a", 20, width) == ["incomprehensibilities", "a"]


def test_a_badge_fills_its_square():
    picture = Image.new("RGB", (40, 40), "white")
    draw_badge(ImageDraw.Draw(picture), (5, 8), 2, side=20)
    assert picture.getpixel((7, 18)) == PALETTE[1]
    assert picture.getpixel((3, 18)) == picture.getpixel((15, 30)) == (255, 255, 255)
