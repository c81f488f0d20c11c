"""The state of a run: what it is made of, and whether a run may go on from one."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from accessory.config import RunOptions
from accessory.train.lowbit import whole_shape
from accessory.train.step import StepEngine
from SPHINX_V.errors import ConfigError
from SPHINX_V.weights.local_part import is_distributed

if TYPE_CHECKING:
    from accessory.train.gradients import Part

# What may change between the parts of a run: where and how it computes, not what it computes.
FREE = ("output", "parallel", "save", "log", "data.workers", "data.index_dir", "data.keep_items", "train.log_every")
# A step may be shared out in another way, as long as it has as many items (`step_items`).
SHARED_OUT = ("train.batch_size", "train.accumulation", "train.packing", "train.packing_multiple")
_EDGE = 1 << 20


def state_tensors(engine: StepEngine) -> dict[str, Tensor]:
    """Every tensor that training changes, by name; filling them in place is resuming.

    Frozen weights are not among them: they come from where the run started. What optimisers keep of a split parameter
    is split as that is, so that another layout can take it over.
    """
    tensors = weights(engine.parts)
    for part, key, tensor in engine.optimizers.states():
        tensors[f"optimizer.{part.name}.{key}"] = _like(part, tensor)
    tensors |= {f"history.{name}": tensor for name, tensor in engine.history.tensors.items()}
    return tensors


def weights(parts: Iterable[Part]) -> dict[str, Tensor]:
    """The trained weights among the tensors of a state."""
    return {f"model.{part.name}": part.parameter.detach() for part in parts}


def _like(part: Part, tensor: Tensor) -> Tensor:
    """What an optimiser keeps of a part, split as the parameter is; single numbers as they are."""
    parameter = part.parameter
    if tensor.ndim == 0 or not is_distributed(parameter):
        return tensor
    from torch.distributed.tensor import DTensor

    shape = whole_shape(part, tensor)
    return DTensor.from_local(
        tensor,
        parameter.device_mesh,
        parameter.placements,
        run_check=False,
        shape=shape,
        stride=torch.empty(shape, device="meta").stride(),
    )


def identity(options: RunOptions, step_items: int, total_steps: int) -> dict[str, Any]:
    """What must be equal for a run to go on from a state, as JSON values by dotted option."""
    flat = _flat(options.model_dump(mode="json"))
    kept = {key: value for key, value in flat.items() if not key.startswith(FREE) and key not in SHARED_OUT}
    files = {
        f"contents of {key}": _contents(Path(flat[key]))
        for key in ("model.checkpoint", "model.tokenizer", "model.sam")
        if flat[key] is not None
    }
    return kept | files | {"items of a step": step_items, "steps": total_steps}


def check_identity(saved: dict[str, Any], ours: dict[str, Any], folder: Path) -> None:
    """Raises ConfigError that names what differs between a run and the one that its state is of."""
    differing = [key for key in {**saved, **ours} if saved.get(key) != ours.get(key)]
    if differing:
        listed = "; ".join(f"{key} was {saved.get(key)!r}, is {ours.get(key)!r}" for key in sorted(differing))
        raise ConfigError(
            f"{folder}: holds states of a run with other options: {listed}. Set them as they were to go on with it, or"
            " name another output, or remove that folder, to begin anew."
        )


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _contents(path: Path) -> str:
    """A hash of names, sizes and edges of the files: 26 GB are told from others without being read."""
    digest = hashlib.sha256()
    for file in sorted(path.iterdir()) if path.is_dir() else [path]:
        if not file.is_file():
            continue
        size = file.stat().st_size
        digest.update(f"{file.name} {size}".encode())
        with file.open("rb") as stream:
            digest.update(stream.read(_EDGE))
            stream.seek(max(0, size - _EDGE))
            digest.update(stream.read(_EDGE))
    return digest.hexdigest()[:16]
