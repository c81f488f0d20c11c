"""The four encoders from their original files: CLIP, DINOv2, ConvNeXt and BLIP-2, of their authors or transformers."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from SPHINX_V.config import VisionConfig
from SPHINX_V.errors import CheckpointError
from SPHINX_V.weights.names import hide_numbers, restore_numbers
from SPHINX_V.weights.tensor_files import TensorFile
from SPHINX_V.weights.tower_names import TABLES, Place

Tower = Literal["clip", "dinov2", "convnext", "blip2"]

# What our names of each tower begin with.
PREFIXES: dict[Tower, tuple[str, ...]] = {
    "clip": ("vision.clip.",),
    "dinov2": ("vision.dinov2.",),
    "convnext": ("vision.convnext.",),
    "blip2": ("vision.blip2_vit.", "vision.qformer."),
}
_DIMENSIONS = {"class_token": 1, "position_embedding": 2}


@dataclass(frozen=True)
class TowerWeights:
    """One tower's tensors under our names, and the files' names that were of no use."""

    tensors: dict[str, Tensor]
    ignored: tuple[str, ...]


def read_tower(
    tower: Tower, paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]], vision: VisionConfig
) -> TowerWeights:
    """One tower from its original file or files, which may be shards or hold a part each.

    - clip: OpenAI's archive, open_clip's or transformers' CLIP file (their text side is ignored). OpenAI's weights were
      trained with QuickGELU: set `vision.clip.hidden_act` to `quick_gelu` to use them as they were trained.
    - dinov2: the hub's `dinov2_vitg14_pretrain.pth` or transformers' file
    - convnext: timm's, open_clip's CLIP-ConvNeXt or transformers' file
    - blip2: LAVIS's `blip2_pretrained*.pth` together with its `eva_vit_g.pth`, or transformers' file

    Fill them in with `load.load_tensors(model, weights.tensors, where, PREFIXES[tower])`, which misses none.
    Raises CheckpointError where a file is damaged, holds nothing of the tower or only a part of a packed tensor.
    """
    files = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
    parts: dict[str, dict[int, Tensor]] = {}
    places: dict[str, Place] = {}
    ignored: list[str] = []
    for path in files:
        _collect(TensorFile(Path(path)), tower, vision, parts, places, ignored)
    where = ", ".join(os.fspath(path) for path in files)
    if not parts:
        raise CheckpointError(f"{where}: holds no tensor of {tower} under any known name; is it the right file?")
    tensors = {name: _join(name, found, places[name].of, where) for name, found in parts.items()}
    return TowerWeights(tensors, tuple(ignored))


def _collect(
    file: TensorFile,
    tower: Tower,
    vision: VisionConfig,
    parts: dict[str, dict[int, Tensor]],
    places: dict[str, Place],
    ignored: list[str],
) -> None:
    for stored in file:
        place = find_place(tower, stored)
        if place is None or _is_beyond(place, stored, vision):
            ignored.append(stored)
            continue
        found = parts.setdefault(place.name, {})
        if place.index in found:
            raise CheckpointError(f"{file.path}: tensor {stored} is there twice, or also in another of the files.")
        found[place.index] = file.read(stored)
        places[place.name] = place


def find_place(tower: Tower, stored: str) -> Place | None:
    """Where a tensor of an original file belongs; None where the tower has no such tensor."""
    table, prefixes = TABLES[tower]
    for prefix in prefixes:
        if not stored.startswith(prefix):
            continue
        generic, numbers = hide_numbers(stored.removeprefix(prefix))
        if generic in table:
            place = table[generic]
            return Place(restore_numbers(place.name, numbers), place.index, place.of)
    return None


def _is_beyond(place: Place, stored: str, vision: VisionConfig) -> bool:
    """EVA-CLIP's file has 40 layers, of which BLIP-2 leaves out the last."""
    if not stored.startswith("blocks.") or not place.name.startswith("vision.blip2_vit.blocks."):
        return False
    return int(place.name.split(".")[3]) >= vision.blip2_vit.layers


def _join(name: str, parts: Mapping[int, Tensor], of: int, where: str) -> Tensor:
    """The tensor itself, or the pieces of a packed one on top of each other, without leading dimensions of size 1."""
    if of == 3 and set(parts) == {0, 2} and name.endswith("qkv.bias"):
        # EVA has no bias for the keys; it would change nothing, softmax does not see it.
        parts = {**parts, 1: torch.zeros_like(parts[0])}
    if set(parts) != set(range(of)):
        raise CheckpointError(f"{where}: for {name} only {len(parts)} of {of} parts are there; the file is incomplete.")
    tensor = parts[0] if of == 1 else torch.cat([parts[index] for index in range(of)])
    dimensions = _DIMENSIONS.get(name.rpartition(".")[2])
    while dimensions is not None and tensor.ndim > dimensions and tensor.shape[0] == 1:
        tensor = tensor[0]
    return tensor
