"""Processes killed while they save: never a state that does not load, never a committed one that is lost."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.house.repo import ROOT

WORKER = Path(__file__).with_name("killed_savers.py")


def run(folder, mode, seed=0, kills=0):
    done = subprocess.run(
        [sys.executable, str(WORKER), str(folder), mode, str(seed), str(kills)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_call_returns_before_the_state_is_written(tmp_path):
    assert run(tmp_path / "states", "gate") == {"committed at return": False, "newest": 1}


def test_kills_before_every_single_change_to_the_folder(tmp_path):
    found = run(tmp_path / "states", "points")
    assert found["kills"] > 40, "two saves with a deletion each are more changes than that"
    assert found["newest"] > 10


@pytest.mark.parametrize("seed", [0])
def test_kills_at_random_moments(tmp_path, seed):
    found = run(tmp_path / "states", "random", seed, 20)
    assert found["kills"] >= 3, "most processes are killed before they are done; how many depends on the machine"
    assert found["newest"] > 10


@pytest.mark.slow
def test_two_hundred_kills_at_random_moments(tmp_path):
    assert run(tmp_path / "states", "random", 1, 200)["kills"] >= 100
