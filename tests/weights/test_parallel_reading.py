"""Several tensors are read at once: the same bits as one by one, and of several errors the first in order is told."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import torch
from torch import Tensor

from SPHINX_V.config import SphinxVConfig
from SPHINX_V.errors import CheckpointError
from SPHINX_V.weights import load
from SPHINX_V.weights.checkpoint import Checkpoint, open_checkpoint
from SPHINX_V.weights.folder import save_folder
from SPHINX_V.weights.load import load_model, load_state
from tests.weights import small

CONFIG = small.small_config()


def written(folder: Path, kind: str, state: dict[str, Tensor], config: SphinxVConfig = CONFIG) -> Path:
    if kind == "folder":
        save_folder(folder, state, config, small.TOKENIZER, shards=4)
        return folder
    return small.write_released(folder, config, small.released_state(state), int(kind))


@pytest.mark.parametrize("kind", ["folder", "1", "2", "4"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("readers", [1, 3, 16])
def test_the_bits_do_not_depend_on_how_many_read(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    state: dict[str, Tensor],
    kind: str,
    dtype: torch.dtype,
    readers: int,
) -> None:
    path = written(tmp_path / "model", kind, state)
    monkeypatch.setattr(load, "READERS", readers)
    loaded = load_model(path, dtype=dtype).model.state_dict()
    expected = {
        name: tensor if name == "prompt_encoder.frequencies" else tensor.to(dtype) for name, tensor in state.items()
    }
    small.assert_same_bits(loaded, expected)


def test_several_are_read_at_the_same_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: dict[str, Tensor]
) -> None:
    """The first two reads wait for each other: one reader alone would wait in vain."""
    checkpoint = open_checkpoint(written(tmp_path / "model", "folder", state))
    meeting = threading.Barrier(2, timeout=60)
    calls = iter(range(10_000))
    copy_part = checkpoint.source.copy_part

    def copy(name: str, target: Tensor, dimension: int = 0, start: int = 0) -> None:
        if next(calls) < 2:
            meeting.wait()
        copy_part(name, target, dimension, start)

    monkeypatch.setattr(checkpoint.source, "copy_part", copy)
    model = load.SphinxV(CONFIG)
    load_state(model, checkpoint)
    small.assert_same_bits(model.state_dict(), state)


def test_of_several_errors_the_first_in_order_is_told(tmp_path: Path, state: dict[str, Tensor]) -> None:
    path = written(tmp_path / "model", "folder", state)
    checkpoint = open_checkpoint(path)
    for number in (4, 2, 3):
        with (path / f"model-0000{number}-of-00004.safetensors").open("r+b") as file:
            file.truncate({2: 5_000, 3: 3, 4: 30_000}[number])
    for _ in range(5):
        with pytest.raises(CheckpointError, match=r"model-00002-of-00004\.safetensors: was changed .*; load it again"):
            load_state(load.SphinxV(CONFIG), checkpoint)


def test_loading_in_inference_mode_fills_inference_tensors(tmp_path: Path, state: dict[str, Tensor]) -> None:
    path = written(tmp_path / "model", "2", state)
    with torch.inference_mode():
        model = load_model(path).model
    small.assert_same_bits(dict(model.state_dict()), state)


def test_a_checkpoint_may_be_read_by_several_loads_at_once(tmp_path: Path, state: dict[str, Tensor]) -> None:
    checkpoint: Checkpoint = open_checkpoint(written(tmp_path / "model", "2", state))
    models = [load.SphinxV(CONFIG) for _ in range(3)]
    threads = [threading.Thread(target=load_state, args=(model, checkpoint)) for model in models]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for model in models:
        small.assert_same_bits(model.state_dict(), state)
