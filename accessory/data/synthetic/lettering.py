"""Writes words into pictures, never smaller than the tiny model can read."""

from __future__ import annotations

import math
from functools import cache

from PIL import Image, ImageDraw, ImageFont

from .elements import Box, Element, inner_zone
from .layout import MODEL_SIDE
from .vocabulary import Rgb

MIN_LETTERS = 10.2  # height of a capital letter in the model's 128 pixels
_CAP_HEIGHT = 0.7  # of a capital letter in Pillow's built-in font, per unit of font size
_WEIGHT = 0.035  # the font has one weight; a stroke of this share of the letter height makes it semi-bold


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size=size)
    assert isinstance(font, ImageFont.FreeTypeFont), "Pillow without FreeType cannot draw the data set"
    return font


def _sized_font(letters: float) -> ImageFont.FreeTypeFont:
    return _font(math.ceil(letters / _CAP_HEIGHT))


def unit(size: tuple[int, int]) -> float:
    """How many pixels of a picture of `size` (width, height) become one pixel of the tiny model's input."""
    return max(size) / MODEL_SIDE


def word_width(word: str, letters: float) -> int:
    """The width in pixels of `word` in capitals `letters` pixels high."""
    return math.ceil(_sized_font(letters).getlength(word) + 2 * _WEIGHT * letters)


def write_word(image: Image.Image, word: str, box: Box, letters: float, ink: Rgb) -> Element:
    """Write `word` in the middle of `box` (xyxy pixels), capitals `letters` pixels high; its element is the box."""
    # Anchored at the base line: the font's own middle takes letters with tails into account, capitals have none.
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3] + letters) / 2
    draw = ImageDraw.Draw(image)
    draw.text((x, y), word, font=_sized_font(letters), fill=ink, anchor="ms", stroke_width=_WEIGHT * letters)
    return Element("word", word, box, inner_zone(box, (0.2, 0.3, 0.8, 0.7)))
