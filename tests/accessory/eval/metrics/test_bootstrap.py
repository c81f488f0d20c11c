"""Bootstrap intervals: where they must lie, that they are the same each time, and what has none."""

import numpy
import pytest

from accessory.eval.metrics.bootstrap import interval, ratio, resampled


def test_a_share_of_a_half_in_a_hundred_items_has_the_interval_of_the_normal_approximation():
    value, found = ratio([1.0, 0.0] * 50, [1.0] * 100)
    # 0.5 ± 1.96 · sqrt(0.25 / 100); a percentile of 1,000 draws wanders by about 0.01.
    assert value == 0.5
    assert found == pytest.approx((0.402, 0.598), abs=0.02)


def test_equal_items_leave_no_doubt():
    assert ratio([2.0] * 10, [4.0] * 10) == (0.5, (0.5, 0.5))


def test_items_are_drawn_whole():
    # Two items of 50 regions, all right and all wrong: with regions drawn singly the interval would be 0.4 to 0.6.
    _, found = ratio([50.0, 0.0], [50.0, 50.0])
    assert found == (0.0, 1.0)


def test_an_interval_is_the_same_each_time_and_of_no_single_item():
    values = numpy.random.default_rng(1).random(30).tolist()
    assert ratio(values, [1.0] * 30) == ratio(values, [1.0] * 30)
    assert ratio([1.0], [1.0]) == (1.0, None)


def test_what_weighs_nothing_has_no_value():
    assert ratio([0.0, 0.0], [0.0, 0.0]) == (None, None)
    assert ratio([], []) == (None, None)


def test_draws_without_a_value_are_left_out():
    # In a quarter of the draws of two items the second is missing, and the quotient is no number.
    _, found = ratio([0.0, 3.0], [0.0, 4.0])
    assert found == (0.75, 0.75)


def test_a_statistic_of_values_sees_the_drawn_values():
    values = {"model": numpy.asarray([4.0, 6.0]), "reference": numpy.asarray([8.0, 8.0])}
    found = resampled(lambda drawn: drawn["model"].mean(-1) / drawn["reference"].mean(-1), values)
    assert found == (0.5, 0.75)


def test_many_items_are_drawn_in_parts():
    assert interval(lambda counts: counts.sum(axis=1) / 50_000, 50_000, resamples=100) == (1.0, 1.0)
