"""POPE: its rule, its numbers by hand, and what that rule hides."""

import pytest

from accessory.eval.suites.yes_no import plain_answer, says_yes
from tests.accessory.eval.small_suites import answered, numbers, score

RULE = [
    ("Yes, there is a dog.", True, True),
    ("No", False, False),
    ("no, there is not", False, False),
    ("There is not. Yes?", False, True),
    ("I see a giraffe", True, None),  # POPE takes everything else for yes
    ("", True, None),
    ("NO.", True, False),  # and knows two spellings of no
    ("Nobody knows", True, None),
]


@pytest.mark.parametrize("answer, by_rule, plainly", RULE)
def test_the_rule_and_the_plain_reading(answer, by_rule, plainly):
    assert says_yes(answer) is by_rule
    assert plain_answer(answer) is plainly


def test_the_numbers_by_hand():
    # By the rule: 2 true yes, 1 false yes, 1 true no, 1 false no; "I see" is one of the yeses.
    said = ["Yes", "I see a cat", "Yes.", "No", "No"]
    truths = ["yes", "yes", "no", "no", "yes"]
    found = score("yes_no", [answered(*pair, number) for number, pair in enumerate(zip(said, truths))])
    assert numbers(found) == {
        "accuracy": pytest.approx(60.0),
        "F1": pytest.approx(100 * 2 * 2 / (3 + 3)),
        "precision": pytest.approx(100 * 2 / 3),
        "recall": pytest.approx(100 * 2 / 3),
        "yes-ratio": pytest.approx(60.0),
        "accuracy strict": pytest.approx(40.0),
    }
    assert found.tally.unparsable == 1


def test_a_model_that_never_says_yes_has_no_precision():
    found = numbers(score("yes_no", [answered("No", truth, n) for n, truth in enumerate(["yes", "no"])]))
    assert found["precision"] is None
    assert found["F1"] == 0.0
    assert found["recall"] == 0.0
