"""Pictures as the model sees them, kept so that one that comes again is neither opened nor resized again."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock
from typing import Any

from SPHINX_V.generation.prefix import Kept
from SPHINX_V.processing.square import SquarePicture, source_of, square_of

_NAMES = 4096  # of sources; each takes some hundred bytes


class Squares:
    """Padded pictures of `side` × `side` pixels by content, at most `limit` bytes of them. Safe to use from threads."""

    def __init__(self, side: int, limit: int) -> None:
        self._side = side
        self._kept = Kept(limit)
        self._names: OrderedDict[str, tuple[str, tuple[int, int]]] = OrderedDict()  # of a source: key and size
        self._lock = Lock()

    def open(self, value: Any) -> SquarePicture:
        """What `as_picture` takes, as the model sees it; raises as that does."""
        source = source_of(value)
        with self._lock:
            key, size = self._names.get(source.key, ("", (0, 0)))
        pixels = self._kept.get(key)
        if pixels is not None:
            return SquarePicture(pixels, size, key)
        square = square_of(source, self._side)
        self._kept.put(square.key, square.pixels)
        if source.key:
            with self._lock:
                self._names[source.key] = square.key, square.size
                while len(self._names) > _NAMES:
                    self._names.popitem(last=False)
        return square

    def clear(self) -> None:
        """Forgets everything."""
        self._kept.clear()
        with self._lock:
            self._names.clear()
