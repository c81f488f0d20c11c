"""Marks in pixels become the slots of the reference, exactly."""

import numpy
import pytest
import torch

from SPHINX_V.errors import UsageError
from SPHINX_V.processing.image import SquareFrame
from SPHINX_V.processing.slots import build_slots
from SPHINX_V.prompts import Box, Mask, Point, Scribble, as_prompts

SQUARE = SquareFrame(1000, 1000)
POINT_FILLER = [0, 0, -1, -1]
BOX_FILLER = [0, 0, 0, 0]


@pytest.mark.parametrize("name", ["image", "portrait"])
@pytest.mark.parametrize(("kind", "key"), [("boxes", "boxes_xywh_px"), ("points", "points_px")])
def test_slots_of_the_reference_exactly(golden_tensors, golden_facts, name, kind, key):
    prefix = "" if name == "image" else "portrait_"
    facts = golden_facts if name == "image" else golden_facts["portrait"]
    size = golden_tensors[f"{prefix}image_size"].tolist()
    slots = build_slots(as_prompts(facts[key]), SquareFrame(*size), 10)
    assert torch.equal(slots.coords[0], golden_tensors[f"{prefix}sparse_vp_{kind}"])
    assert slots.valid[0].tolist() == [index < len(facts[key]) for index in range(10)]
    assert slots.is_point[0].tolist() == [kind == "points"] * 10


def test_slots_of_the_training_items_exactly(golden_tensors, golden_facts):
    size = golden_tensors["image_size"].tolist()
    for number, item in enumerate(golden_facts["items"]):
        slots = build_slots(as_prompts(item.get("points") or item["bbox"]), SquareFrame(*size), 10)
        assert torch.equal(slots.coords[0], golden_tensors[f"item{number}_sparse_vp"].reshape(10, 4))


def test_types_and_shapes():
    slots = build_slots([Point(1, 2)], SQUARE, 4)
    assert slots.coords.shape == (1, 4, 4)
    assert slots.coords.dtype == torch.float32
    assert slots.is_point.shape == slots.valid.shape == (1, 4)
    assert slots.is_point.dtype == slots.valid.dtype == torch.bool


def test_a_point_is_its_corner_and_minus_ones_a_box_its_two_corners():
    slots = build_slots([Point(120, 340), Box(100, 200, 300, 400)], SQUARE, 2)
    rows = slots.coords[0].tolist()
    assert rows[0] == pytest.approx([0.12, 0.34, -1, -1])
    assert rows[1] == pytest.approx([0.1, 0.2, 0.3, 0.4])
    assert slots.is_point.tolist() == [[True, False]]


@pytest.mark.parametrize(
    ("prompts", "is_point"),
    [
        ([], False),
        ([Point(1, 1)], True),
        ([Box(1, 1, 2, 2)], False),
        ([Point(1, 1), Box(1, 1, 2, 2)], True),
        ([Box(1, 1, 2, 2), Point(1, 1), Point(2, 2)], False),
        ([Scribble([(1, 1)])], False),
    ],
)
def test_unused_slots_take_the_kind_of_the_first_mark(prompts, is_point):
    slots = build_slots(prompts, SQUARE, 10)
    unused = slice(len(prompts), None)
    assert slots.coords[0, unused].tolist() == [POINT_FILLER if is_point else BOX_FILLER] * (10 - len(prompts))
    assert slots.is_point[0, unused].tolist() == [is_point] * (10 - len(prompts))
    assert slots.valid[0].tolist() == [True] * len(prompts) + [False] * (10 - len(prompts))


def test_scribbles_and_masks_are_their_boxes():
    array = numpy.zeros((1000, 1000), dtype=bool)
    array[200:400, 100:300] = True
    drawn = Scribble([(100.5, 200.5), (299.9, 399.9), (150, 250)])
    slots = build_slots([Mask(array), drawn, Box(100, 200, 300, 400)], SQUARE, 3)
    assert slots.coords[0, 0].tolist() == slots.coords[0, 1].tolist() == slots.coords[0, 2].tolist()
    assert not slots.is_point.any()


def test_padding_moves_the_marks_with_the_picture():
    tall = build_slots([Point(0, 0), Box(0, 0, 100, 200)], SquareFrame(100, 200), 2).coords[0].tolist()
    assert tall[0] == pytest.approx([0.25, 0, -1, -1])
    assert tall[1] == pytest.approx([0.25, 0, 0.75, 1])


def test_all_slots_may_be_used_and_no_more():
    assert build_slots([Point(1, 1)] * 10, SQUARE, 10).valid.all()
    with pytest.raises(UsageError, match="11 prompts given, the model has 10 slots"):
        build_slots([Point(1, 1)] * 11, SQUARE, 10)
    with pytest.raises(UsageError, match="4 prompts given, the model has 3 slots"):
        build_slots([Point(1, 1)] * 4, SQUARE, 3)


def test_partly_outside_is_taken_as_given():
    slots = build_slots([Box(-100, 900, 200, 1100)], SQUARE, 1)
    assert slots.coords[0, 0].tolist() == pytest.approx([-0.1, 0.9, 0.2, 1.1])


def test_wholly_outside_is_refused():
    with pytest.raises(UsageError, match="wholly outside the picture of 1000×1000"):
        build_slots([Point(1001, 5)], SQUARE, 1)
