"""Writing released shards: `consolidated.{i}-of-{n}.model.pth` for any n that divides the split dimensions."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from SPHINX_V.config import SphinxVConfig
from SPHINX_V.errors import CheckpointError, UsageError
from SPHINX_V.weights import names, released_config
from SPHINX_V.weights.entries import UNUSED_PREFIX, Entry, as_entries
from SPHINX_V.weights.folder import CONFIG_FILE, TOKENIZER_FILE, write_json
from SPHINX_V.weights.publish import new_folder

LLAMA_TYPE = "llama_ens5_vp"


def save_released(
    path: str | os.PathLike[str],
    state: Mapping[str, Tensor] | Iterable[Entry],
    config: SphinxVConfig,
    tokenizer_bytes: bytes,
    *,
    shards: int = 1,
    overwrite: bool = False,
) -> None:
    """Writes a released folder of `shards` files from a state dict under our names, or from entries.

    In memory are one shard and the tensor being cut; every entry is read once per shard.
    Shards may cut through heads: they are put together when they are read. Raises UsageError where `shards` does not
    divide a split dimension, or `path` is taken.
    """
    entries = as_entries(state)
    check_shards(entries, shards)
    with new_folder(Path(path), overwrite) as folder:
        for index in range(shards):
            write_shard(folder / f"consolidated.{index:02d}-of-{shards:02d}.model.pth", entries, index, shards)
        write_json(folder / CONFIG_FILE, released_config.to_released(config))
        (folder / "meta.json").write_text(json.dumps({"llama_type": LLAMA_TYPE}), encoding="utf-8")
        (folder / TOKENIZER_FILE).write_bytes(tokenizer_bytes)


def check_shards(entries: Iterable[Entry], shards: int) -> None:
    """Raises UsageError where the tensors cannot be cut into `shards` equal parts."""
    if shards < 1:
        raise UsageError(f"shards is {shards}; give at least 1.")
    for entry in entries:
        split = names.split_dimension(entry.name)
        if split is not None and entry.info.shape[split] % shards:
            raise UsageError(
                f"{shards} shards do not divide dimension {split} of {entry.name}, which is {entry.info.shape[split]};"
                " choose a divisor of it."
            )


def write_shard(path: Path, entries: Iterable[Entry], index: int, shards: int) -> None:
    """Writes shard `index` of `shards` as `{"model": {released name: tensor}}`."""
    model: dict[str, Tensor] = {}
    for entry in entries:
        name, lead = _released_name(entry.name)
        if name in model:
            raise CheckpointError(f"{path}: two tensors would be named {name}; {entry.name} is one of them.")
        # A copy of its own, filled in place: torch.save writes the whole storage that a view looks at, and tensors that
        # come and go between those that stay would leave holes in the memory.
        shape, split = list(entry.info.shape), names.split_dimension(entry.name)
        if split is not None:
            shape[split] //= shards
        own = torch.empty(shape, dtype=entry.info.dtype)
        entry.copy_part(own, split or 0, index * shape[split] if split is not None else 0)
        model[name] = own.reshape([1] * lead + shape)
    torch.save({"model": model}, path)


def _released_name(name: str) -> tuple[str, int]:
    if name.startswith(UNUSED_PREFIX):
        return name.removeprefix(UNUSED_PREFIX), 0
    mapped = names.to_released(name)
    return mapped.name, mapped.lead
