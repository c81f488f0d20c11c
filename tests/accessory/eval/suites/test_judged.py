"""Judged suites: the ratio of grades, what has no verdict, and whose verdict it is."""

import numpy
import pytest

from accessory.eval.suites.base import Resources
from accessory.eval.suites.judged import ItemJudgement, SuiteJudgement
from tests.accessory.eval.small_suites import answered, numbers, score


def compute(values):
    model, reference = values["model"].mean(-1), values["reference"].mean(-1)
    return {"score": 100 * model / reference, "model": model}


def verdict(items):
    return SuiteJudgement("a judge", "0123456789abcdef", ("score", "model"), compute, "model", 10, items)


SAID = [answered(f"answer {number}", "truth", number) for number in range(4)]
GRADES = {
    "0": ItemJudgement({"model": 4.0, "reference": 8.0}),
    "1": ItemJudgement({"model": 6.0, "reference": 8.0}),
    "2": ItemJudgement(None, "unreadable"),
}


def test_scores_by_hand_and_strictly():
    found = score("judged", SAID, Resources(judgements={"small": verdict(GRADES)}), protocol="mdvp")
    assert numbers(found) == {
        "judge": pytest.approx(100 * 5 / 8),
        "judge strict": pytest.approx(100 * 5 / 8 * 2 / 4),
        "mean grade": pytest.approx(5.0),
    }
    assert found.tally.unjudged == 2
    assert found.scores[0].interval == pytest.approx((50.0, 75.0))
    assert [item.value for item in found.items] == [0.4, 0.6, None, None]


def test_judge_and_prompt_are_named_with_the_number():
    found = score("judged", SAID, Resources(judgements={"small": verdict(GRADES)}), protocol="mdvp")
    assert found.scores[0].note == "judge a judge, prompt 0123456789ab"


def test_without_a_judge_answers_are_parsed_and_counted():
    truth = "<Region 1>: a dog\n<Region 2>: a cat"
    found = score("judged", [answered("<Region 2>: cat", truth, 1, 2), answered("prose", truth, 2, 2)], protocol="mdvp")
    assert numbers(found) == {"judge": None}
    assert found.scores[0].note == "not judged; give a judge"
    assert (found.tally.regions, found.tally.unanswered, found.tally.unparsable) == (4, 1, 2)


def test_replies_that_cannot_be_read_leave_no_number():
    nobody = verdict({"0": ItemJudgement(None, "unreadable")})
    found = score("judged", SAID, Resources(judgements={"small": nobody}), protocol="mdvp")
    assert set(numbers(found).values()) == {None}
    assert "no reply could be read" in found.scores[0].note


def test_values_that_some_items_lack_are_no_numbers():
    # As in DLC-Bench, where an object may have no negative questions.
    items = {"0": ItemJudgement({"positive": 1.0, "negative": 0.5}), "1": ItemJudgement({"positive": 0.5})}

    def means(values):
        there = {name: ~numpy.isnan(column) for name, column in values.items()}
        return {n: numpy.where(there[n], values[n], 0).sum(-1) / numpy.maximum(1, there[n].sum(-1)) for n in values}

    judged = SuiteJudgement("j", "h", ("positive", "negative"), means, "positive", 1, items)
    found = score("judged", SAID[:2], Resources(judgements={"small": judged}), protocol="mdvp")
    assert numbers(found)["positive"] == 0.75
    assert numbers(found)["negative"] == 0.5
