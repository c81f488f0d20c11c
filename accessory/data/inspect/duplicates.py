"""Finds items that stand twice, in sixteen bytes an item."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterator

import numpy

from accessory.data.sources import Entry


class Duplicates:
    """Remembers a digest of each item's picture, marks and conversation, and its place."""

    def __init__(self) -> None:
        self._digests = array("Q")
        self._places = array("Q")

    def add(self, entry: Entry, source: int, number: int) -> None:
        """An item of the source of this index, called `number` in its file."""
        content = repr((str(entry.picture), entry.annotation.prompts, entry.annotation.turns)).encode()
        self._digests.append(int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little"))
        self._places.append(source << 40 | number)

    def pairs(self) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
        """((source, number) of an item, (source, number) of the first that is the same), in the order of adding."""
        if not self._digests:
            return
        digests = numpy.asarray(self._digests)
        _, first, inverse = numpy.unique(digests, return_index=True, return_inverse=True)
        original = first[inverse]
        for at in numpy.flatnonzero(original != numpy.arange(len(digests))):
            yield self._place(int(at)), self._place(int(original[at]))

    def _place(self, at: int) -> tuple[int, int]:
        place = self._places[at]
        return place >> 40, place & ((1 << 40) - 1)
