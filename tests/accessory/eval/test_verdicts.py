"""Verdicts agree with the suites of exact matches, and nothing of an answer is hidden."""

import pytest

from accessory.eval.verdicts import beyond_the_marks, verdicts
from tests.accessory.eval.small_suites import answered, score

TRUTH = "<Region 1>: red circle\n<Region 2>: blue star"
ANSWERS = [
    "",
    TRUTH,
    "<Region 2>: Blue star.",
    "Region 1: x\n<Region 3>: y\nhm",
    "<Region 1>: a\n<Region 1>: red circle",
]


@pytest.mark.parametrize("answer", ANSWERS)
def test_those_marks_are_right_that_the_region_suite_says(answer):
    found = score("exact_regions", [answered(answer, TRUTH, marks=2)])
    rows = verdicts(answer, TRUTH)
    assert [row.number for row in rows] == [1, 2]
    assert [(row.number, row.given, row.right) for row in rows] == [
        (mark.number, mark.given, mark.value == 1) for mark in found.items[0].marks
    ]
    assert sum(not row.given for row in rows) == found.tally.unanswered


@pytest.mark.parametrize("answer", ["yes", " Yes. ", "no", ""])
def test_a_truth_without_lines_per_mark_is_judged_whole(answer):
    (row,) = verdicts(answer, "Yes.")
    assert row.number is None
    assert row.right == (score("exact_answer", [answered(answer, "Yes.")]).items[0].value == 1)


def test_what_no_verdict_shows_is_kept():
    assert beyond_the_marks("<Region 1>: a\n<Region 3>: b\n\nnonsense\n<Region 1>: again", TRUTH) == (
        "<Region 3>: b\nnonsense\n<Region 1>: again"
    )
    assert beyond_the_marks(TRUTH, TRUTH) == ""
    assert beyond_the_marks("anything", "Yes.") == ""
