"""The load on servers: its shares, its verdicts, and a small run of the whole."""

import json

import pytest

from benchmarks import serving
from benchmarks._load import MALFORMED, Outcome, Task, questions, tasks
from tests.golden_model import GOLDEN

ALONE = ["right", "also right"]


def test_questions_are_distinct_and_of_all_kinds():
    found = questions(40, 8)
    assert questions(40, 8) == found
    texts = [json.dumps(one) for one in found]
    assert len(set(texts)) == 40
    for sign in ("image/png", "image/jpeg", "image/webp", '"box"', '"point"', '"temperature": 0}', '"seed": 3'):
        assert any(sign in text for text in texts), sign
    assert sum("image_url" not in text for text in texts) == 8


def test_tasks_have_the_shares_that_were_asked_for():
    found = tasks(questions(4, 8), 200, cancelled=0.1, malformed=0.05)
    assert len(found) == 200
    assert sum(task.hangs_up for task in found) == 20
    nonsense = [task for task in found if task.question is None]
    assert len(nonsense) == 10
    assert {task.body for task in nonsense} == set(MALFORMED)
    assert not any(task.hangs_up for task in nonsense)


def outcomes(*pairs):
    return [Outcome(Task(b"", question), fate, text, tokens=3) for question, fate, text in pairs]


@pytest.mark.parametrize(
    "pair, name",
    [
        ((0, "answered", "wrong"), "wrong"),
        ((1, "answered", "right"), "wrong"),
        ((None, "answered", ""), "wrong"),
        ((0, "lost", ""), "lost"),
        ((0, "refused", ""), "not_as_meant"),
        ((None, "lost", ""), "not_as_meant"),
    ],
)
def test_each_thing_that_may_not_happen_is_counted(pair, name):
    right = outcomes(
        (0, "answered", "right"), (1, "answered", "also right"), (1, "cancelled", ""), (None, "refused", "")
    )
    found = serving.count(right, ALONE)
    assert (found["wrong"], found["lost"], found["not_as_meant"]) == (0, 0, 0)
    assert (found["answered"], found["cancelled"], found["refused"]) == (2, 1, 1)
    assert serving.count([*right, *outcomes(pair)], ALONE)[name] == 1


def test_times_are_of_answers_to_their_end():
    done = [Outcome(Task(b"", 0), "answered", "right", 10, first=n / 10, total=n) for n in range(1, 6)]
    done += [Outcome(Task(b"", 0), "cancelled"), Outcome(Task(b"", None), "refused")]
    found = serving.speeds(done, seconds=2.0)
    assert (found["tokens_per_second"], found["answers_per_second"]) == (25, 2.5)
    assert found["answer_p50"] == 3
    assert found["answer_p95"] == pytest.approx(4.8)  # between the 4th and 5th of 5, at 0.95 · 4
    assert found["first_token_p50"] == pytest.approx(0.3)
    assert serving.quantile([], 50) == 0
    assert serving.quantile([7.0], 95) == 7


@pytest.mark.slow
def test_a_small_run_finds_nothing_wrong_and_nothing_lost(tmp_path, monkeypatch, capsys):
    pytest.importorskip("fastapi", reason='needs the server\'s packages: pip install -e ".[serve]"')
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    counts = ["--clients", "6", "--requests", "20", "--questions", "4", "--new_tokens", "4", "--max_rows", "2"]
    record = tmp_path / "record.json"
    serving.main(["--checkpoint", str(GOLDEN), *counts, "--repeats", "1", "--record", str(record)])
    found = json.loads(record.read_text())
    assert found == json.loads(capsys.readouterr().out)
    assert (found["wrong_in_all_rounds"], found["lost_in_all_rounds"]) == (0, 0)
    for way in found["ways"].values():
        assert (way["answered"], way["cancelled"], way["refused"]) == (17, 2, 1)
        assert way["not_as_meant"] == 0
        assert way["mib_after"] > 0
    assert str(tmp_path) not in record.read_text()
