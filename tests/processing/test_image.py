"""Pictures: exact pixels of the reference, every usual format, and a clear refusal of all else."""

import io
import itertools
import random
import struct
import zlib

import numpy
import pytest
import torch
from PIL import Image

from SPHINX_V.errors import DataError, SphinxVError, UsageError
from SPHINX_V.processing.image import (
    ALLOWED_FORMATS,
    MAX_PIXELS,
    MAX_SIDE,
    PAD_COLOR,
    SquareFrame,
    as_picture,
    normalise,
    open_picture,
    picture_size,
    square_picture,
)

PORTRAIT_TAG = 274  # EXIF orientation


def colours(width=6, height=4):
    """A picture whose pixels all differ: red counts columns, green counts rows."""
    array = numpy.zeros((height, width, 3), dtype=numpy.uint8)
    array[..., 0] = numpy.arange(width) * 30
    array[..., 1] = numpy.arange(height)[:, None] * 40
    array[..., 2] = 100
    return Image.fromarray(array)


def saved(folder, picture, name, **options):
    picture.save(folder / name, **options)
    return folder / name


@pytest.mark.parametrize("name", ["image", "portrait"])
def test_pixels_of_the_reference_exactly(golden, golden_tensors, name):
    prefix = "" if name == "image" else "portrait_"
    picture = open_picture(golden / f"{name}.png")
    assert list(picture.size) == golden_tensors[f"{prefix}image_size"].tolist()
    assert torch.equal(square_picture(picture, 448), golden_tensors[f"{prefix}pixels_u8"])


def test_pad_colour_is_clips_mean_cut_to_whole_numbers():
    assert PAD_COLOR == (122, 116, 104)
    square = square_picture(Image.new("RGB", (4, 10), (255, 255, 255)), 10)
    assert square[:, 5, 0].tolist() == [122, 116, 104]
    assert square[:, 5, 4].tolist() == [255, 255, 255]


@pytest.mark.parametrize(
    ("size", "left", "top"),
    [((7, 4), 0, 1), ((4, 7), 1, 0), ((5, 5), 0, 0), ((222, 499), 138, 0), ((643, 361), 0, 141)],
)
def test_padding_left_and_top_is_the_floor_of_half_the_difference(size, left, top):
    frame = SquareFrame(*size)
    assert (frame.left, frame.top, frame.side) == (left, top, max(size))
    square = square_picture(Image.new("RGB", size, (255, 0, 0)), frame.side)
    inside = (square[0] == 255).nonzero()
    assert inside.min(0).values.tolist() == [top, left]
    assert inside.max(0).values.tolist() == [top + size[1] - 1, left + size[0] - 1]


def test_wide_and_tall_pictures_are_resized_as_if_padded_first():
    noise = numpy.random.default_rng(0)
    for _ in range(60):
        *size, target = noise.integers(1, 90, 3).tolist()
        picture = Image.fromarray(noise.integers(0, 256, (size[1], size[0], 3), dtype=numpy.uint8))
        frame = SquareFrame(*size)
        padded = Image.new("RGB", (frame.side, frame.side), PAD_COLOR)
        padded.paste(picture, (frame.left, frame.top))
        expected = numpy.asarray(padded.resize((target, target), Image.Resampling.BICUBIC))
        assert square_picture(picture, target).permute(1, 2, 0).numpy().tolist() == expected.tolist(), (size, target)


def test_coordinates_are_rounded_to_3_decimals():
    frame = SquareFrame(643, 361)
    assert frame.to_unit(120, 200) == (0.187, 0.53)  # 120 / 643 = 0.18663, (200 + 141) / 643 = 0.53033
    assert frame.to_unit(0, 0) == (0.0, 0.219)
    assert SquareFrame(1000, 1000).to_unit(123.4, 123.6) == (0.123, 0.124)
    assert SquareFrame(222, 499).to_unit(0, 1) == (0.277, 0.002)


def test_coordinates_outside_the_picture_are_not_clipped():
    assert SquareFrame(100, 50).to_unit(-10, 60) == (-0.1, 0.85)


def test_normalised_pixels_are_clips():
    square = torch.tensor([0, 128, 255], dtype=torch.uint8).view(3, 1, 1)
    expected = [(0 - 0.48145466) / 0.26862954, (128 / 255 - 0.4578275) / 0.26130258, (1 - 0.40821073) / 0.27577711]
    assert normalise(square).flatten().tolist() == pytest.approx(expected, abs=1e-6)
    assert normalise(square.expand(2, 3, 5, 5)).shape == (2, 3, 5, 5)


def test_a_picture_is_not_changed_by_squaring():
    picture = colours()
    before = picture.tobytes()
    square_picture(picture, 16)
    assert picture.tobytes() == before
    assert picture.size == (6, 4)


# ---- formats


@pytest.mark.parametrize("ending", ["png", "bmp", "tiff", "gif", "webp"])
def test_lossless_formats_give_their_pixels(tmp_path, ending):
    options = {"lossless": True} if ending == "webp" else {}
    path = saved(tmp_path, colours(), f"a.{ending}", **options)
    assert open_picture(path).mode == "RGB"
    assert open_picture(path).tobytes() == colours().tobytes()
    assert open_picture(str(path)).tobytes() == colours().tobytes()


def test_the_ending_of_the_name_does_not_matter(tmp_path):
    path = saved(tmp_path, colours(), "a.png")
    assert open_picture(path.rename(tmp_path / "a.jpg")).tobytes() == colours().tobytes()


@pytest.mark.parametrize(
    ("orientation", "turned"),
    [
        (1, None),
        (2, Image.Transpose.FLIP_LEFT_RIGHT),
        (3, Image.Transpose.ROTATE_180),
        (6, Image.Transpose.ROTATE_270),
        (8, Image.Transpose.ROTATE_90),
    ],
)
def test_exif_orientation_is_applied(tmp_path, orientation, turned):
    exif = Image.Exif()
    exif[PORTRAIT_TAG] = orientation
    path = saved(tmp_path, colours(), "a.png", exif=exif)
    expected = colours() if turned is None else colours().transpose(turned)
    for opened in (open_picture(path), as_picture(Image.open(path))):
        assert opened.size == expected.size
        assert opened.tobytes() == expected.tobytes()
        assert opened.getexif().get(PORTRAIT_TAG, 1) == 1, "a second look would turn it again"


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ending", ["png", "jpg", "tiff", "webp"])
def test_the_size_is_known_without_decoding(tmp_path, ending, orientation):
    exif = Image.Exif()
    exif[PORTRAIT_TAG] = orientation
    path = saved(tmp_path, colours(), f"a.{ending}", exif=exif)
    assert picture_size(path) == open_picture(path).size == ((4, 6) if orientation > 4 else (6, 4))


def test_the_size_needs_no_pixels_and_refuses_what_the_header_shows(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(forged_png(7, 3))
    assert picture_size(path) == (7, 3)
    path.write_bytes(forged_png(9000, 9000))
    with pytest.raises(DataError, match="make it smaller"):
        picture_size(path)


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGBA", "LA", "CMYK", "YCbCr"])
def test_other_colour_modes_become_rgb(tmp_path, mode):
    grey = Image.new("RGB", (6, 4), (255, 255, 255))
    name = "a.jpg" if mode in ("CMYK", "YCbCr") else "a.png"
    options = {"quality": 100} if name == "a.jpg" else {}
    opened = open_picture(saved(tmp_path, grey.convert(mode), name, **options))
    assert opened.mode == "RGB"
    assert min(opened.getpixel((3, 2))) >= 253


def test_a_palette_gives_its_colours(tmp_path):
    picture = Image.new("RGB", (6, 4), (10, 200, 30))
    path = saved(tmp_path, picture.quantize(4), "a.png")
    assert open_picture(path).getpixel((0, 0)) == (10, 200, 30)


def test_transparency_shows_the_colour_below_it(tmp_path):
    """As the reference's convert("RGB"): alpha is dropped, nothing is blended."""
    path = saved(tmp_path, Image.new("RGBA", (6, 4), (10, 200, 30, 40)), "a.png")
    assert open_picture(path).getpixel((0, 0)) == (10, 200, 30)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("transparency", [0, bytes([40, 0, 255, 255])])
def test_a_palette_with_transparency_gives_its_colours_without_a_word(tmp_path, transparency):
    picture = colours().quantize(4)
    path = saved(tmp_path, picture, "a.png", transparency=transparency)
    with Image.open(path) as opened:
        assert (opened.mode, "transparency" in opened.info) == ("P", True)
        assert as_picture(opened).tobytes() == picture.convert("RGB").tobytes()
        assert "transparency" in opened.info, "the picture that was handed in is not changed"
    assert open_picture(path).tobytes() == picture.convert("RGB").tobytes()


@pytest.mark.parametrize("name", ["a.jpg", "a.tiff"])
def test_print_colours_become_those_of_the_screen(tmp_path, name):
    """Magenta and yellow ink make red. Adobe's JPEG files hold the four inks inverted; PIL writes and reads them so."""
    inks = Image.merge("CMYK", [Image.new("L", (16, 16), ink) for ink in (0, 255, 255, 0)])
    path = saved(tmp_path, inks, name, **({"quality": 100} if name == "a.jpg" else {}))
    with Image.open(path) as opened:
        assert opened.mode == "CMYK"
    assert open_picture(path).getpixel((5, 5)) == (255, 0, 0)


def test_an_orientation_that_does_not_exist_leaves_the_picture_as_it_lies(tmp_path):
    exif = Image.Exif()
    exif[PORTRAIT_TAG] = 9
    path = saved(tmp_path, colours(), "a.png", exif=exif)
    assert open_picture(path).tobytes() == colours().tobytes()
    assert picture_size(path) == (6, 4)


def test_cameras_multi_picture_files_give_their_first_picture(tmp_path):
    path = tmp_path / "a.jpg"
    Image.new("RGB", (6, 4), (255, 255, 255)).save(
        path, "MPO", save_all=True, append_images=[Image.new("RGB", (6, 4))], quality=100
    )
    assert Image.open(path).format == "MPO"
    assert min(open_picture(path).getpixel((0, 0))) > 250


def test_arrays_and_pil_pictures():
    array = numpy.asarray(colours())
    assert as_picture(array).tobytes() == as_picture(colours()).tobytes() == colours().tobytes()
    assert as_picture(colours().convert("CMYK")).mode == "RGB"


@pytest.mark.parametrize("mode", ["L", "RGBA"])
def test_grey_arrays_and_those_with_alpha_are_taken_as_their_pil_forms(mode):
    picture = colours().convert(mode)
    assert as_picture(numpy.asarray(picture)).tobytes() == as_picture(picture).tobytes()


# ---- refusals


def forged_png(width, height, depth=8, pixels=b"", colour=2):
    """A valid header that promises width × height pixels, and `pixels`, by default none; `colour` 2 is RGB."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")


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
