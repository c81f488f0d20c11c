"""metrics.jsonl: what a line holds, and what is left of a file when a run goes on from a checkpoint."""

import json

import pytest

from accessory.train.metrics import MetricsFile, StepMetrics, cut_back
from SPHINX_V.errors import ConfigError


def step(number, loss=1.5, **more):
    return StepMetrics(step=number, loss=loss, grad_norm=0.25, lr=1e-3, tokens=20, samples=4, step_time=0.5, **more)


def write(path, *steps, first_step=0):
    file = MetricsFile(path, first_step)
    file.write(*(one.record() for one in steps))
    file.close()


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_line_holds_what_was_measured_exactly(tmp_path):
    loss = 0.1 + 0.2
    write(tmp_path / "m.jsonl", step(1, loss, mark_loss=0.0, targets=3, heldout_loss=2.5, flops=1e9))
    assert lines(tmp_path / "m.jsonl") == [
        {
            "step": 1,
            "loss": loss,
            "grad_norm": 0.25,
            "lr": 1e-3,
            "tokens": 20,
            "samples": 4,
            "step_time": 0.5,
            "mark_loss": 0.0,
            "targets": 3,
            "heldout_loss": 2.5,
        }
    ]


def test_a_number_that_is_not_finite_is_null(tmp_path):
    write(tmp_path / "m.jsonl", step(1, float("nan"), skipped=True), step(2, float("inf")))
    first, second = lines(tmp_path / "m.jsonl")
    assert (first["loss"], first["skipped"], second["loss"]) == (None, True, None)


def test_a_new_run_begins_a_new_file(tmp_path):
    path = tmp_path / "m.jsonl"
    write(path, step(1), step(2))
    write(path, step(1, 9.0))
    assert [(line["step"], line["loss"]) for line in lines(path)] == [(1, 9.0)]


def test_a_resumed_run_keeps_the_steps_of_its_checkpoint_and_writes_the_others_anew(tmp_path):
    path = tmp_path / "m.jsonl"
    write(path, *(step(number) for number in range(1, 8)))
    write(path, step(5, 9.0), step(6, 9.0), first_step=4)
    assert [(line["step"], line["loss"]) for line in lines(path)] == [
        (1, 1.5), (2, 1.5), (3, 1.5), (4, 1.5), (5, 9.0), (6, 9.0),
    ]  # fmt: skip


@pytest.mark.parametrize("cut", [1, 20, 100])
def test_a_line_that_a_kill_cut_short_goes(tmp_path, cut):
    path = tmp_path / "m.jsonl"
    write(path, step(1), step(2), step(3))
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    assert cut_back(path, 10) == 2
    assert path.read_bytes() == b"".join(whole.splitlines(keepends=True)[:2])


def test_cutting_back_before_the_first_step_leaves_nothing(tmp_path):
    path = tmp_path / "m.jsonl"
    write(path, step(3), step(4))
    assert cut_back(path, 2) == 0
    assert path.read_bytes() == b""


def test_steps_that_were_lost_are_named(tmp_path):
    path = tmp_path / "m.jsonl"
    write(path, step(1), step(2))
    with pytest.warns(UserWarning, match="ends at step 2, and the run goes on after step 4"):
        write(path, step(5), first_step=4)
    assert [line["step"] for line in lines(path)] == [1, 2, 5]
    with pytest.warns(UserWarning, match="ends at step 0"):
        write(tmp_path / "gone.jsonl", step(5), first_step=4)
    assert [line["step"] for line in lines(tmp_path / "gone.jsonl")] == [5]


@pytest.mark.parametrize("strange", ["[1]", "loss 3", '{"loss": 1}', '{"step": "4"}'])
def test_a_file_of_something_else_is_refused_and_left_as_it_is(tmp_path, strange):
    path = tmp_path / "m.jsonl"
    path.write_text('{"step": 1}\n' + strange + '\n{"step": 2}\n', encoding="utf-8")
    before = path.read_bytes()
    with pytest.raises(ConfigError, match=r"m\.jsonl, line 2: is not the JSON of a step"):
        MetricsFile(path, 1)
    assert path.read_bytes() == before
