"""The held-out set: exact matches by region and by answer."""

import pytest

from tests.accessory.eval.small_suites import answered, numbers, score

TRUTH = "<Region 1>: red circle\n<Region 2>: blue star\n<Region 3>: EXIT"
ANSWERS = [
    (TRUTH, 3, 0),
    ("<Region 3>: exit.\n<Region 1>: Red Circle", 2, 1),  # the order does not matter, an absent mark does
    ("Mark 1: red circle\nRegion 2: blue star\n\nnonsense", 2, 1),
    ("<Region 1>: blue star\n<Region 1>: red circle", 0, 2),  # the first answer for a mark counts
    ("<Region 4>: red circle", 0, 3),
    ("", 0, 3),
]


@pytest.mark.parametrize("prediction, right, unanswered", ANSWERS)
def test_a_region_is_right_or_wrong_by_itself(prediction, right, unanswered):
    found = score("exact_regions", [answered(prediction, TRUTH, marks=3)])
    assert numbers(found) == {"accuracy": pytest.approx(100 * right / 3)}
    assert sum(mark.value for mark in found.items[0].marks) == right
    assert (found.tally.regions, found.tally.unanswered) == (3, unanswered)


def test_regions_count_one_by_one():
    found = score(
        "exact_regions",
        [
            answered("<Region 1>: Red circle.\n<Region 2>: star", "<Region 1>: red circle\n<Region 2>: ring", 1, 2),
            answered("<Region 2>: red", "<Region 1>: blue", 2, 1),
        ],
    )
    assert numbers(found) == {"accuracy": pytest.approx(100 / 3)}
    assert (found.tally.unanswered, found.tally.invented, found.tally.unparsable) == (1, 1, 0)
    assert [(mark.number, mark.given, mark.value) for mark in found.items[0].marks] == [
        (1, "Red circle.", 1.0),
        (2, "star", 0.0),
    ]


def test_answers_count_whole():
    truth = "<Mark 1> is above <Mark 2>."
    said = ["<mark 1> is above <mark 2>", "<Mark 1> is left of <Mark 2>.", "", " "]
    found = score("exact_answer", [answered(one, truth, number, 2) for number, one in enumerate(said)])
    assert numbers(found) == {"accuracy": 25.0}
    assert [item.value for item in found.items] == [1.0, 0.0, 0.0, 0.0]
    assert found.tally.unanswered == 2


@pytest.mark.parametrize("kind, what", [("exact_regions", "regions"), ("exact_answer", "answers")])
def test_no_items_have_no_score_and_a_reason(kind, what):
    (found,) = score(kind, []).scores
    assert (found.value, found.note) == (None, f"there are no {what} to score")


def test_items_that_could_not_be_asked_are_wrong_and_named():
    fault = answered("", "<Region 1>: red", 7, 1, fault="mark 1 has no area")
    found = score("exact_regions", [fault, answered("<Region 1>: red", "<Region 1>: red", 8, 1)])
    assert numbers(found) == {"accuracy": 50.0}
    assert found.tally.faults == ["question 7: mark 1 has no area"]
