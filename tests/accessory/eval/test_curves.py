"""Curves: what is drawn where, and what is left out."""

import math
import re
from xml.etree import ElementTree

import pytest

from accessory.eval.curves import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Curve,
    chart,
    last_value,
    number,
    smoothed,
    thinned,
    ticks,
)


def drawn(svg, kind):
    """The points of the first polyline of a kind ("raw", "smooth")."""
    points = re.search(rf'<polyline class="{kind} [^"]*" points="([^"]*)"', svg)[1]
    return [tuple(map(float, pair.split(","))) for pair in points.split()]


def test_the_mean_is_over_the_span_around_each_value():
    assert smoothed([0, 0, 6, 0, 0, 3], 3) == [0, 2, 2, 2, 1, 1.5]
    assert smoothed([1, 5], 1) == [1, 5]
    assert smoothed([], 3) == []


def test_a_falling_line_is_not_shifted_by_smoothing():
    values = [100 - step for step in range(100)]
    assert smoothed(values, 11)[5:-5] == values[5:-5]


def test_thinning_keeps_extremes_and_order():
    points = [(float(step), 0.0) for step in range(10_000)]
    points[5_000] = (5_000.0, 9.0)
    kept = thinned(points, 100)
    assert len(kept) <= 101
    assert (5_000.0, 9.0) in kept
    assert kept == sorted(kept)
    assert thinned(points[:50], 100) == points[:50]


TICKS = [
    ((0, 1500, False, 4), [0, 500, 1000, 1500]),
    ((0, 1, False, 5), [0, 0.2, 0.4, 0.6, 0.8, 1]),
    ((0.01, 10, True, 5), [0.01, 0.1, 1, 10]),
    ((0.2, 2.5, True, 5), [0.2, 0.5, 1, 2]),
    ((3, 3, False, 5), [3]),
]


@pytest.mark.parametrize("arguments, expected", TICKS)
def test_ticks_are_round_and_inside(arguments, expected):
    assert ticks(*arguments) == pytest.approx(expected)


@pytest.mark.parametrize("value, text", [(0, "0"), (0.05, "0.05"), (2000, "2,000"), (4e-5, "4e-5"), (1.5, "1.5")])
def test_numbers_are_short(value, text):
    assert number(value) == text


def test_first_and_last_step_lie_at_the_ends_of_the_axes():
    svg = chart("run", [Curve("loss", ((0, 0.0), (10, 1.0)))], "loss")
    (x0, y0), (x1, _) = drawn(svg, "raw")
    assert (x0, x1) == (LEFT, WIDTH - RIGHT)
    assert y0 == HEIGHT - BOTTOM


def test_everything_drawn_lies_inside_the_axes():
    curve = Curve("loss", tuple((step, 3 / step) for step in range(1, 900)))
    for x, y in drawn(chart("run", [curve], "loss"), "raw") + drawn(chart("run", [curve], "loss"), "smooth"):
        assert LEFT <= x <= WIDTH - RIGHT
        assert TOP <= y <= HEIGHT - BOTTOM


def test_a_wide_range_is_logarithmic_and_a_narrow_one_is_not():
    assert "logarithmic" in chart("run", [Curve("loss", ((1, 3.0), (2, 0.1)))], "loss")
    assert "logarithmic" not in chart("run", [Curve("loss", ((1, 3.0), (2, 1.0)))], "loss")
    assert "logarithmic" not in chart("run", [Curve("loss", ((1, 3.0), (2, 0.0)))], "loss")


def test_values_that_are_no_numbers_are_left_out():
    curve = Curve("loss", ((1, 1.0), (2, math.nan), (3, math.inf), (4, 2.0)))
    svg = chart("run", [curve], "loss")
    assert len(drawn(svg, "raw")) == 2
    assert "nan" not in svg
    assert "inf" not in svg


@pytest.mark.parametrize("points", [(), ((1, math.nan),)])
def test_nothing_to_draw_draws_nothing(points):
    assert chart("run", [Curve("loss", points)], "loss") == ""
    assert last_value(Curve("loss", points)) is None


def test_one_step_is_drawn():
    assert drawn(chart("run", [Curve("loss", ((1, 2.0),))], "loss"), "raw")


def test_the_chart_is_xml_says_itself_in_words_and_escapes_them():
    svg = chart("<run> & more", [Curve('a"b', ((0, 4.0), (10, 2.0)))], "loss")
    root = ElementTree.fromstring(svg)
    assert root.get("role") == "img"
    assert root.get("aria-label") == '<run> & more. a"b goes from 4 at step 0 to 2 at step 10.'
