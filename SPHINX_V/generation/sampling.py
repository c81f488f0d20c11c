"""From logits to the next token: greedy, top-k or top-p; each row has its own seed, the global state stays as it is."""

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
_ALL = 2**62
# Beyond, logits may leave float32, and an answer would fail as if the weights were damaged.
_PENALTIES = (0.001, 1000.0)


def whole_number(value: Any, name: str) -> int:
    """An int from any integer type, numpy's too. Raises UsageError that names the option."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise UsageError(f"{name} is {value!r}; give a whole number.")
    return int(value)


def number(value: Any, name: str) -> float:
    """A float from any real type. Raises UsageError that names the option."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise UsageError(f"{name} is {value!r}; give a number.")
    try:
        return float(value)
    except OverflowError:
        return math.inf


@dataclass(frozen=True)
class Sampling:
    """How one row is sampled: `temperature` 0 is greedy; `top_p` keeps the likeliest tokens of that total probability,
    `top_k` at most so many (0: all).

    `repetition_penalty` (CTRL, arXiv 1909.05858) divides the positive logits, and multiplies the negative ones, of
    tokens that stand in the conversation or the answer already.
    Raises UsageError for a temperature below 0 or not finite, `top_p` outside [0, 1], a seed outside [0, 2⁶³), a
    negative `top_k`, a penalty outside [0.001, 1000], and for what is no number.
    """

    temperature: float = 0.1
    top_p: float = 0.5
    seed: int = 0
    top_k: int = 0
    repetition_penalty: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "temperature", number(self.temperature, "temperature"))
        object.__setattr__(self, "top_p", number(self.top_p, "top_p"))
        object.__setattr__(self, "seed", whole_number(self.seed, "seed"))
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise UsageError(f"temperature is {self.temperature}; give 0 (greedy) or a finite number above 0.")
        if not 0 <= self.top_p <= 1:
            raise UsageError(f"top_p is {self.top_p}; give a probability from 0 to 1.")
        if not 0 <= self.seed < 2**63:
            raise UsageError(f"seed is {self.seed}; give an integer from 0 to {2**63 - 1}.")
        object.__setattr__(self, "top_k", whole_number(self.top_k, "top_k"))
        object.__setattr__(self, "repetition_penalty", number(self.repetition_penalty, "repetition_penalty"))
        if self.top_k < 0:
            raise UsageError(f"top_k is {self.top_k}; give a number of tokens, or 0 for all of them.")
        least, most = _PENALTIES
        if not least <= self.repetition_penalty <= most:
            raise UsageError(
                f"repetition_penalty is {self.repetition_penalty}; give a number from {least:g} to {most:g},"
                " 1 for none."
            )


class Draws:
    """The random numbers of one row, by its seed: the same ones whatever rows are beside it."""

    def __init__(self, sampling: Sampling) -> None:
        self.sampling = sampling
        self._generator = torch.Generator().manual_seed(sampling.seed)

    def next(self) -> float:
        """From [0, 1); greedy rows use none."""
        return 0.0 if self.sampling.temperature == 0 else float(torch.rand((), generator=self._generator))


class Sampler:
    """Draws one token per row and step, for rows that stay together for a while.

    All ranks of a tensor-parallel model draw the same tokens, because they have the same logits and seeds.
    """

    def __init__(self, rows: Sequence[Draws], device: torch.device) -> None:
        self._rows = list(rows)
        self._device = device
        options = [row.sampling for row in rows]
        self._all_greedy = all(option.temperature == 0 for option in options)
        self._penalised = any(option.repetition_penalty != 1 for option in options)
        self._cut = any(option.top_k for option in options)
        self._greedy = torch.tensor([option.temperature == 0 for option in options], device=device)
        self._temperature = self._column([max(option.temperature, _LOWEST_TEMPERATURE) for option in options])
        self._top_p = self._column([option.top_p for option in options])
        self._penalty = self._column([option.repetition_penalty for option in options])
        # Larger than any vocabulary, and no larger than a tensor's numbers.
        self._top_k = torch.tensor([[min(option.top_k or _ALL, _ALL)] for option in options], device=device)

    def _column(self, values: list[float]) -> Tensor:
        return torch.tensor([[value] for value in values], device=self._device)

    def uniform(self, count: int) -> Tensor:
        """The rows' next random numbers [count, B, 1], one for each of `count` tokens."""
        if self._all_greedy:
            return self._temperature.expand(count, -1, -1)  # nobody looks at them
        numbers = [[[row.next()] for row in self._rows] for _ in range(count)]
        return torch.tensor(numbers, device=self._device)

    def __call__(self, logits: Tensor, seen: Tensor | None, uniform: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [B, vocab] → token ids [B] int64 and the greatest logit of each row [B], which is not finite where a
        row has no probabilities. On the logits' device and without waiting for it.

        `seen` [B, vocab] bool: the tokens that a penalty is for; needed where a row has one. `uniform` [B, 1]: random
        numbers of `uniform`.
        """
        if self._penalised:
            assert seen is not None, "a penalty needs to know the tokens before"
            logits = torch.where(seen, torch.where(logits > 0, logits / self._penalty, logits * self._penalty), logits)
        greatest, likeliest = logits.max(dim=-1)
        if self._all_greedy:
            return likeliest, greatest
        # Below the greatest nothing overflows, however low the temperature is: the likeliest stays 0, the others fall.
        scaled = (logits.float() - greatest.float().unsqueeze(-1)) / self._temperature
        probabilities, order = scaled.softmax(dim=-1).sort(dim=-1, descending=True, stable=True)
        cumulated = probabilities.cumsum(dim=-1)
        outside = cumulated - probabilities > self._top_p
        if self._cut:
            outside = outside | (torch.arange(logits.shape[-1], device=self._device) >= self._top_k)
        kept = probabilities.masked_fill(outside, 0.0).cumsum(dim=-1)
        # The place where the cumulated probability passes a uniform number: one number per row, no waiting.
        place = (kept <= uniform * kept[:, -1:]).sum(dim=-1, keepdim=True)
        last = (~outside).sum(dim=-1, keepdim=True) - 1  # rounding may leave the number at the very end
        drawn = order.gather(1, torch.minimum(place, last)).squeeze(1)
        return torch.where(self._greedy, likeliest, drawn), greatest
