"""Masks as pictures and outlines: corners on the edges of pixels, and back to nearly the same mask."""

from __future__ import annotations

import io
import math

import numpy
import pytest
from PIL import Image, ImageDraw

from accessory.data.convert.masks import polygon_mask
from accessory.demos.mask_shapes import mask_outline, mask_png, outline_mask
from SPHINX_V.errors import UsageError
from SPHINX_V.prompts import Mask


def likeness(one: numpy.ndarray, other: numpy.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())


def drawn(text: str) -> Mask:
    """A mask from rows of `#` and `.`."""
    return Mask(numpy.array([[letter == "#" for letter in row] for row in text.split()]))


def blob(width: int, height: int, seed: int = 0) -> Mask:
    """A round region with a wavy border, as SAM's are."""
    rng = numpy.random.default_rng(seed)
    y, x = numpy.mgrid[:height, :width]
    angle = numpy.arctan2(y - height / 2, x - width / 2)
    radius = 0.35 + sum(rng.uniform(0.01, 0.04) * numpy.sin(n * angle + rng.uniform(0, 6)) for n in range(2, 9))
    return Mask(numpy.hypot((x - width / 2) / width, (y - height / 2) / height) < radius)


def test_the_picture_of_a_mask_is_opaque_where_it_marks_and_transparent_elsewhere() -> None:
    mask = drawn("..# ##.")
    with Image.open(io.BytesIO(mask_png(mask))) as picture:
        assert (picture.format, picture.mode, picture.size) == ("PNG", "RGBA", (3, 2))
        pixels = numpy.asarray(picture)
    assert (pixels[mask.array] == 255).all()
    assert (pixels[~mask.array] == 0).all()


def test_the_outline_of_everything_is_the_frame() -> None:
    assert mask_outline(Mask(numpy.ones((3, 5)))) == [[0, 0], [5, 0], [5, 3], [0, 3]]


def test_the_outline_of_one_pixel_is_its_four_corners() -> None:
    assert mask_outline(drawn("..... ..... ...#.")) == [[3, 2], [4, 2], [4, 3], [3, 3]]


def test_a_small_shape_keeps_all_its_corners() -> None:
    found = mask_outline(drawn("....... .#..... .#..... .####.. ......."))
    assert found == [[1, 1], [2, 1], [2, 3], [5, 3], [5, 4], [1, 4]]


def test_the_region_that_encloses_most_is_outlined() -> None:
    assert mask_outline(drawn("##... ##..# ....# ....#")) == [[0, 0], [2, 0], [2, 2], [0, 2]]
    # Pixels that meet by a corner only are two regions.
    assert mask_outline(drawn("#... .##. .##.")) == [[1, 1], [3, 1], [3, 3], [1, 3]]


def test_a_hole_counts_as_enclosed() -> None:
    assert mask_outline(drawn("#### #..# #### ....")) == [[0, 0], [4, 0], [4, 3], [0, 3]]
    # Also where it touches the outside by a corner.
    assert mask_outline(drawn("#### #.## ##.# ####")) == [[0, 0], [4, 0], [4, 4], [0, 4]]


@pytest.mark.parametrize("size", [(40, 30), (300, 500), (1600, 1200)])
@pytest.mark.parametrize("seed", range(3))
def test_few_corners_give_nearly_the_same_mask_again(size: tuple[int, int], seed: int) -> None:
    mask = blob(*size, seed)
    outline = mask_outline(mask)
    assert 3 <= len(outline) <= 60
    again = outline_mask(outline, *size)
    assert again.array.shape == mask.array.shape
    assert likeness(again.array, mask.array) >= 0.97
    # PIL's way of filling, with each pixel that the outline touches, makes it a little larger.
    if min(size) >= 300:
        touched = polygon_mask([[float(v) for pair in outline for v in pair]], size[1], size[0])
        assert likeness(touched, mask.array) >= 0.95


@pytest.mark.parametrize(
    "line", [(5, 5, 95, 5), (5, 5, 5, 75), (5, 5, 95, 75), (90, 5, 3, 70)], ids=["flat", "upright", "down", "up"]
)
@pytest.mark.parametrize("width", [1, 2, 5])
def test_thin_regions_keep_their_pixels(line: tuple[int, ...], width: int) -> None:
    sheet = Image.new("L", (100, 80))
    ImageDraw.Draw(sheet).line(line, fill=255, width=width)
    # A slanted line of one pixel falls apart into runs: only whole regions are compared.
    mask = Mask(numpy.asarray(sheet))
    again = outline_mask(mask_outline(mask), 100, 80)
    assert not (again.array & ~mask.array).sum() > 0.05 * again.array.sum()
    if width == 5 or line[0] == line[2] or line[1] == line[3]:
        assert likeness(again.array, mask.array) >= 0.97


def test_noise_gets_an_outline_with_an_area_and_a_bounded_number_of_corners() -> None:
    for seed in range(20):
        rng = numpy.random.default_rng(seed)
        mask = Mask(rng.random((60, 70)) < rng.uniform(0.2, 0.9))
        outline = mask_outline(mask)
        assert len(outline) >= 3
        assert all(0 <= x <= 70 and 0 <= y <= 60 and isinstance(x, int) and isinstance(y, int) for x, y in outline)
        turns = zip(outline, outline[1:] + outline[:1])
        assert sum(x * v - u * y for (x, y), (u, v) in turns) > 0  # clockwise on screen
    tiles = Mask(numpy.kron(numpy.random.default_rng(0).random((188, 250)) < 0.6, numpy.ones((4, 4))))
    assert 3 <= len(mask_outline(tiles)) <= 300


def test_a_polygon_is_filled_by_the_middles_of_pixels() -> None:
    """By hand: of the triangle with corners (0, 0), (4, 0), (0, 4) row y holds the middles x + 0.5 < 4 − (y + 0.5)."""
    expected = drawn("###. ##.. #... ....").array
    assert (outline_mask([[0, 0], [4, 0], [0, 4]], 4, 4).array == expected).all()
    # A polygon that crosses itself: what is enclosed twice is outside.
    bow = outline_mask([[0, 0], [4, 0], [4, 4], [0, 4], [0, 0], [2, 0], [2, 2], [0, 2]], 4, 4)
    assert (bow.array == drawn("..## ..## #### ####").array).all()


def test_a_polygon_that_reaches_out_is_cut_at_the_picture() -> None:
    assert outline_mask([[-5, -5], [90, -5], [90, 90], [-5, 90]], 3, 2).array.all()


@pytest.mark.parametrize(
    "outline, words",
    [
        ([[0, 0], [1, 1]], r"give at least 3 corners"),
        ([[0, 0], [1, math.nan], [2, 2]], r"give at least 3 corners"),
        ([[0, 0, 0], [1, 1, 1], [2, 2, 2]], r"give at least 3 corners"),
        ([[0, 0], [1], [2, 2]], r"give at least 3 corners"),
        ("abc", r"give at least 3 corners"),
        ([[0, 0], [0.4, 0], [0.4, 0.4]], r"encloses no pixel of the picture of 10×10; draw it larger"),
        ([[20, 20], [30, 20], [30, 30]], r"encloses no pixel"),
    ],
)
def test_what_is_no_outline_is_refused(outline: object, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        outline_mask(outline, 10, 10)  # type: ignore[arg-type]
