"""Exact match, worked out by hand."""

import pytest

from accessory.eval.metrics.exact import AnswerExactMatch, RegionExactMatch
from accessory.eval.metrics.texts import same_text

TRUTH = "<Region 1>: red circle\n<Region 2>: blue star\n<Region 3>: EXIT"


@pytest.mark.parametrize("one, other", [("EXIT", "exit"), (" a dog ", "a dog"), ("Yes.", "yes"), ("", "")])
def test_case_outer_space_and_full_stop_do_not_matter(one, other):
    assert same_text(one, other)


@pytest.mark.parametrize("one, other", [("red circle", "red  circle"), ("cat", "cats"), ("", "x"), ("a.b", "ab")])
def test_everything_else_matters(one, other):
    assert not same_text(one, other)


ANSWERS = [
    (TRUTH, 3, 0),
    ("<Region 3>: exit.\n<Region 1>: Red Circle", 2, 1),  # the order does not matter, an absent mark does
    ("Mark 1: red circle\nRegion 2: blue star\n\nnonsense", 2, 1),
    ("<Region 1>: blue star\n<Region 1>: red circle", 0, 2),  # the first answer for a mark counts
    ("<Region 4>: red circle", 0, 3),
    ("", 0, 3),
]


@pytest.mark.parametrize("prediction, right, unanswered", ANSWERS)
def test_regions_are_counted_one_by_one(prediction, right, unanswered):
    metric = RegionExactMatch()
    assert metric.update(prediction, TRUTH) == pytest.approx(right / 3)
    assert (metric.right, metric.total, metric.unanswered) == (right, 3, unanswered)


def test_the_region_score_is_over_regions_not_over_items():
    metric = RegionExactMatch()
    metric.update(TRUTH, TRUTH)
    metric.update("<Region 1>: no", "<Region 1>: yes")
    assert metric.compute() == 3 / 4


def test_the_answer_score_is_over_items():
    metric = AnswerExactMatch()
    assert metric.update("<Region 1> is left of <Region 2>.", "<Region 1> is left of <Region 2>.") == 1
    assert metric.update("<Region 1> is above <Region 2>.", "<Region 1> is left of <Region 2>.") == 0
    assert metric.update(" ", "x") == 0
    assert metric.compute() == pytest.approx(1 / 3)
    assert metric.unanswered == 1


@pytest.mark.parametrize("kind", [RegionExactMatch, AnswerExactMatch])
def test_nothing_counted_is_zero(kind):
    assert kind().compute() == 0
