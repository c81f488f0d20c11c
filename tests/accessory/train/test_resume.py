"""A run that is cut off goes on as if nothing had happened: bit for bit, and in another layout within rounding."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from accessory.main import main
from accessory.runtime.signals import STOPPED
from SPHINX_V.weights.load import load_model
from tests.accessory.runs import MIXED, read_metrics, run, write_data, write_run
from tests.golden_model import GOLDEN
from tests.house.repo import ROOT
from tests.launch import torchrun

STEPS = 12
EXACT = ("step", "loss", "grad_norm", "lr", "tokens", "samples", "mark_loss")


def written(folder, **data):
    """A run of 12 steps over two epochs and a bit, of boxes that are jittered anew in each."""
    return write_run(
        folder,
        write_data(folder, MIXED * 3),
        batch_size=2,
        accumulation=2,
        max_steps=STEPS,
        warmup_epochs=0.5,
        mark_loss=0.5,
        skip_spikes=8.0,
        data={"box_jitter": True, **data},
    )


def numbers(metrics):
    return [{key: line.get(key) for key in EXACT} for line in metrics]


def weights(output):
    return load_model(output / "checkpoint").model.state_dict()


def cut_off(source, target, step):
    """What a kill after the state of `step` would have left, a line of metrics beyond it included."""
    shutil.copytree(source, target)
    shutil.rmtree(target / "checkpoint")
    for state in (target / "states").glob("step-*"):
        if int(state.name.removeprefix("step-")) > step:
            shutil.rmtree(state)
    lines = (target / "metrics.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (target / "metrics.jsonl").write_text("".join(lines[: step + 1])[:-20], encoding="utf-8")


def assert_resumed_alike(config, folder, steps, *overrides):
    """Trains a run into its own output, and again from its states after `steps`."""
    metrics = run(config, "save.every=1", "save.keep_every=1", *overrides)
    for step in steps:
        output = folder / f"resumed{step}"
        cut_off(folder / "out", output, step)
        assert numbers(run(config, f"output={output}", *overrides)) == numbers(metrics)
        before, after = weights(folder / "out"), weights(output)
        assert all(before[name].equal(after[name]) for name in before)


@pytest.fixture(scope="module", params=[(0, False), (2, True)], ids=["no workers", "two workers, packed"])
def uninterrupted(request, tmp_path_factory):
    """A run that kept the state of every step."""
    workers, packing = request.param
    folder = tmp_path_factory.mktemp("uninterrupted")
    config = written(folder, workers=workers)
    options = [f"train.packing={packing}".lower()]
    metrics = run(config, "save.every=1", "save.keep_every=1", *options)
    return config, folder / "out", options, metrics


def test_the_run_sees_texts_pictures_and_several_epochs(uninterrupted):
    metrics = uninterrupted[3]
    assert [line["step"] for line in metrics] == list(range(1, STEPS + 1))
    assert len({line["loss"] for line in metrics}) == STEPS
    assert 0 < sum(line["mark_loss"] == 0 for line in metrics) < STEPS


@pytest.mark.parametrize("step", range(1, STEPS))
def test_resumed_at_any_step_everything_is_equal_bit_for_bit(uninterrupted, tmp_path, step, request):
    config, output, options, metrics = uninterrupted
    if options != ["train.packing=false"] and step not in (1, 6):
        pytest.skip("one of the two runs is resumed at every step")
    cut_off(output, tmp_path / "out", step)
    resumed = run(config, f"output={tmp_path / 'out'}", "save.every=5", *options)
    assert numbers(resumed) == numbers(metrics)
    before, after = weights(output), weights(tmp_path / "out")
    assert all(before[name].equal(after[name]) for name in before)


def test_a_run_that_has_ended_is_not_trained_again(uninterrupted, tmp_path, capsys):
    config, output, options, metrics = uninterrupted
    shutil.copytree(output, tmp_path / "out")
    again = run(config, f"output={tmp_path / 'out'}", "save.every=1", *options)
    assert f"going on after step {STEPS - 1} of {STEPS}" in capsys.readouterr().out
    assert numbers(again) == numbers(metrics)


@pytest.mark.parametrize(
    "change, said",
    [
        ("train.lr=0.5", "train.lr was 0.0001, is 0.5"),
        ("train.accumulation=1", "items of a step was 4, is 2"),
        ("train.max_steps=13", "steps was 12, is 13"),
    ],
)
def test_states_of_a_run_with_other_options_are_refused(uninterrupted, tmp_path, capsys, change, said):
    config, output, options, _ = uninterrupted
    cut_off(output, tmp_path / "out", 3)
    assert main(["--config", str(config), f"output={tmp_path / 'out'}", *options, change]) == 2
    message = capsys.readouterr().err
    assert said in message
    assert "name another output, or remove that folder" in message


def test_a_start_that_was_changed_since_is_found_out(tmp_path, capsys):
    start = tmp_path / "start"
    start.mkdir()
    for file in GOLDEN.iterdir():
        shutil.copy(file, start)
    config = write_run(tmp_path, write_data(tmp_path, MIXED), max_steps=2)
    config.write_text(config.read_text(encoding="utf-8").replace(str(GOLDEN), str(start)), encoding="utf-8")
    run(config, "save.every=1")
    with (start / "README.md").open("a", encoding="utf-8") as file:
        file.write("x")
    assert main(["--config", str(config), "save.every=1"]) == 2
    assert "contents of model.checkpoint was" in capsys.readouterr().err


def start(config, *overrides):
    return subprocess.Popen(
        [sys.executable, "-m", "accessory.main", "--config", str(config), *overrides],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_steps(output, count, process):
    path = output / "metrics.jsonl"
    while process.poll() is None and (not path.exists() or path.read_text(encoding="utf-8").count("\n") < count):
        time.sleep(0.01)


def test_a_signal_saves_and_ends_with_the_code_that_launchers_requeue_on(tmp_path, capsys):
    config = written(tmp_path)
    process = start(config, "train.max_steps=300")
    wait_for_steps(tmp_path / "out", 2, process)
    process.send_signal(signal.SIGUSR1)
    out, err = process.communicate(timeout=120)
    assert process.returncode == STOPPED, err
    assert "SIGUSR1: stopped, with the state saved in" in out
    stopped = read_metrics(tmp_path / "out")[-1]["step"]
    assert 2 <= stopped < 300
    assert not (tmp_path / "out" / "checkpoint").exists()
    process = start(config, "train.max_steps=300")
    wait_for_steps(tmp_path / "out", stopped + 1, process)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=120)
    assert f"going on after step {stopped} of 300" in out


LAYOUTS = {
    "tensor 2 to 1": (["parallel.tensor=2"], []),
    "data 1 to 2": ([], ["parallel.mode=sdp", "train.batch_size=1"]),
    "sharded 2 to 1": (["parallel.mode=fsdp", "train.batch_size=1"], []),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_resumed_in_another_layout_losses_are_equal_within_rounding(tmp_path, name):
    before, after = LAYOUTS[name]
    config = written(tmp_path)
    expected = run(config, f"output={tmp_path / 'whole'}")

    def trained(layout):
        if not layout:
            return run(config, "save.every=5", "save.keep_every=5")
        overrides = ["states", f"output={tmp_path / 'out'}", "save.every=5", "save.keep_every=5", *layout]
        done = torchrun(2, "tests.accessory.train.mesh_worker", str(config), str(tmp_path), ",".join(overrides))
        assert done.returncode == 0, done.stderr[-3000:]
        return read_metrics(tmp_path / "out")

    trained(before)
    (tmp_path / "out").rename(tmp_path / "first")
    cut_off(tmp_path / "first", tmp_path / "out", 5)
    resumed = trained(after)
    assert len(resumed) == STEPS
    for line, reference in zip(resumed, expected):
        for key in ("loss", "grad_norm", "mark_loss"):
            assert line[key] == pytest.approx(reference[key], rel=1e-5), (line["step"], key)


def test_the_state_says_where_it_comes_from(uninterrupted):
    output = uninterrupted[1]
    state = json.loads((output / "states" / "step-00000005" / "state.json").read_text(encoding="utf-8"))
    assert state["step"] == 5
    assert state["extra"]["origin"]["processes"] == 1
    assert state["extra"]["run"]["items of a step"] == 4
    assert state["extra"]["run"]["train.seed"] == 0
