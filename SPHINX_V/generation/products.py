"""x Wᵀ for weights that stay: in the form that reads them fastest.

On CPUs in float32, `linear` reads a large weight at half the speed of memory or less where it has few rows to multiply
(torch 2.13, AMD EPYC, 2 cores: 15 GB/s of 31). As a batch of parts of the weight the same product reaches 25 GB/s with
one row, and takes half the time with 2 to 16; benchmarks.generation shows what it gives.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

Product: TypeAlias = Callable[[Tensor], Tensor]

_PARTS = 4
_SMALLEST = 2**17  # numbers of a weight: a smaller one lies in the processor's own memory
_MOST_ROWS = 256  # with more, computing takes longer than reading


def product(weight: Tensor) -> Product:
    """x [N, in] → x Wᵀ [N, out] for W [out, in]."""
    parts = _parts(weight)
    if parts is None:
        return lambda x: functional.linear(x, weight)

    def by_parts(x: Tensor) -> Tensor:
        return functional.linear(x, weight) if x.shape[0] > _MOST_ROWS else _joined(x, parts)

    return by_parts


def added_product(weight: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    """(x [N, out], y [N, in]) → x + y Wᵀ, a new tensor."""
    parts, transposed = _parts(weight), weight.t()
    if parts is None:
        return lambda x, y: torch.addmm(x, y, transposed)

    def by_parts(x: Tensor, y: Tensor) -> Tensor:
        return torch.addmm(x, y, transposed) if y.shape[0] > _MOST_ROWS else _joined(y, parts).add_(x)

    return by_parts


def _parts(weight: Tensor) -> Tensor | None:
    """The weight as [parts, in, out / parts], the same memory; None where that is of no use."""
    few = weight.device.type != "cpu" or weight.dtype != torch.float32 or weight.numel() < _SMALLEST
    if few or weight.shape[0] % _PARTS or not weight.is_contiguous():
        return None
    return weight.view(_PARTS, -1, weight.shape[1]).transpose(1, 2)


def _joined(x: Tensor, parts: Tensor) -> Tensor:
    return torch.bmm(x.expand(len(parts), -1, -1), parts).transpose(0, 1).flatten(1)
