"""States of a model on a mesh of data × tensor, taken over by another mesh."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.house.repo import ROOT

WORKER = Path(__file__).with_name("four_processes.py")


@pytest.mark.slow
def test_data_and_tensor_parallel_parts_are_taken_over_by_data_parallel_ones(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=4", WORKER, tmp_path],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for rank in range(4):
        seen = json.loads((tmp_path / f"{rank}.json").read_text(encoding="utf-8"))
        assert len(seen["names"]) == 4 * 4, "weights and biases of two layers, with step and two moments each"
        assert all(name.endswith(".step") for name in seen["equal before"])
        assert seen["equal after"] == seen["names"]
