"""Log-probabilities of several texts after one beginning: teacher forcing in a row of the cache."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch

from SPHINX_V.generation.prompt import PreparedPrompt
from SPHINX_V.generation.rows import Rows

Continuation: TypeAlias = tuple[tuple[int, ...], tuple[int, ...]]


@dataclass(frozen=True)
class Weighing:
    """`texts`: the ids of each after `common`, and the places among them, from 1 on, of those that count."""

    common: PreparedPrompt
    texts: Sequence[Continuation]


def weigh(rows: Rows, row: int, weighing: Weighing, pieces: int) -> list[float]:
    """The sum of natural log-probabilities of every text, among ids below `pieces`, which answers are drawn from;
    computed in a row that nobody has. Where one is not finite, nothing is kept of them."""
    common, totals = weighing.common, []
    try:
        with rows.together():
            rows.fill(row, [common], rows.encode([common]))
            for ids, places in weighing.texts:
                table = rows.follow(row, len(common.key), ids)[:, :pieces].float().log_softmax(-1)
                before = torch.tensor([place - 1 for place in places], device=table.device)
                targets = torch.tensor([ids[place] for place in places], device=table.device)
                chosen = table[before].gather(1, targets.unsqueeze(1))
                totals.append(float(chosen.sum(dtype=torch.float64)))
    except torch.OutOfMemoryError:
        rows.discard(row, common.key)
        raise
    if not all(map(math.isfinite, totals)):
        rows.discard(row, common.key)
    return totals
