"""Each way an item can be wrong has its kind, and what is right has none."""

import pytest

from accessory.data.annotation import parse_annotation
from accessory.data.inspect.faults import KINDS, Fault, outside, schema_kind, text_faults
from accessory.data.labels import question
from SPHINX_V.prompts import Box, Point
from tests.accessory.runs import talk

GOOD = talk("What is <Region 1>?", "A cat.", image="a.jpg", bbox=[[1, 2, 30, 40]])


@pytest.mark.parametrize(
    "kind, value",
    [
        ("item", ["a"]),
        ("item", None),
        ("both-kinds", {**GOOD, "points": [[1, 2]]}),
        ("too-many-marks", {**GOOD, "bbox": [[1, 2, 3, 4]] * 11}),
        ("marks", {**GOOD, "bbox": [[1, 2, -3, 4]]}),
        ("marks", {**GOOD, "bbox": [[1, 2, 3]]}),
        ("marks", {**GOOD, "bbox": "none"}),
        ("image", {**GOOD, "image": 7}),
        ("image", {**GOOD, "image": None}),
        ("conversation", {**GOOD, "conversations": []}),
        ("conversation", talk("?", "")),
    ],
)
def test_the_kind_of_a_wrong_form(kind, value):
    assert schema_kind(value, 10) == kind
    assert kind in KINDS


def test_a_fault_says_where_it_is():
    assert str(Fault("marks", "a.json", 3, "is wrong")) == "a.json, item 3: is wrong"
    assert str(Fault("annotation-file", "a.json", None, "is gone")) == "a.json: is gone"


@pytest.mark.parametrize(
    "mark, over",
    [
        (Box(0, 0, 40, 30), None),
        (Box(-1, -1, 41, 31), None),
        (Box(5, 5, 41.5, 20), "1.5 pixels outside"),
        (Box(-2, 5, 20, 20), "2 pixels outside"),
        (Box(40, 5, 41, 20), "1 pixels wholly outside"),
        (Point(40, 30), None),
        (Point(40.5, 3), "0.5 pixels wholly outside"),
        (Point(3, 33), "3 pixels wholly outside"),
    ],
)
def test_marks_outside_by_more_than_a_pixel_or_altogether(mark, over):
    found = list(outside([Point(1, 1), mark], (40, 30), tolerance=1.0))
    assert len(found) == (over is not None)
    for sentence in found:
        assert sentence.startswith(f"mark 2, {type(mark).__name__}(")
        assert f"reaches {over} the picture of 40×30 pixels" in sentence


BOXES = {"image": "a.jpg", "bbox": [[1, 2, 30, 40], [5, 5, 9, 9]]}
POINTS = {"image": "a.jpg", "points": [[1, 2], [5, 5]]}
LABELS, POINT_LABELS = question("labels", points=False), question("labels", points=True)


@pytest.mark.parametrize(
    "item, expected",
    [
        (talk("What is <Region 2>?", "It is on <Region 1>.", **BOXES), []),
        (talk(f"<image>\n{LABELS}", "<Region 1>: cat\nRegion 2: dog", **BOXES), []),
        (talk(POINT_LABELS, "<Mark 1>: cat\n<Mark 2>: dog", **POINTS), []),
        (talk("Name one.", "<Region 1>: cat", **BOXES), []),
        (talk("What is <Region 3>?", "A cat.", **BOXES), [("mark-names", "question 1 names <Region 3>")]),
        (talk("What?", "<Region 0> is a cat.", **BOXES), [("mark-names", "answer 1 names <Region 0>")]),
        (talk("What is <Mark 1>?", "A cat.", **BOXES), [("mark-names", "a box: write <Region 1>")]),
        (talk("What is <Region 1>?", "A cat.", **POINTS), [("mark-names", "a point: write <Mark 1>")]),
        (talk("Is <Region 1> red?", "No."), [("mark-names", "the item has 0 marks")]),
        (talk(LABELS, "<Region 2>: dog", **BOXES), [("answer-lines", "no line for mark 1 of 2")]),
        (talk(LABELS, "A cat and a dog.", **BOXES), [("answer-lines", "no line for mark 1, 2 of 2")]),
        (
            talk(LABELS, "<Mark 1>: a\n<Mark 2>: b", **POINTS),
            [("mark-names", "speaks of regions, the marks are points")],
        ),
    ],
)
def test_marks_in_the_text(item, expected):
    found = list(text_faults(parse_annotation(item, "", 10)))
    assert [kind for kind, _ in found] == [kind for kind, _ in expected]
    for (_, sentence), (_, part) in zip(found, expected):
        assert part in sentence


def test_the_turn_is_named():
    item = talk("What is <Region 1>?", "A cat.", **BOXES)
    item["conversations"] += talk("And <Region 9>?", "A dog.")["conversations"]
    assert [sentence for _, sentence in text_faults(parse_annotation(item, "", 10))] == [
        "question 2 names <Region 9>, the item has 2 marks"
    ]
