"""The order of items: a pure function of (seed, epoch), so any position can be computed without replay."""

from __future__ import annotations

import numpy
from numpy.typing import ArrayLike, NDArray

_BLOCK = 1 << 20  # items sorted at a time, so that no temporary array is as long as the epoch


class EpochBatches:
    """Batches of item indices for one epoch, each of one kind and of similar lengths.

    `lengths` and `kinds` [N] are those of the items. `pool` batches are sorted by length together: 16 leave little
    padding, and still a shuffle; 1 mixes all lengths. The last, incomplete batch of a kind is filled up from the first
    items of that kind, so that every item is seen and every batch has the same size. Takes 4 bytes an item.
    """

    def __init__(
        self, lengths: ArrayLike, kinds: ArrayLike, batch_size: int, seed: int, epoch: int, pool: int = 16
    ) -> None:
        lengths, kinds = numpy.asarray(lengths), numpy.asarray(kinds)
        if int(lengths.max()) <= numpy.iinfo(numpy.uint16).max:
            lengths = lengths.astype(numpy.uint16)  # numpy sorts numbers of two bytes in linear time
        generator = numpy.random.default_rng((seed, epoch))
        shuffled = numpy.arange(len(kinds), dtype=numpy.int32)
        generator.shuffle(shuffled)
        names, sizes = numpy.unique(kinds, return_counts=True)
        self._rows = numpy.empty((sum(_batches(int(size), batch_size) for size in sizes), batch_size), numpy.int32)
        start = 0
        kinds = kinds[shuffled]
        for name, size in zip(names, sizes.tolist()):
            stop = start + _batches(size, batch_size)
            flat = self._rows[start:stop].reshape(-1)
            flat[:size] = shuffled[kinds == name]
            flat[size:] = flat[numpy.arange(len(flat) - size) % size]
            _sort_pools(flat, lengths, pool * batch_size)
            start = stop
        self._order = generator.permutation(len(self._rows))

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def rows(self) -> NDArray[numpy.int32]:
        """All batches [batches, batch_size], in an order of no meaning."""
        return self._rows

    def __getitem__(self, number: int) -> NDArray[numpy.int32]:
        """Items of batch `number` [batch_size]."""
        return self._rows[self._order[number]]


def batches_per_epoch(kinds: ArrayLike, batch_size: int) -> int:
    """How many batches every epoch has, without computing its order."""
    return sum(_batches(int(size), batch_size) for size in numpy.unique(numpy.asarray(kinds), return_counts=True)[1])


def _batches(items: int, batch_size: int) -> int:
    return -(-items // batch_size)


def _sort_pools(items: NDArray[numpy.int32], lengths: NDArray[numpy.integer], size: int) -> None:
    """Sorts each run of `size` items by length, in place; equal lengths keep their order."""
    whole = len(items) // size * size
    pools = items[:whole].reshape(-1, size)
    step = max(1, _BLOCK // size)
    for start in range(0, len(pools), step):
        block = pools[start : start + step]
        order = numpy.argsort(lengths[block], axis=1, kind="stable")
        block[:] = numpy.take_along_axis(block, order, axis=1)
    rest = items[whole:]
    rest[:] = rest[numpy.argsort(lengths[rest], kind="stable")]
