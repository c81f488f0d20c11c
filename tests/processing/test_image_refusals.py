"""Pictures that are refused: each by its name, its fault and what to do."""

import io
import itertools
import random

import numpy
import pytest
from PIL import Image

from SPHINX_V.errors import DataError, SphinxVError, UsageError
from SPHINX_V.processing.image import (
    ALLOWED_FORMATS,
    MAX_PIXELS,
    MAX_SIDE,
    as_picture,
    open_picture,
    picture_size,
)
from tests.processing.pictures import colours, forged_png, saved

PORTRAIT_TAG = 274  # EXIF orientation


@pytest.mark.parametrize("size", [(8001, 8000), (12000, 12000), (60000, 60000)])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_too_many_pixels_are_refused_on_the_header(tmp_path, size):
    path = tmp_path / "bomb.png"
    path.write_bytes(forged_png(*size))
    # A file without pixels that was refused for their number was refused before they were looked for.
    with pytest.raises(DataError, match=rf"bomb\.png: .*pixels.*{MAX_PIXELS}.*make it smaller"):
        open_picture(path)


@pytest.mark.parametrize("size", [(MAX_SIDE + 1, 1), (2, 100_000), (3900, MAX_SIDE + 16)])
def test_long_thin_pictures_are_refused_for_the_square_they_need(tmp_path, size):
    path = tmp_path / "strip.png"
    path.write_bytes(forged_png(*size))
    side = max(size)
    for opened in (open_picture, picture_size):
        with pytest.raises(
            DataError, match=rf"strip\.png: {size[0]}×{size[1]} .* {side**2}; the limit is .* {MAX_SIDE**2}"
        ):
            opened(path)
    with pytest.raises(DataError, match="long side at most"):
        as_picture(Image.new("L", (MAX_SIDE + 1, 1)))


def test_panoramas_are_taken(tmp_path):
    path = tmp_path / "panorama.png"
    path.write_bytes(forged_png(16_000, 4000))
    assert picture_size(path) == (16_000, 4000)
    assert as_picture(Image.new("RGB", (16_000, 3))).size == (16_000, 3)


def test_as_many_pixels_as_allowed_are_not_refused_for_their_number(tmp_path):
    path = tmp_path / "large.png"
    path.write_bytes(forged_png(8000, 8000))
    with pytest.raises(DataError, match="cannot be decoded"):
        open_picture(path)


@pytest.mark.parametrize("mode", ["I;16", "I", "F"])
def test_more_than_8_bits_a_channel_are_refused(tmp_path, mode):
    deep = Image.fromarray(numpy.full((4, 6), 1000, {"I;16": "uint16", "I": "int32", "F": "float32"}[mode]))
    with pytest.raises(DataError, match=rf"a\.tiff: mode {mode}\S* has more than 8 bits.*8-bit RGB"):
        open_picture(saved(tmp_path, deep, "a.tiff"))
    with pytest.raises(DataError, match=r"picture: mode .* has more than 8 bits"):
        as_picture(deep)


def test_deep_colour_keeps_the_upper_byte_of_each_channel(tmp_path):
    """PIL reads 16-bit RGB as 8-bit by itself, and rightly; only single deep channels have no known range."""
    path = tmp_path / "deep.png"
    red, green, blue, alpha = [200, 99], [100, 1], [3, 255], [7, 7]
    for colour, channels in ((2, (red, green, blue)), (6, (red, green, blue, alpha))):
        path.write_bytes(forged_png(1, 1, depth=16, pixels=bytes([0, *itertools.chain(*channels)]), colour=colour))
        assert open_picture(path).getpixel((0, 0)) == (200, 100, 3)
    path.write_bytes(forged_png(1, 1, depth=16, pixels=bytes([0, *red, *alpha]), colour=4))
    assert open_picture(path).getpixel((0, 0)) == (200, 200, 200)


def test_a_png_of_one_deep_channel_is_refused(tmp_path):
    path = tmp_path / "deep.png"
    path.write_bytes(forged_png(1, 1, depth=16, pixels=b"\0\1\2", colour=0))
    for opened in (open_picture, picture_size):
        with pytest.raises(DataError, match=r"deep\.png: mode I;16 has more than 8 bits a channel"):
            opened(path)


@pytest.mark.parametrize("name", ["a.gif", "a.png", "a.webp", "a.tiff"])
def test_animations_and_several_pages_are_refused(tmp_path, name):
    path = saved(tmp_path, colours(), name, save_all=True, append_images=[colours().rotate(180)])
    with pytest.raises(DataError, match=rf"{name}: an animation or a file of several pages; save the frame"):
        open_picture(path)


def test_svg_and_other_formats_are_refused(tmp_path):
    texts = {"a.svg": b'<svg xmlns="http://www.w3.org/2000/svg"/>', "a.jpg": b"not a picture", "empty.png": b""}
    for name, content in texts.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=rf"{name}: not a picture of JPEG, PNG"):
            open_picture(tmp_path / name)
    # PIL itself would open these.
    for kind in ("PPM", "ICO", "TGA"):
        assert kind not in ALLOWED_FORMATS
        path = saved(tmp_path, colours(32, 32), f"a.{kind.lower()}")
        with pytest.raises(DataError, match="not a picture of JPEG, PNG"):
            open_picture(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"nowhere/a\.png: no such picture; check the path"):
        open_picture(tmp_path / "nowhere" / "a.png")


def test_a_folder_and_an_impossible_name_are_refused(tmp_path):
    for path in (tmp_path, f"{tmp_path}/a\0b.png"):
        with pytest.raises(DataError, match="cannot be decoded"):
            open_picture(path)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.bmp", "a.tiff", "a.webp"])
def test_a_truncated_file_is_refused(tmp_path, name):
    noisy = Image.fromarray(numpy.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=numpy.uint8))
    path = saved(tmp_path, noisy, name)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match=name):
        open_picture(path)


def test_a_truncated_picture_that_pil_has_opened_is_refused():
    noisy = Image.fromarray(numpy.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=numpy.uint8))
    stream = io.BytesIO()
    noisy.save(stream, "PNG")
    lazily = Image.open(io.BytesIO(stream.getvalue()[:2000]))
    with pytest.raises(DataError, match=r"cannot be decoded .*truncated"):
        as_picture(lazily)


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::PIL.Image.DecompressionBombWarning")
def test_damaged_files_raise_our_errors_only(tmp_path):
    """PIL's readers let TypeError, IndexError and others out; a user sees one kind, with the name of the file."""
    chance, path = random.Random(0), tmp_path / "damaged"
    exif = Image.Exif()
    exif[PORTRAIT_TAG] = 6
    for kind in ("PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP"):
        stream = io.BytesIO()
        colours(20, 12).save(stream, kind, **({"exif": exif} if kind in ("PNG", "JPEG", "TIFF", "WEBP") else {}))
        refused = 0
        for _ in range(60):
            content = bytearray(stream.getvalue())
            for _ in range(chance.randrange(1, 6)):
                content[chance.randrange(min(len(content), 200))] = chance.randrange(256)
            path.write_bytes(content[: chance.randrange(len(content) // 2, len(content) + 1)])
            try:
                opened, sentence = open_picture(path), ""
            except SphinxVError as error:
                opened, sentence = None, str(error)
            assert str(path) in sentence if opened is None else opened.mode == "RGB"
            refused += opened is None
        assert refused > 5, kind


@pytest.mark.parametrize("shape", [(0, 5, 3), (5, 0, 3), (0, 5), (5, 0, 4)])
def test_an_empty_picture_is_refused(shape):
    with pytest.raises(DataError, match="an empty picture"):
        as_picture(numpy.zeros(shape, dtype=numpy.uint8))


@pytest.mark.parametrize(
    "value",
    [
        None,
        5,
        b"bytes",
        [[1]],
        numpy.zeros((4, 4, 3)),
        *(numpy.zeros(shape, numpy.uint8) for shape in ((4,), (4, 4, 2))),
    ],
)
def test_what_is_no_picture_is_named(value):
    with pytest.raises(UsageError, match=r"a picture cannot be a .*; give a path, a PIL image or a uint8 array"):
        as_picture(value)
