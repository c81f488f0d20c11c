"""States of a model on a mesh of data × tensor, taken over by another mesh."""

import json

import pytest

from tests.launch import torchrun


@pytest.mark.slow
def test_data_and_tensor_parallel_parts_are_taken_over_by_data_parallel_ones(tmp_path):
    done = torchrun(4, "tests.accessory.train.four_processes", tmp_path)
    assert done.returncode == 0, done.stderr
    for rank in range(4):
        seen = json.loads((tmp_path / f"{rank}.json").read_text(encoding="utf-8"))
        assert len(seen["names"]) == 4 * 4, "weights and biases of two layers, with step and two moments each"
        assert all(name.endswith(".step") for name in seen["equal before"])
        assert seen["equal after"] == seen["names"]
