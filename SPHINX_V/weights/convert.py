"""Conversion between our folder and the released form, in both directions, tensor by tensor and bit by bit."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

import torch

from SPHINX_V.config import SphinxVConfig
from SPHINX_V.errors import CheckpointError, UsageError
from SPHINX_V.weights.checkpoint import model_shapes, open_checkpoint
from SPHINX_V.weights.folder import save_folder
from SPHINX_V.weights.released_write import save_released

Format = Literal["folder", "released"]


@dataclass(frozen=True)
class Conversion:
    """What was written; `missing` are our names of tensors that the source lacks, and so does the result."""

    kind: str
    tensors: int
    carried: tuple[str, ...]
    missing: tuple[str, ...]


def convert(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    to: Format,
    *,
    shards: int | None = None,
    dtype: torch.dtype | None = None,
    config: SphinxVConfig | None = None,
    overwrite: bool = False,
    replicas: Literal["check", "first"] = "check",
) -> Conversion:
    """Writes the checkpoint `source` to the new folder `target` in the other (or the same) form.

    `shards`: number of weight files; by default 1 released shard, or as many safetensors as 5 GB each make. Without
    `dtype` every bit stays, unused tensors included. `replicas` "first" takes the first shard's copy where shards
    disagree in a tensor that all of them hold, or in one without use.

    Raises CheckpointError, ConfigError, UsageError; `target` is then as before.
    """
    checkpoint = open_checkpoint(source, config)
    if checkpoint.tokenizer_bytes is None:
        raise CheckpointError(
            f"{checkpoint.path}: has no tokenizer.model; copy it there, a checkpoint is no use without."
        )
    missing = checkpoint.check(model_shapes(checkpoint.config)).missing
    if replicas == "check":
        checkpoint.check_replicas()
        checkpoint.check_unused()
    entries = [entry.cast(dtype) for entry in checkpoint.entries()]
    if to == "folder":
        save_folder(target, entries, checkpoint.config, checkpoint.tokenizer_bytes, shards=shards, overwrite=overwrite)
    elif to == "released":
        count = 1 if shards is None else shards
        save_released(target, entries, checkpoint.config, checkpoint.tokenizer_bytes, shards=count, overwrite=overwrite)
    else:
        raise UsageError(f"format is {to!r}; give 'folder' or 'released'.")
    return Conversion(checkpoint.kind, len(entries), checkpoint.unused + checkpoint.unknown, missing)
