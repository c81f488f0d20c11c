"""Several sequences behind one another in one row, and attention that keeps each of them to itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, cast

import torch
from torch import Tensor
from torch.nn import functional

from SPHINX_V.errors import ConfigError

Kernel = Literal["sdpa", "varlen", "flex", "flash"]


@dataclass(frozen=True)
class Packing:
    """Where the sequences of a packed row lie, and which kernel attends over them.

    `lengths` on the host, `offsets` [n + 1] int32 on the device, running sums of them. Kernels give equal results:
    `sdpa` attends sequence by sequence, anywhere; `varlen` (torch) and `flash` (the package flash-attn) do all in one
    kernel on CUDA in half precision; `flex` compiles one (torch's FlexAttention).
    """

    lengths: tuple[int, ...]
    offsets: Tensor
    kernel: Kernel = "sdpa"

    @staticmethod
    def of(lengths: Sequence[int], device: torch.device, kernel: Kernel = "sdpa") -> Packing:
        """A packing of sequences of these lengths, none of them 0."""
        offsets = torch.tensor([0, *lengths]).cumsum(0).to(device=device, dtype=torch.int32)
        return Packing(tuple(lengths), offsets, kernel)

    @property
    def positions(self) -> Tensor:
        """The place of every token in its own sequence [1, total], for the rotary angles."""
        return torch.cat([torch.arange(length) for length in self.lengths]).unsqueeze(0).to(self.offsets.device)

    def attend(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Causal attention inside every sequence: queries [1, H, total, head_dim], keys and values [1, kv_heads,
        total, head_dim] → [1, H, total, head_dim]."""
        return _KERNELS[self.kernel](self, queries, keys, values)


def _sdpa(packing: Packing, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    grouped = queries.shape[1] != keys.shape[1]
    parts = zip(*(x.split(packing.lengths, dim=2) for x in (queries, keys, values)))
    return torch.cat(
        [functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=grouped) for q, k, v in parts],
        dim=2,
    )


def _one_kernel(call: Callable[..., Any]) -> Callable[[Packing, Tensor, Tensor, Tensor], Tensor]:
    """Attention over [total, H, head_dim] by a kernel that takes offsets."""

    def attend(packing: Packing, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        flat = [x[0].transpose(0, 1).contiguous() for x in (queries, keys, values)]
        return call(*flat, packing.offsets, max(packing.lengths)).transpose(0, 1).unsqueeze(0)

    return attend


def _varlen(queries: Tensor, keys: Tensor, values: Tensor, offsets: Tensor, longest: int) -> Tensor:
    from torch.nn.attention.varlen import varlen_attn

    # Not every version that we support groups heads itself.
    keys, values = (x.repeat_interleave(queries.shape[1] // keys.shape[1], dim=1) for x in (keys, values))
    # A window that reaches nothing to the right is a causal one.
    mixed = varlen_attn(queries, keys, values, offsets, offsets, longest, longest, window_size=(-1, 0))
    assert isinstance(mixed, Tensor)
    return mixed


def _flash(queries: Tensor, keys: Tensor, values: Tensor, offsets: Tensor, longest: int) -> Tensor:
    try:
        from flash_attn import flash_attn_varlen_func
    except ImportError:
        raise ConfigError(
            'attention is flash, but flash-attn is not installed: pip install "sphinx-v[flash]", or choose sdpa.'
        ) from None
    mixed: Tensor = flash_attn_varlen_func(queries, keys, values, offsets, offsets, longest, longest, causal=True)
    return mixed


def _flex(packing: Packing, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    from torch.nn.attention.flex_attention import create_block_mask

    total = queries.shape[2]
    owner = torch.repeat_interleave(torch.tensor(packing.lengths)).to(queries.device)

    def own_past(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (owner[query] == owner[key]) & (query >= key)

    mask = create_block_mask(own_past, None, None, total, total, device=queries.device)
    grouped = queries.shape[1] != keys.shape[1]
    mixed: Tensor = _flex_kernel(queries.is_cuda)(queries, keys, values, block_mask=mask, enable_gqa=grouped)
    return mixed


@lru_cache
def _flex_kernel(compiled: bool) -> Callable[..., Any]:
    """FlexAttention is slow unless compiled; on the CPU, where only tests use it, it has no compiled backward."""
    from torch.nn.attention.flex_attention import flex_attention

    return cast(Callable[..., Any], torch.compile(flex_attention) if compiled else flex_attention)


_KERNELS: dict[str, Callable[[Packing, Tensor, Tensor, Tensor], Tensor]] = {
    "sdpa": _sdpa,
    "varlen": _one_kernel(_varlen),
    "flash": _one_kernel(_flash),
    "flex": _flex,
}
