"""Pictures: exact pixels of the reference, and every usual format."""

import numpy
import pytest
import torch
from PIL import Image

from SPHINX_V.errors import DataError
from SPHINX_V.processing.image import (
    PAD_COLOR,
    SquareFrame,
    as_picture,
    normalise,
    open_picture,
    picture_size,
    square_picture,
)
from tests.processing.pictures import colours, forged_png, saved

PORTRAIT_TAG = 274  # EXIF orientation


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
