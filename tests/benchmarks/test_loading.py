"""The benchmark of loading compares ways that end with the same model."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks import loading
from SPHINX_V.config import tiny
from SPHINX_V.weights import load
from tests.weights.small import assert_same_bits


@pytest.mark.slow
def test_all_ways_load_the_same_model_and_are_measured(tmp_path: Path) -> None:
    config, device = tiny(), torch.device("cpu")
    paths = loading.write(tmp_path, config, torch.bfloat16, shards=2)
    assert [len(loading.weight_files(paths[form])) for form in loading.FORMS] == [2, 2]
    expected = load.load_model(paths["folder"]).model.state_dict()
    assert_same_bits(load.load_model(paths["released"]).model.state_dict(), expected)
    usual = loading.usual_way(paths["folder"], config, device, torch.bfloat16)
    assert_same_bits(usual.state_dict(), expected)

    found = loading.measure(paths, config, device, torch.bfloat16, cold=True, repeats=1)
    ways = ("folder_one", "folder_several", "released_one", "released_several", "usual", "read_only")
    assert all(found[way]["seconds"] > 0 for way in ways)
    assert found["folder_several_of_one"]["median"] > 0
    assert load.READERS == found["readers"] > 1
