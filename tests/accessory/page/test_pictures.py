"""Pictures for people: enlarged before marks are drawn, marks on the same places."""

import numpy
import pytest
from PIL import Image

from accessory.page.pictures import LARGEST, marked_picture, scaled
from SPHINX_V.prompts import Box, Mask, Point, Scribble
from tests.accessory.eval.small_items import picture_at


@pytest.mark.parametrize(
    "size, expected", [((208, 100), (624, 300)), ((144, 160), (576, 640)), ((400, 300), (400, 300))]
)
def test_a_small_picture_grows_a_whole_number_of_times(tmp_path, size, expected):
    assert marked_picture(picture_at(tmp_path / "a.png", size), ()).size == expected


def test_a_large_picture_is_reduced(tmp_path):
    picture = marked_picture(picture_at(tmp_path / "a.png", (2 * LARGEST, 40)), (Point(5, 5),))
    assert picture.size == (LARGEST, 20)


def test_a_box_is_drawn_on_the_place_it_names(tmp_path):
    path = picture_at(tmp_path / "a.png", (100, 100), "white")
    plain, marked = (numpy.asarray(marked_picture(path, marks)) for marks in ((), (Box(40, 60, 80, 90),)))
    rows, columns = numpy.nonzero((plain != marked).any(axis=2))
    # Six times as large; lines and badge reach at most 40 pixels further.
    assert 240 - 40 <= columns.min() <= 240
    assert 480 <= columns.max() <= 480 + 40
    assert 540 <= rows.max() <= 540 + 40


def test_larger_marks_cover_more(tmp_path):
    path = picture_at(tmp_path / "a.png", (100, 100), "white")
    plain = numpy.asarray(marked_picture(path, ()))
    small, large = (
        (numpy.asarray(marked_picture(path, (Point(50, 50),), mark_size=size)) != plain).any(axis=2).sum()
        for size in (1.0, 2.0)
    )
    assert large > 2 * small


def test_pixels_keep_their_middle_and_boxes_their_edges():
    # Pixel 0 of three becomes pixels 0, 1, 2, whose middle one is 1.
    assert scaled(Point(0, 10), 3) == Point(1, 31)
    assert scaled(Scribble(((0, 0), (2, 1))), 3) == Scribble(((1, 1), (7, 4)))
    assert scaled(Box(0, 1, 2, 3), 3) == Box(0, 3, 6, 9)
    assert scaled(Point(1, 2), 1) == Point(1, 2)


def test_masks_grow_with_the_picture_and_vanish_to_a_box():
    array = numpy.zeros((10, 20), bool)
    array[2, 3] = True
    grown = scaled(Mask(array), 2)
    assert grown.array.shape == (20, 40)
    assert grown.bounds() == (6, 4, 8, 6)
    assert isinstance(scaled(Mask(array), 0.2), Mask | Box)


def test_a_turned_photograph_is_shown_as_it_is_meant(tmp_path):
    turned = Image.Exif()
    turned[0x0112] = 6  # the camera was held upright
    Image.new("RGB", (400, 300)).save(tmp_path / "a.jpg", exif=turned)
    assert marked_picture(tmp_path / "a.jpg", ()).size == (300, 400)
