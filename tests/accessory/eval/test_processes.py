"""Real processes: killed ten times, or several at once, they write what an undisturbed one writes."""

import os
import random
import signal
import subprocess
import sys
import time

import pytest

from accessory.eval.predictions import parts_of
from tests.accessory.eval.small_suites import values, write_suite
from tests.golden_model import GOLDEN
from tests.house.repo import ROOT

ITEMS = 40
KILLS = 10


def command(tmp_path, out, *more):
    registry, root = write_suite(tmp_path, values(ITEMS), max_new_tokens=8)
    words = ["-m", "accessory.eval", "infer", "--checkpoint", str(GOLDEN), "--suite", "small", "--device", "cpu"]
    words += ["--data_root", str(root), "--registry", str(registry), "--out", str(tmp_path / out), "--batch_size", "3"]
    return [*words, *more]


ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def finished(words):
    return subprocess.run(words, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    done = finished([sys.executable, *command(folder, "out")])
    assert done.returncode == 0, done.stderr
    return (folder / "out" / "small.jsonl").read_bytes()


def size_of_parts(path):
    return sum(part.stat().st_size for part in parts_of(path))


@pytest.mark.slow
def test_killed_at_ten_random_moments_and_resumed_the_file_is_the_same(tmp_path, undisturbed):
    path = tmp_path / "out" / "small.jsonl"
    draw = random.Random(0)
    killed = 0
    while killed < KILLS:
        words = [sys.executable, *command(tmp_path, "out")]
        before = size_of_parts(path)
        with subprocess.Popen(words, cwd=ROOT, env=ENVIRONMENT, stderr=subprocess.DEVNULL) as process:
            # Every second one dies while it loads, the others at some moment of answering.
            while process.poll() is None and killed % 2 and size_of_parts(path) == before:
                time.sleep(0.001)
            time.sleep(draw.random() * (0.02 if killed % 2 else 2.0))
            process.send_signal(signal.SIGKILL)
        killed += 1
        if path.exists():
            break
    assert killed >= 6, "the suite is too short to be killed in"
    done = finished([sys.executable, *command(tmp_path, "out")])
    assert done.returncode == 0, done.stderr
    assert path.read_bytes() == undisturbed


@pytest.mark.slow
def test_several_processes_write_the_same_file(tmp_path, undisturbed):
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=3"]
    done = finished([*torchrun, *command(tmp_path, "out")])
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "small.jsonl").read_bytes() == undisturbed
    assert sorted(one.name for one in (tmp_path / "out").iterdir()) == ["small.jsonl", "small.record.json"]
    assert done.stderr.count("small.jsonl: 40 questions") == 1, "one process speaks"


@pytest.mark.slow
def test_processes_that_hold_one_model_together_write_one_file(tmp_path, undisturbed):
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    done = finished([*torchrun, *command(tmp_path, "out", "--tensor_parallel", "2")])
    assert done.returncode == 0, done.stderr
    # Sums over two processes are rounded differently, so an answer from random weights may turn out otherwise.
    lines = (tmp_path / "out" / "small.jsonl").read_bytes().splitlines()
    assert len(set(lines) & set(undisturbed.splitlines())) > ITEMS // 2
    assert len(lines) == ITEMS


@pytest.mark.slow
def test_two_models_of_two_processes_each_write_what_one_such_model_writes(tmp_path):
    """Items are shared out by models, so answers are the same to the bit; each model's first process writes."""
    written = []
    for processes, out in ((2, "one"), (4, "two")):
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
        done = finished([*torchrun, *command(tmp_path, out, "--tensor_parallel", "2")])
        assert done.returncode == 0, done.stderr
        written.append((tmp_path / out / "small.jsonl").read_bytes())
        assert sorted(one.name for one in (tmp_path / out).iterdir()) == ["small.jsonl", "small.record.json"]
    assert written[0] == written[1]
    assert len(written[0].splitlines()) == ITEMS
