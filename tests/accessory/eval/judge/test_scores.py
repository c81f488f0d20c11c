"""Scores of judgements: ratios of means, intervals that cover what they should, and counts of what has no score."""

import numpy
import pytest

from accessory.eval.judge.judgements import Judgement, read_judgements
from accessory.eval.judge.scores import summarise, table
from SPHINX_V import DataError, UsageError


def judgement(number, grades, dataset="natural_QA_box", domain="natural", **changes):
    values = {
        "question_id": number,
        "image_name": "a.png",
        "dataset": dataset,
        "domain": domain,
        "protocol": "mdvp",
        "judge": "judge",
        "prompt_hash": "ab" * 32,
        "scores": None if grades is None else {"reference": float(grades[0]), "model": float(grades[1])},
        "unparsable": int(grades is None),
        "failure": None,
        "replies": (),
        **changes,
    }
    return Judgement(**values)


def test_a_failed_case_counts_but_not_in_the_mean():
    cases = [judgement(1, (8, 4)), judgement(2, (8, 6)), judgement(3, None)]
    cases.append(judgement(4, None, unparsable=0, failure="HTTP 400"))
    (row,) = summarise(cases).tasks
    assert row.columns == {"score": 62.5, "model": 5.0, "reference": 8.0}
    assert (row.items, row.scored, row.unparsable, row.failed) == (4, 2, 1, 1)


def test_the_interval_is_that_of_the_ratio():
    # Reference always 8, model 4 or 8 by a coin: the ratio is 50 + 50 · share, whose spread is known.
    chance = numpy.random.default_rng(1)
    cases = [judgement(n, (8, 4 + 4 * int(chance.random() < 0.5))) for n in range(400)]
    (row,) = summarise(cases).tasks
    assert row.interval is not None
    low, high = row.interval
    share = row.columns["score"] / 50 - 1
    half = 1.96 * 50 * (share * (1 - share) / 400) ** 0.5
    # 2000 resamples place an end within about 5 % of the width.
    assert low == pytest.approx(row.columns["score"] - half, abs=0.3)
    assert high == pytest.approx(row.columns["score"] + half, abs=0.3)


def test_the_interval_does_not_depend_on_other_tasks_or_on_the_run():
    one = [judgement(n, (8, n % 9 + 1)) for n in range(20)]
    other = [judgement(n, (9, n % 5 + 1), "web_QA_box", "screenshot") for n in range(20)]
    alone, beside = summarise(one).rows[0], summarise([*other, *one]).tasks[1]
    assert alone == beside == summarise(one).rows[0]


def test_a_mean_of_tasks_has_a_smaller_interval_than_its_tasks():
    tasks = [judgement(n, (8, n % 9 + 1), f"natural_QA_{kind}") for kind in ("box", "point") for n in range(30)]
    summary = summarise(tasks)
    widths = [row.interval[1] - row.interval[0] for row in summary.rows if row.interval]
    assert len(widths) == 4  # two tasks, one domain, the total
    # Two independent tasks: by √2, which 2000 resamples meet within a tenth.
    assert widths[2] == pytest.approx(sum(widths[:2]) / 2 / 2**0.5, rel=0.1)


def test_one_case_has_no_interval_and_no_score_takes_the_mean_away():
    cases = [judgement(1, (8, 4)), judgement(1, None, "natural_QA_point")]
    summary = summarise(cases)
    box, point = summary.tasks
    assert (box.columns["score"], box.interval) == (50.0, None)
    assert (point.columns, point.interval) == ({}, None)
    assert summary.domains[0].columns == {}
    assert "| domain: natural | – | – | – | – | 2 | 1 | 1 | 0 |" in table(summary)


@pytest.mark.parametrize("field, value", [("judge", "rival"), ("prompt_hash", "cd" * 32), ("protocol", "osprey80")])
def test_different_judges_prompts_and_protocols_do_not_mix(field, value):
    other = judgement(2, (8, 4), **{field: value})
    with pytest.raises(UsageError, match="do not mix") as caught:
        summarise([judgement(1, (8, 4)), other])
    for name in (str(judgement(1, (8, 4)).identity), str(other.identity)):
        assert name in str(caught.value)


def test_nothing_twice_and_unknown_protocols_are_refused():
    with pytest.raises(UsageError, match="question 1 of natural_QA_box is there twice"):
        summarise([judgement(1, (8, 4)), judgement("1", (8, 4))])
    with pytest.raises(UsageError, match="no judgement"):
        summarise([])
    with pytest.raises(UsageError, match="protocol 'x' is unknown; known: mdvp"):
        summarise([judgement(1, (8, 4), protocol="x")])


def test_judgements_are_read_back_without_a_half_line(tmp_path):
    path = tmp_path / "a.judged.jsonl"
    cases = [judgement(1, (8, 4)), judgement("zwei", None, failure="é")]
    text = "".join(one.line() for one in cases)
    path.write_text(text + text[:40], encoding="utf-8")
    assert read_judgements(path) == cases
    path.write_text(text + "{}\n", encoding="utf-8")
    with pytest.raises(DataError, match="line 3: is no judgement"):
        read_judgements(path)
