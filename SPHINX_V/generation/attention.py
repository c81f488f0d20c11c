"""Attention over the cache: torch's kernel, and a way around it where it is slow."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

_AT_ONCE = 2**20  # keys and values in float32, together: they stay in the processor's caches


class Attention:
    """Queries over keys and values that lie in a cache of `dtype` on `device`."""

    def __init__(self, dtype: torch.dtype, device: torch.device) -> None:
        self._by_parts = device.type == "cpu" and dtype != torch.float32
        self._room = torch.empty(0)  # taken once: the system would clear it anew at each step

    def __call__(self, queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, causal: bool) -> Tensor:
        """Queries [rows, heads, S, head_dim] over keys and values [rows, kv_heads, E, head_dim]; `mask` [rows, 1, S, E]
        is added to the scores, `causal` as of torch. → [rows, heads, S, head_dim]."""
        if self._by_parts and queries.shape[2] == 1:
            return self._in_float32(queries, keys, values, mask)
        return _attention(queries, keys, values, mask, causal)

    def _in_float32(self, queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
        """For one query per row torch's CPU kernel reads bfloat16 some five times slower than float32: converting keys
        and values first, a part at a time, takes a third to a half of its time (2 cores with bfloat16 products)."""
        heads, group = keys.shape[1], queries.shape[1] // keys.shape[1]
        vectors = 2 * keys.shape[2] * keys.shape[3]  # numbers of a head
        part = min(heads, max(torch.get_num_threads(), _AT_ONCE // vectors))  # fewer would leave threads idle
        rows = min(keys.shape[0], max(1, _AT_ONCE // (vectors * heads)))
        if self._room.numel() < rows * part * vectors:
            self._room = torch.empty(rows * part * vectors)
        mixed = torch.empty_like(queries)
        for row in range(0, keys.shape[0], rows):
            some = slice(row, row + rows)
            added = None if mask is None else mask[some].float()
            for head in range(0, heads, part):
                of, asked = slice(head, head + part), slice(head * group, (head + part) * group)
                found, given = self._converted(keys[some, of], values[some, of])
                mixed[some, asked] = _attention(queries[some, asked].float(), found, given, added)
        return mixed

    def _converted(self, *parts: Tensor) -> tuple[Tensor, ...]:
        size = parts[0].numel()
        return tuple(
            self._room[number * size : (number + 1) * size].view(part.shape).copy_(part)
            for number, part in enumerate(parts)
        )


def _attention(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, causal: bool = False) -> Tensor:
    return functional.scaled_dot_product_attention(
        queries, keys, values, attn_mask=mask, is_causal=causal, enable_gqa=queries.shape[1] != keys.shape[1]
    )
