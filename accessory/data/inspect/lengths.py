"""Lengths of many texts in four bytes each: their quantiles, and a histogram for people."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import numpy

BARS = 12
BAR_WIDTH = 40
_STEPS = (1, 2, 5)


class Lengths:
    """Whole numbers, of which a distribution is shown."""

    def __init__(self) -> None:
        self._values = array("I")

    def add(self, length: int) -> None:
        self._values.append(length)

    def __len__(self) -> int:
        return len(self._values)

    def summary(self) -> dict[str, int]:
        """count, min, median, 95 % (no more than 5 % are longer) and max; only the count where there is nothing."""
        if not self._values:
            return {"count": 0}
        values = numpy.sort(numpy.asarray(self._values))
        at = {"min": 0, "median": (len(values) - 1) // 2, "p95": -(-len(values) * 95 // 100) - 1, "max": -1}
        return {"count": len(values)} | {name: int(values[place]) for name, place in at.items()}

    def histogram(self) -> list[tuple[int, int, int]]:
        """(from, to, count) of at most BARS intervals of the same round width; both ends belong to an interval."""
        if not self._values:
            return []
        values = numpy.asarray(self._values)
        low, high = int(values.min()), int(values.max())
        width = next(w for w in _round_numbers() if high // w - low // w < BARS)
        first = low // width
        counts = numpy.bincount(values // width - first)
        return [((first + n) * width, (first + n + 1) * width - 1, int(count)) for n, count in enumerate(counts)]


def _round_numbers() -> Sequence[int]:
    return [step * 10**power for power in range(10) for step in _STEPS]


def bars(histogram: Sequence[tuple[int, int, int]]) -> list[str]:
    """One line per interval, its bar as long as its share of the fullest."""
    if not histogram:
        return []
    most = max(count for _, _, count in histogram)
    ends = [f"{low:,}" if low == high else f"{low:,}–{high:,}" for low, high, _ in histogram]
    wide = max(map(len, ends))
    return [
        f"{end:>{wide}}  {'█' * round(BAR_WIDTH * count / most) or ('▏' if count else ''):<{BAR_WIDTH}} {count:>7,}"
        for end, (_, _, count) in zip(ends, histogram)
    ]
