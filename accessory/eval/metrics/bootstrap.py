"""Bootstrap intervals: how far a score would move with another draw of items."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy

RESAMPLES = 1000
LEVEL = 0.95
_CHUNK = 1 << 22  # counts drawn at a time

Interval = tuple[float, float]


def interval(
    statistic: Callable[[numpy.ndarray], numpy.ndarray], items: int, resamples: int = RESAMPLES, seed: int = 0
) -> Interval | None:
    """The percentile interval of `statistic` at 95 % (Efron 1979); None with fewer than two items.

    Whole items are drawn, not regions: the regions of a picture are right or wrong together. `statistic` takes counts
    [R, items], how often each item was drawn, and gives R values; a value that is no number is left out.
    """
    if items < 2:
        return None
    generator = numpy.random.default_rng(seed)
    shares = numpy.full(items, 1 / items)
    values: list[numpy.ndarray] = []
    left = resamples
    while left:
        rows = min(left, max(1, _CHUNK // items))
        with numpy.errstate(divide="ignore", invalid="ignore"):
            values.append(statistic(generator.multinomial(items, shares, size=rows)))
        left -= rows
    drawn = numpy.concatenate(values)
    drawn = drawn[numpy.isfinite(drawn)]
    if not drawn.size:
        return None
    low, high = numpy.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def resampled(
    statistic: Callable[[Mapping[str, numpy.ndarray]], numpy.ndarray],
    values: Mapping[str, numpy.ndarray],
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval | None:
    """As `interval`, for a statistic of the items' named values themselves, which lie along the last axis."""
    items = len(next(iter(values.values())))
    places = numpy.arange(items)

    def of_counts(counts: numpy.ndarray) -> numpy.ndarray:
        drawn = numpy.stack([numpy.repeat(places, row) for row in counts])
        return statistic({name: column[drawn] for name, column in values.items()})

    return interval(of_counts, items, resamples, seed)


def ratio(
    sums: Sequence[float], weights: Sequence[float], resamples: int = RESAMPLES
) -> tuple[float | None, Interval | None]:
    """Σ sums / Σ weights over items and its interval; None where nothing weighs."""
    above, below = numpy.asarray(sums, float), numpy.asarray(weights, float)
    if not below.sum():
        return None, None
    found = interval(lambda counts: (counts @ above) / (counts @ below), len(above), resamples)
    return float(above.sum() / below.sum()), found
