"""The part of a whole tensor that one process holds of a DTensor; plain tensors are their own part."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypeGuard

from torch import Tensor

from SPHINX_V.errors import UsageError

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor


def is_distributed(tensor: Tensor) -> TypeGuard[DTensor]:
    """True for a DTensor. Where its module was never imported there is none, and importing it costs a second."""
    module = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(tensor, module.DTensor)


def local_tensor(tensor: Tensor) -> Tensor:
    """What this process holds, sharing memory."""
    return tensor.to_local() if is_distributed(tensor) else tensor


def copy_local(target: Tensor, whole: Tensor) -> None:
    """Copies `whole` into `target`, converting its type; into a DTensor only the part that this process holds.

    No communication: every process must call it with the same `whole`. Raises UsageError for other placements than
    whole or split ones.
    """
    if not is_distributed(target):
        target.copy_(whole)
        return
    local = target.to_local()
    part = _part(target, whole)
    assert part.shape == local.shape, f"local part {tuple(part.shape)}, storage {tuple(local.shape)}"
    local.copy_(part)


def local_region(target: Tensor) -> tuple[int, int] | None:
    """The dimension along which a process holds a part of the whole, and where that begins; (0, 0) where it holds all.

    None where the whole is split along several dimensions. Raises UsageError as `copy_local`.
    """
    if not is_distributed(target):
        return 0, 0
    steps = list(_narrowings(target, tuple(target.shape)))
    dimensions = {dimension for dimension, _, _ in steps}
    if len(dimensions) > 1:
        return None
    return (dimensions.pop() if dimensions else 0), sum(start for _, start, _ in steps)


def _part(target: DTensor, whole: Tensor) -> Tensor:
    """`whole` narrowed by the target's placements and this process's place in the mesh."""
    for dimension, start, length in _narrowings(target, tuple(whole.shape)):
        whole = whole.narrow(dimension, start, length)
    return whole


def _narrowings(target: DTensor, shape: tuple[int, ...]) -> Iterator[tuple[int, int, int]]:
    """Dimension, start and length of each split in turn, later ones within what earlier ones left of `shape`."""
    mesh = target.device_mesh
    coordinate = mesh.get_coordinate()
    if coordinate is None:
        raise UsageError("this process is not in the mesh of the model that is to be filled.")
    placements: list[tuple[int, Any]] = list(enumerate(target.placements))
    # FSDP on top of tensor parallelism splits what tensor parallelism left (`_StridedShard`), though its mesh dimension
    # comes first: so plain splits go first.
    placements.sort(key=lambda item: hasattr(item[1], "split_factor"))
    left = list(shape)
    for axis, placement in placements:
        if placement.is_replicate():
            continue
        if not hasattr(placement, "dim"):
            raise UsageError(f"cannot fill a tensor that is placed as {placement}; only whole and split ones.")
        size = left[placement.dim]
        # The rule of torch.chunk, which DTensor follows: all parts but the last ones are of one length.
        length = -(-size // mesh.size(axis))
        start = min(coordinate[axis] * length, size)
        left[placement.dim] = min(length, size - start)
        yield placement.dim, start, left[placement.dim]
