"""Marks over the wire: every kind in both units, and a sentence for whatever is wrong."""

import math

import pytest

from accessory.serve.marks import MOST_VERTICES, parse_marks
from SPHINX_V import Box, Point, Scribble
from SPHINX_V.errors import UsageError

SIZE = (200, 100)


def test_every_kind_in_pixels():
    marks = [
        {"kind": "point", "coords": [3, 4.5], "id": 1},
        {"kind": "box", "coords": [10, 20, 30, 40], "units": "px"},
        {"kind": "scribble", "coords": [[1, 2], [3, 4]]},
        {"kind": "mask", "coords": [[5, 6], [50, 6], [20, 60]], "id": 4},
    ]
    expected = (Point(3, 4.5), Box(10, 20, 30, 40), Scribble(((1, 2), (3, 4))), Box(5, 6, 50, 60))
    assert parse_marks(marks, SIZE, 10) == expected
    assert marks[0] == {"kind": "point", "coords": [3, 4.5], "id": 1}, "read, not changed"


def test_fractions_are_of_width_and_height():
    marks = [
        {"kind": "point", "coords": [0.5, 0.5], "units": "norm"},
        {"kind": "box", "coords": [0, 0.25, 1, 1], "units": "norm"},
        {"kind": "scribble", "coords": [[0.1, 0.1]], "units": "norm"},
    ]
    assert parse_marks(marks, SIZE, 10) == (Point(100, 50), Box(0, 25, 200, 100), Scribble(((20, 10),)))


def test_no_marks():
    assert parse_marks([], SIZE, 10) == ()


@pytest.mark.parametrize(
    "mark, words",
    [
        ("point", "mark 1 is 'point'; give an object"),
        ({"coords": [1, 2]}, "kind is None"),
        ({"kind": ["box"], "coords": [1, 2]}, "kind is a list of 1"),
        ({"kind": "ellipse", "coords": [1, 2]}, "kind is 'ellipse'"),
        ({"kind": "point"}, "coords is None; give 2 numbers"),
        ({"kind": "point", "coords": "12"}, "coords is '12'"),
        ({"kind": "point", "coords": [1, 2, 3]}, "coords is a list of 3; give 2"),
        ({"kind": "point", "coords": [True, 2]}, "True is no coordinate"),
        ({"kind": "point", "coords": [math.nan, 2]}, "nan is no coordinate"),
        ({"kind": "point", "coords": [math.inf, 2]}, "inf is no coordinate"),
        ({"kind": "point", "coords": [10**400, 2]}, "a number of many digits is no coordinate"),
        ({"kind": "point", "coords": [1, None]}, "None is no coordinate"),
        ({"kind": "point", "coords": [1, 2], "units": "cm"}, "units is 'cm'"),
        ({"kind": "point", "coords": [1, 2], "id": 2}, "has the id 2"),
        ({"kind": "point", "coords": [1, 2], "id": True}, "has the id True"),
        ({"kind": "point", "coords": [1, 2], "colour": 1}, "unknown field 'colour'"),
        ({"kind": "point", "coords": [999, 2]}, "wholly outside the picture of 200×100"),
        ({"kind": "box", "coords": [10, 10, 10, 20]}, "mark 1: Box(10, 10, 10, 20) has no area"),
        ({"kind": "scribble", "coords": []}, "0 vertices; give 1 to"),
        ({"kind": "scribble", "coords": [[1, 2], [3]]}, "vertex 2: coords is a list of 1"),
        ({"kind": "scribble", "coords": [[1, 2]] * (MOST_VERTICES + 1)}, f"{MOST_VERTICES + 1} vertices"),
        ({"kind": "mask", "coords": [[1, 2], [3, 4]]}, "2 vertices; give 3 to"),
        ({"kind": "mask", "coords": [[1, 2], [1, 4], [1, 9]]}, "has no area"),
    ],
)
def test_what_is_wrong_is_said(mark, words):
    with pytest.raises(UsageError) as caught:
        parse_marks([mark], SIZE, 10)
    assert words in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("values, words", [(None, "the marks are None"), ("all", "'all'"), ({"a": 1}, "a dict of 1")])
def test_no_list_is_refused(values, words):
    with pytest.raises(UsageError, match=words):
        parse_marks(values, SIZE, 10)


def test_too_many_are_counted_before_they_are_read():
    with pytest.raises(UsageError, match="100000 marks given, the model has 10 slots"):
        parse_marks([object()] * 100_000, SIZE, 10)
