"""A picture that comes again is neither opened nor resized again, as long as there is room for it."""

import numpy
import pytest
from PIL import Image

from SPHINX_V.errors import DataError
from SPHINX_V.generation.squares import Squares

SIDE = 16
BYTES = 3 * SIDE * SIDE


def noise(seed=0, mode="RGB"):
    pixels = numpy.random.default_rng(seed).integers(0, 256, (30, 50, 3), dtype=numpy.uint8)
    return Image.fromarray(pixels).convert(mode)


def test_the_same_content_is_found_again_whatever_it_is_given_as(tmp_path):
    squares, picture = Squares(SIDE, 10 * BYTES), noise()
    picture.save(tmp_path / "a.png")
    picture.save(tmp_path / "b.bmp")
    first = squares.open(picture)
    for value in (picture, picture.copy(), numpy.array(picture)):
        assert squares.open(value).pixels is first.pixels, "nobody has resized it again"
    for name in ("a.png", "b.bmp"):
        opened = squares.open(tmp_path / name)
        again = squares.open(tmp_path / name)
        assert (opened.key, opened.size) == (first.key, first.size) == (again.key, again.size)
        assert again.pixels is opened.pixels
    assert squares.open(noise(1)).key != first.key


def test_a_file_that_has_changed_is_another_picture(tmp_path):
    squares, path = Squares(SIDE, 10 * BYTES), tmp_path / "a.png"
    noise(0).save(path)
    first = squares.open(path)
    noise(1).save(path)
    assert squares.open(path).key == squares.open(noise(1)).key != first.key
    path.write_bytes(b"no picture any more")
    with pytest.raises(DataError, match=r"a\.png: not a picture"):
        squares.open(path)


def test_what_was_not_used_for_longest_goes_first():
    squares = Squares(SIDE, 2 * BYTES)
    kept, dropped = squares.open(noise(0)), squares.open(noise(1))
    squares.open(noise(0))
    squares.open(noise(2))
    assert squares.open(noise(0)).pixels is kept.pixels
    again = squares.open(noise(1))
    assert again.pixels is not dropped.pixels
    assert (again.key, again.size) == (dropped.key, dropped.size)
    squares.clear()
    assert squares.open(noise(0)).pixels is not kept.pixels


def test_pictures_that_only_their_pixels_can_tell_are_opened_each_time_and_known_then():
    squares = Squares(SIDE, 2 * BYTES)
    grey = noise(0, "L")
    assert squares.open(grey).key == squares.open(grey).key == squares.open(grey.convert("RGB")).key
