"""The held-out set: exact matches by region and by answer."""

import pytest

from tests.accessory.eval.small_suites import answered, numbers, score


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
    found = score("exact_answer", [answered("<mark 1> is above <mark 2>", truth, 1, 2), answered("", truth, 2, 2)])
    assert numbers(found) == {"accuracy": 50.0}
    assert found.tally.unanswered == 1


def test_items_that_could_not_be_asked_are_wrong_and_named():
    fault = answered("", "<Region 1>: red", 7, 1, fault="mark 1 has no area")
    found = score("exact_regions", [fault, answered("<Region 1>: red", "<Region 1>: red", 8, 1)])
    assert numbers(found) == {"accuracy": 50.0}
    assert found.tally.faults == ["question 7: mark 1 has no area"]
