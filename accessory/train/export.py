"""Checkpoints to pass on from a model that may be split over processes: our folder and the released layout."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from accessory.runtime.distributed import World
from accessory.train.lora import adapters, merged
from SPHINX_V.errors import CheckpointError
from SPHINX_V.model.sphinx_v import SphinxV
from SPHINX_V.weights.entries import Entry
from SPHINX_V.weights.folder import save_folder
from SPHINX_V.weights.local_part import is_distributed
from SPHINX_V.weights.released_write import check_shards, save_released
from SPHINX_V.weights.tensor_files import TensorInfo

# What the first process says in place of a tensor's number.
_DONE, _FAILED = -1, -2


def full_state(model: nn.Module, world: World) -> Iterator[tuple[str, Tensor | None]]:
    """Names and whole tensors of the model, adapters merged, one after another: on the CPU of the first process, None
    elsewhere.

    All processes take all of them, in step: a split tensor is put together on every device, and is gone from there
    before the next. What comes from a model on the CPU may share its memory: copy it, do not change it.
    """
    for name, weight in _weights(model).items():
        yield name, weight.whole(world)


def export_folder(
    path: str | os.PathLike[str],
    model: SphinxV,
    world: World,
    tokenizer_bytes: bytes,
    *,
    dtype: torch.dtype | None = None,
    overwrite: bool = False,
) -> None:
    """Writes one of our folders from the first process; all processes call it, and return when it is written.

    In memory is one whole tensor at a time. Adapters are merged, and such weights are of float32, as trained ones are.
    `dtype` converts the weights; without, each is written as it is. Raises
    UsageError where `path` is taken, and on the other processes CheckpointError for whatever the first one raised.
    """

    def write(entries: list[Entry]) -> None:
        save_folder(path, entries, model.config, tokenizer_bytes, overwrite=overwrite)

    _export(path, model, world, dtype, write)


def export_released(
    path: str | os.PathLike[str],
    model: SphinxV,
    world: World,
    tokenizer_bytes: bytes,
    *,
    shards: int = 1,
    dtype: torch.dtype | None = None,
    overwrite: bool = False,
) -> None:
    """As `export_folder`, but the released layout of `shards` files; in memory are one shard and one whole tensor.

    Every tensor is put together once per shard. Raises UsageError also where `shards` does not divide a split
    dimension.
    """

    def write(entries: list[Entry]) -> None:
        save_released(path, entries, model.config, tokenizer_bytes, shards=shards, overwrite=overwrite)

    check_released(model, shards)
    _export(path, model, world, dtype, write)


def check_released(model: SphinxV, shards: int) -> None:
    """Raises UsageError where `shards` files cannot share a split dimension of the model."""
    check_shards(_entries(_weights(model), lambda name: torch.empty(0)), shards)


def _export(
    path: str | os.PathLike[str],
    model: nn.Module,
    world: World,
    dtype: torch.dtype | None,
    write: Callable[[list[Entry]], None],
) -> None:
    """The first process writes, and says which tensor it needs next; the others help to put that together."""
    weights = _weights(model)
    numbers = {name: number for number, name in enumerate(weights)}
    if not world.is_main:
        _serve(list(weights.values()), path, world)
        return

    def read(name: str) -> Tensor:
        _tell(world, numbers[name])
        whole = weights[name].whole(world)
        assert whole is not None
        return whole

    last = _FAILED
    try:
        write([entry.cast(dtype) for entry in _entries(weights, read)])
        last = _DONE
    finally:
        _tell(world, last)


def _serve(weights: list[_Weight], path: str | os.PathLike[str], world: World) -> None:
    while (number := _tell(world, 0)) >= 0:
        weights[number].whole(world)
    if number == _FAILED:
        raise CheckpointError(f"{os.fspath(path)}: the first process could not write it; its message says why.")


def _tell(world: World, number: int) -> int:
    """What the first process says, on all of them; the others say 0."""
    return int(world.sum_over_all(torch.tensor(number, device=world.device)).item())


def _entries(weights: Mapping[str, _Weight], read: Callable[[str], Tensor]) -> list[Entry]:
    def entry(name: str, weight: _Weight) -> Entry:
        return Entry(name, TensorInfo(tuple(weight.tensor.shape), weight.dtype), lambda: read(name))

    return [entry(name, weight) for name, weight in weights.items()]


class _Weight(NamedTuple):
    """A tensor of the model that may be split over processes, with the matrices of its adapter and their factor."""

    tensor: Tensor
    adapter: tuple[Tensor, Tensor, float] | None = None

    @property
    def dtype(self) -> torch.dtype:
        return self.tensor.dtype if self.adapter is None else torch.float32

    def whole(self, world: World) -> Tensor | None:
        """As `_whole`, with the adapter merged into it."""
        tensor = _whole(self.tensor, world)
        if self.adapter is None:
            return tensor
        down, up = (_whole(part, world) for part in self.adapter[:2])
        if tensor is None or down is None or up is None:
            return None
        return merged(tensor, down, up, self.adapter[2])


def _weights(model: nn.Module) -> dict[str, _Weight]:
    state = model.state_dict()
    merges = {
        adapter.weight: (state.pop(adapter.down), state.pop(adapter.up), adapter.scale) for adapter in adapters(model)
    }
    return {name: _Weight(tensor, merges.get(name)) for name, tensor in state.items()}


def _whole(tensor: Tensor, world: World) -> Tensor | None:
    """The whole tensor on the CPU of the first process; where it is split, all of them must call it."""
    tensor = tensor.detach()
    if is_distributed(tensor):
        tensor = tensor.full_tensor()
    return tensor.cpu() if world.is_main else None
