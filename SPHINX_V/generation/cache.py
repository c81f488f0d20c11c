"""The static key-value cache: one pair of tensors per layer, allocated once, written in place."""

from __future__ import annotations

import torch
from torch import Tensor

from SPHINX_V.errors import UsageError
from SPHINX_V.model.llama import LayerCache


class _Storage:
    """Keys and values of one layer, each [B, kv_heads, length, head_dim]."""

    def __init__(self, shape: tuple[int, int, int, int], dtype: torch.dtype, device: torch.device) -> None:
        # Zeros, not empty: a masked position still enters attention with weight 0, and 0 · NaN is NaN.
        self.keys = torch.zeros(shape, dtype=dtype, device=device)
        self.values = torch.zeros(shape, dtype=dtype, device=device)


class _FromStart:
    """A layer while the prompts of all rows are written to positions 0 … S-1."""

    def __init__(self, storage: _Storage) -> None:
        self._storage = storage

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        length = keys.shape[2]
        self._storage.keys[:, :, :length] = keys
        self._storage.values[:, :, :length] = values
        return keys, values


class _AtPositions:
    """A layer while each row writes at its own positions [B, S]; queries see the first `visible` positions."""

    def __init__(self, storage: _Storage, index: Tensor, visible: int) -> None:
        self._storage = storage
        self._index = index
        self._visible = visible

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        index = self._index.expand_as(keys)
        self._storage.keys.scatter_(2, index, keys)
        self._storage.values.scatter_(2, index, values)
        return self._storage.keys[:, :, : self._visible], self._storage.values[:, :, : self._visible]


class KeyValueCache:
    """Room for `batch` rows of `length` positions.

    The cache owns its memory, `bytes` of it, until it is dropped. `kv_heads` is what one device holds: under tensor
    parallelism a share of the model's. Rows may differ in length: prompts are padded on the right, and decoding writes
    over the padding, row by row, so a position at or before a row's own is never padding.
    """

    def __init__(
        self,
        layers: int,
        batch: int,
        kv_heads: int,
        length: int,
        head_dim: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self.batch = batch
        self.length = length
        shape = (batch, kv_heads, length, head_dim)
        try:
            self._layers = [_Storage(shape, dtype, device) for _ in range(layers)]
        except torch.OutOfMemoryError:
            size = 2 * layers * batch * kv_heads * length * head_dim * dtype.itemsize
            raise UsageError(
                f"the key-value cache of {batch} rows × {length} positions takes {size / 2**20:.0f} MiB, more than is"
                " free; ask with fewer requests at a time or with a smaller max_gen_len."
            ) from None
        self._slots = torch.arange(length, device=device)

    @property
    def bytes(self) -> int:
        """Memory of all layers."""
        return sum(layer.keys.nbytes + layer.values.nbytes for layer in self._layers)

    def from_start(self) -> list[LayerCache]:
        """One writer per layer for the prompts: rows [B, …, S, …] go to positions 0 … S-1; attention is then causal."""
        return [_FromStart(storage) for storage in self._layers]

    def at(self, positions: Tensor, visible: int) -> list[LayerCache]:
        """One writer per layer for new tokens at `positions` [B, S] int64, all below `visible` ≤ length."""
        index = positions[:, None, :, None]
        return [_AtPositions(storage, index, visible) for storage in self._layers]

    def mask(self, positions: Tensor, visible: int) -> Tensor:
        """[B, 1, S, visible] bool, True where a query at `positions` [B, S] may look: at its own place and before."""
        return (self._slots[:visible] <= positions.unsqueeze(-1)).unsqueeze(1)
