"""What is kept of earlier prompts: keys and values that a prompt with the same beginning need not compute again; and
what is kept of pictures: their tokens, by content."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from threading import RLock

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

    def at(self, place: int) -> int | str | None:
        """What tells prompts apart from `place` on: an id, or the hash of the picture or marks that begin there; None
        where this one has ended."""
        if place == 0 or not self.picture:
            return self.ids[place] if place < len(self.ids) else None
        if place <= self.image_length:
            return self.picture
        text = place - self.image_length - self.marks_length
        if text < 1:
            return self.marks
        return self.ids[text] if text < len(self.ids) else None

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


@dataclass(eq=False)
class _Piece:
    """The states of a prompt's positions from `start` on; those before are its parent's and the parent's own parents'.

    A parent has at least `start` positions, and may go on in its own way after them. `children` by where they begin and
    what stands there: no two of them are alike in both.
    """

    key: PromptKey
    start: int
    states: Tensor
    parent: _Piece | None
    children: dict[tuple[object, object], _Piece] = field(default_factory=dict)

    @property
    def place(self) -> tuple[object, object]:
        """Where it lies among its parent's children; or, without a parent, what it begins with."""
        return (self.key.at(0), self.key.at(1)) if self.parent is None else (self.start, self.key.at(self.start))


class PrefixStore:
    """Keys and values of prompts, found by their longest common beginning, which is kept once for all that share it.

    At most `limit` bytes. What was not used for longest goes first, but nothing goes that others begin with. A tree, so
    that finding takes as long with many prompts as with few.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.bytes = 0
        self._each = 0  # bytes of a position, once that is known
        self._pieces: OrderedDict[_Piece, None] = OrderedDict()  # the least recently used first
        self._roots: dict[tuple[object, object], _Piece] = {}

    def find(self, key: PromptKey) -> tuple[int, list[tuple[int, Tensor]]]:
        """How many positions of `key` are kept, and their states as (first position, states), each up to the next one's
        first. The last position of a prompt is never taken from here: its state is what predicts the answer."""
        piece, shared = self._best(key)
        length = min(shared, len(key) - 1)
        if piece is None or length <= 1:  # BOS alone is not worth a copy
            return 0, []
        found = [(one.start, one.states) for one in self._use(piece) if one.start < length]
        return length, found[::-1]

    def keep(self, key: PromptKey, copy_out: Callable[[int, int], Tensor]) -> None:
        """Keeps all positions of `key`; `copy_out(start, end)` gives the states of those that are not kept yet. Nothing
        happens where they do not fit beside what they go on from."""
        parent, start = self._best(key)
        if start == len(key) or len(key) <= 1 or not self.limit:
            return
        chain = self._use(parent) if parent is not None else []
        room = self.limit - sum(one.states.nbytes for one in chain)
        if self._each * (len(key) - start) > room:  # a copy for nothing, of a gigabyte maybe
            return
        states = copy_out(start, len(key))
        self._each = states.nbytes // (len(key) - start)
        if states.nbytes > room:
            return
        try:
            while self.bytes + states.nbytes > self.limit:
                self._remove(next(one for one in self._pieces if not one.children and one not in chain))
            piece = _Piece(key, start, states, parent)
            self._siblings(piece)[piece.place] = piece
            self._pieces[piece] = None
            self.bytes += states.nbytes
        except BaseException:  # an interrupt: what is there by half would be found, and fail whoever finds it
            self.clear()
            raise

    def drop(self, key: PromptKey) -> None:
        """Forgets a prompt and all that goes on from it, where it is there."""
        for piece in [one for one in self._pieces if one.key == key]:
            self._remove_with_children(piece)

    def clear(self) -> None:
        """Forgets everything."""
        self._pieces.clear()
        self._roots.clear()
        self.bytes = 0

    def _best(self, key: PromptKey) -> tuple[_Piece | None, int]:
        """The piece of the prompt that has most positions in common with `key`, and how many these are; None where none
        has more than BOS."""
        piece, shared = None, 0
        next_one = self._roots.get((key.at(0), key.at(1)))
        while next_one is not None:
            piece, shared = next_one, key.shared(next_one.key)
            next_one = piece.children.get((shared, key.at(shared)))
        return piece, shared

    def _use(self, piece: _Piece) -> list[_Piece]:
        """The piece and all that it goes on from, which count as used now."""
        chain = [piece]
        while chain[-1].parent is not None:
            chain.append(chain[-1].parent)
        for one in reversed(chain):
            self._pieces.move_to_end(one)
        return chain

    def _siblings(self, piece: _Piece) -> dict[tuple[object, object], _Piece]:
        return self._roots if piece.parent is None else piece.parent.children

    def _remove(self, piece: _Piece) -> None:
        del self._pieces[piece], self._siblings(piece)[piece.place]
        self.bytes -= piece.states.nbytes

    def _remove_with_children(self, piece: _Piece) -> None:
        for child in list(piece.children.values()):
            self._remove_with_children(child)
        self._remove(piece)
