"""Verdicts agree with the metrics, and nothing of an answer is hidden."""

import pytest

from accessory.eval.metrics.exact import AnswerExactMatch, RegionExactMatch
from accessory.eval.verdicts import beyond_the_marks, verdicts

TRUTH = "<Region 1>: red circle\n<Region 2>: blue star"
ANSWERS = [
    "",
    TRUTH,
    "<Region 2>: Blue star.",
    "Region 1: x\n<Region 3>: y\nhm",
    "<Region 1>: a\n<Region 1>: red circle",
]


@pytest.mark.parametrize("answer", ANSWERS)
def test_as_many_are_right_as_the_region_metric_says(answer):
    metric = RegionExactMatch()
    metric.update(answer, TRUTH)
    rows = verdicts(answer, TRUTH)
    assert [row.number for row in rows] == [1, 2]
    assert sum(row.right for row in rows) == metric.right
    assert sum(not row.given for row in rows) == metric.unanswered


@pytest.mark.parametrize("answer", ["yes", " Yes. ", "no", ""])
def test_a_truth_without_lines_per_mark_is_judged_whole(answer):
    (row,) = verdicts(answer, "Yes.")
    assert row.number is None
    assert row.right == AnswerExactMatch().update(answer, "Yes.")


def test_what_no_verdict_shows_is_kept():
    assert beyond_the_marks("<Region 1>: a\n<Region 3>: b\n\nnonsense\n<Region 1>: again", TRUTH) == (
        "<Region 3>: b\nnonsense\n<Region 1>: again"
    )
    assert beyond_the_marks(TRUTH, TRUTH) == ""
    assert beyond_the_marks("anything", "Yes.") == ""
