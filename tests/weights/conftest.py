"""A small released checkpoint that the tests of this folder copy and damage."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from tests.weights import small


@pytest.fixture(scope="session")
def state() -> dict[str, torch.Tensor]:
    return small.random_state(small.small_config())


@pytest.fixture(scope="session")
def _pristine(state, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pristine") / "two"
    return small.write_released(
        folder, small.small_config(), small.released_state(state, small.unused_tensors()), shards=2
    )


@pytest.fixture
def two_shards(_pristine, tmp_path) -> Path:
    """A released folder of two shards, free to be changed."""
    return Path(shutil.copytree(_pristine, tmp_path / "two_shards"))
