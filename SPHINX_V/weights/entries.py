"""A stream of named tensors: what is known before reading, and how to read one; every writer takes it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from SPHINX_V.weights.tensor_files import TensorInfo

# In our own folder and in streams: tensors that the model has no use for, kept so that nothing is lost on the way.
UNUSED_PREFIX = "unused."


@dataclass(frozen=True)
class Entry:
    """One tensor to be written: our name (or `unused.<released name>`), its shape and type, and how to get it."""

    name: str
    info: TensorInfo
    read: Callable[[], Tensor]

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
