"""Marks in HTML: texts are escaped, tags become badges in the colours of the overlay."""

from accessory.page.marks import PictureFile, badge, in_words, picture_tag, with_tags
from SPHINX_V.overlay import PALETTE
from SPHINX_V.prompts import Box, Point


def test_named_marks_become_badges():
    assert with_tags("<Region 2> & <Mark 1>") == (
        f'<span class="tag">Region&nbsp;{badge(2)}</span> &amp; <span class="tag">Mark&nbsp;{badge(1)}</span>'
    )


def test_lines_without_brackets_as_released_files_have_them():
    assert with_tags("Region 1: cat\nin Region 2: no") == (
        f'<span class="tag">Region&nbsp;{badge(1)}</span>: cat<br>in Region 2: no'
    )


def test_a_badge_has_the_colour_of_its_mark_and_legible_ink():
    red, green, blue = PALETTE[0]
    assert f"--plate:rgb({red},{green},{blue});" in badge(1)
    assert "--plate-ink:rgb(255,255,255)" in badge(5)
    assert "--plate-ink:rgb(20,20,24)" in badge(3)
    assert badge(11).replace("11", "1") == badge(1), "colours repeat after ten"


def test_a_picture_is_described():
    tag = picture_tag(PictureFile('a".jpg', 3, 2), (Box(0, 0, 1, 1), Box(0, 0, 2, 2)))
    assert 'src="a&quot;.jpg" alt="Picture with 2 numbered regions" width="3" height="2"' in tag
    assert [in_words(()), in_words((Point(1, 1),))] == ["no marks", "1 numbered point"]
