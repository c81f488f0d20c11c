"""The order of items: a pure function of (seed, epoch), so any position can be computed without replay."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy


def epoch_batches(
    lengths: Sequence[int], kinds: Sequence[str], batch_size: int, seed: int, epoch: int, pool: int = 16
) -> list[list[int]]:
    """Batches of item indices for one epoch, each of one kind and of similar lengths.

    `pool` batches are sorted by length together: 16 leave little padding, and still a shuffle; 1 mixes all lengths.
    The last, incomplete batch of a kind is filled up from that kind's first items, so that every item is seen and every
    batch has the same size.
    """
    generator = numpy.random.default_rng((seed, epoch))
    by_kind: dict[str, list[int]] = defaultdict(list)
    for index in generator.permutation(len(kinds)).tolist():
        by_kind[kinds[index]].append(index)
    batches = []
    for kind in sorted(by_kind):
        order = by_kind[kind]
        missing = -len(order) % batch_size
        order = order + [order[i % len(order)] for i in range(missing)]
        for start in range(0, len(order), pool * batch_size):
            near = sorted(order[start : start + pool * batch_size], key=lambda index: lengths[index])
            batches += [near[i : i + batch_size] for i in range(0, len(near), batch_size)]
    return [batches[i] for i in generator.permutation(len(batches)).tolist()]
