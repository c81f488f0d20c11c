"""Masks of COCO: run lengths worked out by hand, polygons, panoptic PNGs, and the pixel that stands for a mask."""

import numpy
import pytest
from PIL import Image

from accessory.data.convert.masks import (
    central_pixel,
    decode_counts,
    polygon_mask,
    read_panoptic_ids,
    run_length_mask,
    segmentation_mask,
)
from SPHINX_V.errors import DataError


@pytest.mark.parametrize(
    "text, counts",
    [
        ("12111", [1, 2, 1, 3, 2]),  # the fourth run is 2 + 1, the fifth 1 + 1
        ("151L0", [1, 5, 1, 1, 1]),  # the fourth run is 5 - 4: 28 in five bits, character 48 + 28
        ("T3", [100]),  # 4 + 3 · 32, the first character with the bit for more
        ("0", [0]),
        ("", []),
    ],
)
def test_compressed_counts(text, counts):
    assert decode_counts(text) == counts


def test_runs_go_down_the_columns_and_begin_with_background():
    expected = [[0, 0, 1], [1, 1, 0], [1, 1, 0]]
    assert run_length_mask("12111", 3, 3).tolist() == numpy.array(expected, dtype=bool).tolist()
    assert run_length_mask([1, 2, 1, 3, 2], 3, 3).tolist() == run_length_mask("12111", 3, 3).tolist()
    assert run_length_mask([0, 2, 4], 2, 3).tolist() == [[True, False, False], [True, False, False]]


@pytest.mark.parametrize(
    "counts, part",
    [
        ("12111", "add up to 9"),
        ("1T", "end within a number"),
        ("1 2", "character ' '"),
        ([5, -1, 8], "smallest -1"),
        ([5, "a"], "counts is [5, 'a']"),
        (None, "counts is None"),
    ],
)
def test_wrong_counts_are_refused(counts, part):
    with pytest.raises(DataError) as caught:
        run_length_mask(counts, 3, 4)
    assert part in str(caught.value)


def test_a_polygon_covers_its_pixels():
    """COCO's corners are pixel corners: (2, 1) to (6, 4) is four columns of three rows."""
    mask = polygon_mask([[2, 1, 6, 1, 6, 4, 2, 4]], 6, 8)
    assert mask[1:4, 2:6].all()
    assert mask.sum() <= 20, "at most one more row and column, which the outline touches"


def test_polygons_of_one_annotation_add_up():
    mask = polygon_mask([[0, 0, 3, 0, 3, 3, 0, 3], [6, 6, 9, 6, 9, 9, 6, 9]], 9, 9)
    assert mask[1, 1]
    assert mask[7, 7]
    assert not mask[4, 4]


@pytest.mark.parametrize("polygon", [[1, 2, 3, 4], [1, 2, 3, 4, 5, 6, 7], ["a"] * 6, 3])
def test_a_polygon_of_no_area_or_numbers_is_refused(polygon):
    with pytest.raises(DataError, match="three corners"):
        polygon_mask([polygon], 9, 9)


@pytest.mark.parametrize("nothing", [None, [], {}])
def test_no_segmentation_is_no_mask(nothing):
    assert segmentation_mask(nothing, 3, 3) is None


@pytest.mark.parametrize(
    "segmentation, part",
    [
        ({"counts": "12111", "size": [3, 4]}, "segmentation.size is [3, 4], the picture is [3, 3]"),
        ({"size": [3, 3]}, "give polygons, or run lengths"),
        ("12111", "segmentation is '12111'"),
    ],
)
def test_wrong_segmentations_are_refused(segmentation, part):
    with pytest.raises(DataError) as caught:
        segmentation_mask(segmentation, 3, 3)
    assert part in str(caught.value)


def test_panoptic_ids(tmp_path):
    colors = numpy.array([[[1, 0, 0], [0, 1, 0]], [[0, 0, 1], [7, 2, 1]]], dtype=numpy.uint8)
    Image.fromarray(colors).save(tmp_path / "a.png")
    assert read_panoptic_ids(tmp_path / "a.png", 2, 2).tolist() == [[1, 256], [65536, 7 + 512 + 65536]]
    with pytest.raises(DataError, match="is 2×2, the picture 3×2"):
        read_panoptic_ids(tmp_path / "a.png", 2, 3)
    with pytest.raises(DataError, match=r"b\.png: no readable panoptic PNG"):
        read_panoptic_ids(tmp_path / "b.png", 2, 2)


def test_the_central_pixel_of_a_block():
    mask = numpy.zeros((9, 9), dtype=bool)
    mask[2:5, 4:9] = True
    assert central_pixel(mask) == (6, 3)


def test_the_central_pixel_of_a_ring_lies_on_the_ring():
    rows, columns = numpy.mgrid[:41, :41]
    distance = numpy.hypot(rows - 20, columns - 20)
    ring = (distance > 12) & (distance < 16)
    assert not ring[20, 20]
    x, y = central_pixel(ring)
    assert ring[y, x]
    assert numpy.hypot(x - 20, y - 20) == pytest.approx(distance[ring].min()), "as near to the centroid as the ring is"


def test_the_central_pixel_is_the_first_of_equals():
    mask = numpy.zeros((5, 5), dtype=bool)
    mask[0, 2] = mask[4, 2] = mask[2, 0] = mask[2, 4] = True
    assert central_pixel(mask) == (2, 0)
