"""COCO-Text: what counts as right, by hand."""

import pytest

from tests.accessory.eval.small_suites import answered, numbers, score

SAID = [
    answered(
        "Region 1: word (EXIT)\nRegion 2: word (stop)\nRegion 3: word (Cafe)",
        "Region 1: EXIT\nRegion 2: STOP\nRegion 3: CAFÉ",
        1,
        3,
    ),
    answered("EXIT", "Region 1: EXIT", 2, 1),
    answered("", "Region 1: 24h", 3, 1),
]


def test_case_and_distance_by_hand():
    found = score("ocr", SAID)
    assert numbers(found) == {
        "accuracy": pytest.approx(100 * 3 / 5),
        "accuracy, same case": pytest.approx(100 * 2 / 5),
        # cafe and café differ in one of four characters; silence is as far as can be.
        "edit distance": pytest.approx(100 * (0.25 + 1.0) / 5),
    }
    assert [score.lower_is_better for score in found.scores] == [False, False, True]


def test_an_answer_is_compared_with_the_truth_and_not_the_other_way_round():
    # The reference's scorer reads the truth as the prediction, so that a model that says nothing is right.
    assert numbers(score("ocr", [answered("", "Region 1: word (EXIT)", 1, 1)]))["accuracy"] == 0.0
    assert numbers(score("ocr", [answered("Region 1: word (A)", "Region 1: A", 1, 1)]))["accuracy"] == 100.0
