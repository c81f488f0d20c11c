"""A stream of named tensors: what is known before reading, and how to read one; every writer takes it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from SPHINX_V.weights.tensor_files import TensorInfo, copy_narrowed

# In our own folder and in streams: tensors that the model has no use for, kept so that nothing is lost on the way.
UNUSED_PREFIX = "unused."


@dataclass(frozen=True)
class Entry:
    """One tensor to be written: our name (or `unused.<released name>`), its shape and type, and how to get it.

    `part` gets a target, a dimension and a start, and copies that part of the tensor; without it the whole is read.
    """

    name: str
    info: TensorInfo
    read: Callable[[], Tensor]
    part: Callable[[Tensor, int, int], None] | None = None

    def copy_part(self, target: Tensor, dimension: int, start: int) -> None:
        """Copies as much as `target` holds of the tensor, from `start` on along `dimension`, converting its type."""
        if self.part is not None:
            self.part(target, dimension, start)
        else:
            copy_narrowed(target, self.read().detach(), dimension, start)

    def cast(self, dtype: torch.dtype | None) -> Entry:
        """The same tensor in another floating type; None changes nothing."""
        if dtype is None or dtype == self.info.dtype or not self.info.dtype.is_floating_point:
            return self
        return replace(self, info=replace(self.info, dtype=dtype), read=lambda: self.read().to(dtype))


def as_entries(state: Mapping[str, Tensor] | Iterable[Entry]) -> list[Entry]:
    """Entries as they are; a state dict as entries that read from it."""
    if not isinstance(state, Mapping):
        return list(state)

    def entry(name: str, tensor: Tensor) -> Entry:
        return Entry(name, TensorInfo(tuple(tensor.shape), tensor.dtype), lambda: tensor)

    return [entry(name, tensor) for name, tensor in state.items()]
