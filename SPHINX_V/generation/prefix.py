"""What is kept of earlier prompts: keys and values that a prompt with the same beginning need not compute again; and
what is kept of pictures: their tokens, by content."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from threading import RLock
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class PromptKey:
    """A prompt as a sequence of positions: BOS, `image_length` of the picture, `marks_length` of the marks, then text.

    `picture` and `marks` are hashes of what the model sees of them, "" without a picture. Two prompts share the picture
    where that is the same, the marks where both are, and the text up to the first id that differs.
    """

    ids: tuple[int, ...]
    picture: str = ""
    marks: str = ""
    image_length: int = 0
    marks_length: int = 0

    def __len__(self) -> int:
        return len(self.ids) + self.image_length + self.marks_length

    def shared(self, other: PromptKey) -> int:
        """Positions from the start that are the same in both."""
        if not self.ids or not other.ids or self.ids[0] != other.ids[0]:
            return 0
        if self.picture != other.picture:
            return 1
        if self.marks != other.marks:
            return 1 + self.image_length
        return self.image_length + self.marks_length + _shared(self.ids, other.ids)


def _shared(a: Sequence[int], b: Sequence[int]) -> int:
    shorter = min(len(a), len(b))
    if a[:shorter] == b[:shorter]:
        return shorter
    return next(place for place, (one, other) in enumerate(zip(a, b)) if one != other)


class Kept:
    """Tensors by key, at most `limit` bytes of them; the least recently used goes first. Safe to use from threads."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.bytes = 0
        self._entries: OrderedDict[object, Tensor] = OrderedDict()
        self._lock = RLock()

    def get(self, key: object) -> Tensor | None:
        """The tensor of a key, which counts as used now."""
        with self._lock:
            found = self._entries.get(key)
            if found is not None:
                self._entries.move_to_end(key)
            return found

    def put(self, key: object, value: Tensor) -> None:
        """Keeps a tensor, unless it alone is above the limit."""
        with self._lock:
            self.drop(key)
            if value.nbytes > self.limit:
                return
            while self.bytes + value.nbytes > self.limit:
                self.drop(next(iter(self._entries)))
            self._entries[key] = value
            self.bytes += value.nbytes

    def drop(self, key: object) -> None:
        """Forgets a key, where it is there."""
        with self._lock:
            found = self._entries.pop(key, None)
            if found is not None:
                self.bytes -= found.nbytes

    def clear(self) -> None:
        """Forgets everything."""
        with self._lock:
            self._entries.clear()
            self.bytes = 0

    def names(self) -> list[Any]:
        """All keys, the least recently used first."""
        with self._lock:
            return list(self._entries)


class PrefixStore:
    """Keys and values of prompts, found by their longest common beginning."""

    def __init__(self, limit: int) -> None:
        self._kept = Kept(limit)

    @property
    def limit(self) -> int:
        return self._kept.limit

    @property
    def bytes(self) -> int:
        return self._kept.bytes

    def find(self, key: PromptKey) -> tuple[int, Tensor | None]:
        """How many positions of `key` are kept, and the tensor whose first positions they are. The last position of a
        prompt is never taken from here: its state is what predicts the answer."""
        best, length = None, 1  # BOS alone is not worth a copy
        for other in self._kept.names():
            shared = min(key.shared(other), len(key) - 1)
            if shared > length:
                best, length = other, shared
        return (0, None) if best is None else (length, self._kept.get(best))

    def keep(self, key: PromptKey, states: Tensor) -> None:
        """Keeps the states of all positions of `key`; a prompt that this one goes on from needs no place of its own."""
        for other in self._kept.names():
            if len(other) < len(key) and key.shared(other) == len(other):
                self._kept.drop(other)
        self._kept.put(key, states)

    def drop(self, key: PromptKey) -> None:
        """Forgets a prompt, where it is there."""
        self._kept.drop(key)

    def holds(self, key: PromptKey) -> bool:
        """True where all positions of `key` are kept, under this or a longer prompt."""
        return any(key.shared(other) == len(key) for other in self._kept.names())

    def clear(self) -> None:
        self._kept.clear()
