"""Distributions and duplicates, held in a few bytes an item."""

from pathlib import Path

import pytest

from accessory.data.annotation import parse_annotation
from accessory.data.inspect.duplicates import Duplicates
from accessory.data.inspect.lengths import BARS, Lengths, bars
from accessory.data.sources import Entry
from tests.accessory.runs import talk


def lengths(*values):
    filled = Lengths()
    for value in values:
        filled.add(value)
    return filled


def test_quantiles_are_values_that_occur():
    assert lengths(*range(1, 101)).summary() == {"count": 100, "min": 1, "median": 50, "p95": 95, "max": 100}
    assert lengths(7).summary() == {"count": 1, "min": 7, "median": 7, "p95": 7, "max": 7}
    assert lengths(3, 1).summary() == {"count": 2, "min": 1, "median": 1, "p95": 3, "max": 3}
    assert lengths().summary() == {"count": 0}


@pytest.mark.parametrize(
    "values, expected",
    [
        ((), []),
        ((4, 4, 6), [(4, 4, 2), (5, 5, 0), (6, 6, 1)]),
        ((0, 11), [(n, n, int(n in (0, 11))) for n in range(12)]),
        ((0, 12), [(0, 1, 1), (2, 3, 0), (4, 5, 0), (6, 7, 0), (8, 9, 0), (10, 11, 0), (12, 13, 1)]),
        ((95, 105), [(n, n, int(n in (95, 105))) for n in range(95, 106)]),
        ((180, 190, 430), [(150, 199, 2), (200, 249, 0), (250, 299, 0), (300, 349, 0), (350, 399, 0), (400, 449, 1)]),
    ],
)
def test_intervals_are_round_and_few(values, expected):
    assert lengths(*values).histogram() == expected
    assert len(expected) <= BARS


def test_bars_are_as_long_as_their_share():
    lines = bars([(0, 9, 40), (10, 19, 10), (20, 29, 0), (30, 39, 0), (1000, 1009, 1)])
    assert [line.count("█") for line in lines] == [40, 10, 0, 0, 1]
    assert lines[0].startswith("        0–9  ")
    assert lines[-1].startswith("1,000–1,009  ")
    assert bars([]) == []
    assert "▏" in bars([(0, 0, 1000), (1, 1, 1)])[1], "what occurs is seen"


def entry(question="What?", box=(1, 2, 3, 4), picture="x/a.jpg"):
    annotation = parse_annotation(talk(question, "That.", image="a.jpg", bbox=[list(box)]), "", 10)
    return Entry(annotation, Path(picture), "image_text", "")


def test_an_item_that_stands_twice_is_found_with_the_first():
    seen = Duplicates()
    seen.add(entry(), 0, 5)
    seen.add(entry("Who?"), 0, 6)
    seen.add(entry(box=(1, 2, 3, 5)), 0, 7)
    seen.add(entry(picture="y/a.jpg"), 0, 8)
    assert list(seen.pairs()) == []
    seen.add(entry(), 3, 2)
    seen.add(entry(), 3, 9)
    assert list(seen.pairs()) == [((3, 2), (0, 5)), ((3, 9), (0, 5))]
    assert list(Duplicates().pairs()) == []
