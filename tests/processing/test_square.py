"""Pictures as the model sees them are known by their pixels, whatever they are given as."""

import numpy
import pytest
import torch
from PIL import Image

from SPHINX_V.errors import SphinxVError
from SPHINX_V.processing.image import MAX_SIDE, as_picture, open_picture, square_picture
from SPHINX_V.processing.square import source_of, square_of
from tests.processing.pictures import colours

SIDE = 16
PORTRAIT_TAG = 274  # EXIF orientation


def square(value):
    return square_of(source_of(value), SIDE)


@pytest.fixture
def noise():
    return Image.fromarray(numpy.random.default_rng(0).integers(0, 256, (30, 50, 3), dtype=numpy.uint8))


def turned():
    exif = Image.Exif()
    exif[PORTRAIT_TAG] = 6
    picture = colours()
    picture.info["exif"] = exif.tobytes()
    return picture


def transparent():
    picture = colours()
    picture.info["transparency"] = (255, 0, 0)
    return picture


GIVEN = {
    "RGB": colours,
    "an array": lambda: numpy.asarray(colours()),
    "a part of an array": lambda: numpy.asarray(colours(64, 48))[::2, 1:-1:3],
    "grey": lambda: numpy.asarray(colours().convert("L")),
    "with alpha": lambda: colours().convert("RGBA"),
    "a palette": lambda: colours().convert("P"),
    "a transparent colour": transparent,
    "on its side": turned,
}


@pytest.mark.parametrize("given", GIVEN.values(), ids=GIVEN)
def test_a_picture_is_squared_as_it_is_opened(tmp_path, given):
    value = given()
    picture = as_picture(value)
    found = square(value)
    assert found.size == picture.size
    assert torch.equal(found.pixels, square_picture(picture, SIDE))
    picture.save(tmp_path / "same.png")
    assert square(tmp_path / "same.png").key == square(picture).key == found.key


def test_a_file_is_squared_as_it_is_opened(tmp_path):
    exif = Image.Exif()
    exif[PORTRAIT_TAG] = 6
    colours().save(tmp_path / "turned.jpg", exif=exif)
    found, picture = square(str(tmp_path / "turned.jpg")), open_picture(tmp_path / "turned.jpg")
    assert found.size == picture.size == colours().size[::-1]
    assert torch.equal(found.pixels, square_picture(picture, SIDE))
    assert found.key == square(picture).key


def test_other_pixels_and_other_sizes_are_other_pictures(noise):
    pixels = numpy.array(noise)
    other = pixels.copy()
    other[29, 49, 2] ^= 1
    keys = {square(value).key for value in (pixels, other, pixels.reshape(50, 30, 3), noise.rotate(180))}
    assert len(keys) == 4


def test_a_source_tells_its_content_and_not_its_name(tmp_path, noise):
    for name in ("a.png", "b.png"):
        noise.save(tmp_path / name)
    first, copy = source_of(tmp_path / "a.png"), source_of(tmp_path / "b.png")
    assert first.key == copy.key != ""
    noise.rotate(180).save(tmp_path / "a.png")
    assert source_of(tmp_path / "a.png").key != first.key
    assert square_of(first, SIDE).key == square(tmp_path / "b.png").key, "what was read is what is opened"
    pixels = numpy.array(noise)
    before = source_of(pixels).key
    pixels[0, 0] ^= 255
    assert source_of(pixels).key not in ("", before)


@pytest.mark.parametrize(
    "value",
    [
        5,
        None,
        "nowhere.png",
        "a\0b.png",
        "",
        numpy.zeros((3, 4, 3)),
        numpy.zeros((0, 4, 3), dtype=numpy.uint8),
        numpy.zeros((2, 3, 4, 3), dtype=numpy.uint8),
        Image.new("I", (3, 4)),
        Image.new("RGB", (MAX_SIDE + 1, 1)),
        Image.new("RGB", (0, 4)),
    ],
)
def test_what_is_no_picture_is_refused_as_it_is_elsewhere(value):
    with pytest.raises(SphinxVError) as expected:
        as_picture(value)
    with pytest.raises(type(expected.value)) as found:
        square(value)
    assert str(found.value) == str(expected.value)


def test_damaged_and_other_files_are_refused_by_name(tmp_path, noise):
    noise.save(tmp_path / "whole.png")
    content = (tmp_path / "whole.png").read_bytes()
    for name, data in {
        "half.png": content[: len(content) // 2],
        "text.png": b"not a picture",
        "empty.png": b"",
    }.items():
        (tmp_path / name).write_bytes(data)
    for path in (*(tmp_path / name for name in ("half.png", "text.png", "empty.png")), tmp_path):
        with pytest.raises(SphinxVError) as expected:
            open_picture(path)
        with pytest.raises(type(expected.value)) as found:
            square(path)
        assert str(path) in str(found.value)
        assert str(found.value) == str(expected.value)
