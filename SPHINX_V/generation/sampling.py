"""From logits to the next token: greedy or top-p, each row with its own seed, the global random state untouched."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from SPHINX_V.errors import UsageError

# Smaller temperatures are 0 in float32, or on a GPU, and 0 / 0 is no probability. This one is greedy in effect.
_LOWEST_TEMPERATURE = torch.finfo(torch.float32).tiny


def whole_number(value: Any, name: str) -> int:
    """An int from any integer type, numpy's too. Raises UsageError that names the option."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise UsageError(f"{name} is {value!r}; give a whole number.")
    return int(value)


def _number(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise UsageError(f"{name} is {value!r}; give a number.")
    try:
        return float(value)
    except OverflowError:
        return math.inf


@dataclass(frozen=True)
class Sampling:
    """How one row is sampled: `temperature` 0 is greedy; `top_p` keeps the likeliest tokens of that total probability.

    Raises UsageError for a temperature below 0 or not finite, `top_p` outside [0, 1], a seed outside [0, 2⁶³), and for
    what is no number.
    """

    temperature: float = 0.1
    top_p: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "temperature", _number(self.temperature, "temperature"))
        object.__setattr__(self, "top_p", _number(self.top_p, "top_p"))
        object.__setattr__(self, "seed", whole_number(self.seed, "seed"))
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise UsageError(f"temperature is {self.temperature}; give 0 (greedy) or a finite number above 0.")
        if not 0 <= self.top_p <= 1:
            raise UsageError(f"top_p is {self.top_p}; give a probability from 0 to 1.")
        if not 0 <= self.seed < 2**63:
            raise UsageError(f"seed is {self.seed}; give an integer from 0 to {2**63 - 1}.")


class Sampler:
    """Draws one token per row and step.

    Each row has a generator of its own seed, so its answer does not depend on the rows beside it; all ranks of a
    tensor-parallel model draw the same tokens, because they have the same logits and seeds.
    """

    def __init__(self, rows: Sequence[Sampling], device: torch.device) -> None:
        self._all_greedy = all(row.temperature == 0 for row in rows)
        if self._all_greedy:
            return
        greedy = [row.temperature == 0 for row in rows]
        self._greedy = torch.tensor(greedy, device=device)
        self._temperature = torch.tensor([[max(row.temperature, _LOWEST_TEMPERATURE)] for row in rows], device=device)
        self._top_p = torch.tensor([[row.top_p] for row in rows], device=device)
        self._generators = [torch.Generator(device).manual_seed(row.seed) for row in rows]

    def __call__(self, logits: Tensor) -> Tensor:
        """Logits [B, vocab] → token ids [B] int64, on the logits' device and without waiting for it."""
        likeliest = logits.argmax(dim=-1)
        if self._all_greedy:
            return likeliest
        wide = logits.float()
        # Below the greatest nothing overflows, however low the temperature is: the likeliest stays 0, the others fall.
        scaled = (wide - wide.amax(dim=-1, keepdim=True)) / self._temperature
        probabilities, order = scaled.softmax(dim=-1).sort(dim=-1, descending=True, stable=True)
        before = probabilities.cumsum(dim=-1) - probabilities
        kept = probabilities.masked_fill(before > self._top_p, 0.0)
        # argmax of p / Exp(1) draws with probability p and, unlike torch.multinomial, never waits for the device.
        noise = torch.empty_like(kept)
        for row, generator in zip(noise, self._generators, strict=True):
            row.exponential_(generator=generator)
        drawn = order.gather(1, (kept / noise).argmax(dim=-1, keepdim=True)).squeeze(1)
        return torch.where(self._greedy, likeliest, drawn)
