"""Annotations: what is accepted, and every bad form refused with its place, its field and its value."""

import copy

import pytest

from accessory.data.annotation import parse_annotation
from SPHINX_V.errors import DataError
from SPHINX_V.processing.conversation import Turn
from SPHINX_V.prompts import Box, Point
from tests.accessory.runs import talk

WHERE = "items.json, item 7"
BOXES = talk("<image>\nWhat?", "<Region 1>: cat", image="a.jpg", bbox=[[1, 2, 30, 40]])


def refused(item, max_prompts=10):
    with pytest.raises(DataError) as caught:
        parse_annotation(item, WHERE, max_prompts)
    message = str(caught.value)
    assert message.startswith(f"{WHERE}: ")
    return message.removeprefix(f"{WHERE}: ")


def changed(**fields):
    return {**BOXES, **fields}


def spoken(*entries):
    return changed(conversations=[dict(zip(("from", "value"), entry)) for entry in entries])


def test_boxes():
    annotation = parse_annotation(BOXES, WHERE, 10)
    assert annotation.image == "a.jpg"
    assert annotation.prompts == (Box(1, 2, 31, 42),)
    assert annotation.turns == (Turn("<image>\nWhat?", "<Region 1>: cat"),)


def test_points_and_several_turns():
    item = talk("What is <Mark 1>?", "A cat.", image="a.jpg", points=[[5, 6.5], [7, 8]])
    item["conversations"] += [{"from": "human", "value": "Sure?"}, {"from": "assistant", "value": "Yes."}]
    annotation = parse_annotation(item, WHERE, 10)
    assert annotation.prompts == (Point(5, 6.5), Point(7, 8))
    assert annotation.turns == (Turn("What is <Mark 1>?", "A cat."), Turn("Sure?", "Yes."))


@pytest.mark.parametrize("empty", [{}, {"image": None}, {"bbox": []}, {"points": None, "bbox": None}])
def test_text_only(empty):
    annotation = parse_annotation({**talk("Two plus two?", "Four."), **empty}, WHERE, 10)
    assert (annotation.image, annotation.prompts) == (None, ())


def test_a_picture_without_marks():
    assert parse_annotation(changed(bbox=[]), WHERE, 10).prompts == ()


def test_as_many_marks_as_slots():
    assert len(parse_annotation(changed(bbox=[[1, 2, 3, 4]] * 10), WHERE, 10).prompts) == 10


def test_the_item_is_not_changed():
    item = copy.deepcopy(BOXES)
    for _ in range(2):
        assert parse_annotation(item, WHERE, 10).prompts == (Box(1, 2, 31, 42),)
    assert item == BOXES


@pytest.mark.parametrize(
    "item, parts",
    [
        (["a"], ("a list", "not an object")),
        (None, ("a NoneType",)),
        (changed(points=[[1, 2]]), ("both bbox (1) and points (1)", "two items")),
        (changed(bbox=[[1, 2, 3, 4]] * 11), ("11 marks in bbox", "10 slots")),
        (changed(bbox=[[1, 2, 3, 4], [5, 6, -7, 8]]), ("bbox[1]", "(5, 6, -7, 8)", "width and height")),
        (changed(bbox=[[1, 2, 3, 0]]), ("bbox[0]", "no area")),
        (changed(bbox=[[1, 2, 3, float("nan")]]), ("bbox[0]", "finite")),
        (changed(bbox=[[1, 2, 3, "wide"]]), ("bbox[0]", "'wide'", "not a number")),
        (changed(bbox=[[1, 2, 3]]), ("bbox[0]", "[1, 2, 3]")),
        (changed(bbox=[[1, 2]]), ("bbox[0] is [1, 2]", "[x, y, width, height] in pixels")),
        (changed(bbox=None, points=[[1, 2, 3, 4]]), ("points[0] is [1, 2, 3, 4]", "[x, y] in pixels")),
        (changed(bbox=None, points=[[float("inf"), 2]]), ("points[0]", "finite")),
        (changed(bbox=5), ("bbox is 5", "a list of marks")),
        (changed(bbox=5, points=[[1, 2]]), ("bbox is 5", "a list of marks")),
        (changed(bbox={"a": 1}), ("bbox is {'a': 1}",)),
        (changed(bbox=""), ("bbox is ''",)),
        (changed(image=""), ("image is ''",)),
        (changed(image=3), ("image is 3",)),
        (changed(image=None), ("1 marks but no image",)),
        (changed(conversations=None), ("conversations is None",)),
        (changed(conversations=[]), ("conversations is []",)),
        (changed(conversations={"from": "human"}), ("conversations is {",)),
        (spoken(("human", "What?")), ("has 1 entries", "needs one answer")),
        (spoken(("human", "a"), ("gpt", "b"), ("human", "c")), ("has 3 entries",)),
        (spoken(("gpt", "b"), ("human", "a")), ("conversations[0] is from 'gpt'", "human")),
        (spoken(("human", "a"), ("human", "b")), ("conversations[1] is from 'human'", "gpt or assistant")),
        (spoken(("human", "a"), ("system", "b")), ("conversations[1] is from 'system'",)),
        (spoken(("human", "a"), (None, "b")), ("conversations[1] is from None",)),
        (changed(conversations=["a", "b"]), ("conversations[0] is from 'a'",)),
        (spoken(("human", 3), ("gpt", "b")), ("conversations[0].value is 3",)),
        (spoken(("human", "a"), ("gpt",)), ("conversations[1].value is None",)),
        (spoken(("human", "a"), ("gpt", "  \n")), ("conversations[1].value is '  \\n'", "needs words")),
        # What is left of it is the stop string alone: nothing to learn an answer from.
        (spoken(("human", "a"), ("gpt", "<image>\n")), ("conversations[1].value is '<image>\\n'", "needs words")),
        (spoken(("human", "<image>\n "), ("gpt", "b")), ("turn 1 has no question",)),
        (spoken(("human", "a"), ("gpt", "\ud800")), ("turn 1", "surrogate")),
    ],
)
def test_refused(item, parts):
    message = refused(item)
    for part in parts:
        assert part in message


def test_the_number_of_slots_is_the_model_s():
    assert "2 slots" in refused(changed(bbox=[[1, 2, 3, 4]] * 3), max_prompts=2)
