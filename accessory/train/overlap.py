"""Whether held-out items are really held out: no item and, better, no picture that is also trained on."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from accessory.data.sources import Entry
from SPHINX_V.errors import ConfigError, DataError


@dataclass(frozen=True)
class Overlap:
    """What two sets of items share: `items` as pairs of places (held out, trained on), and held-out `pictures`."""

    items: tuple[tuple[str, str], ...]
    pictures: tuple[Path, ...]


def check_held_out(training: Iterable[Entry], heldout: Sequence[Entry]) -> str | None:
    """A sentence about held-out pictures that are trained on with other questions, None where there are none.

    Raises ConfigError where a held-out item itself is trained on. Reads all training items once, and the bytes of
    training pictures that have the name and the size of a held-out one.
    """
    shared = find_overlap(training, heldout)
    if shared.items:
        ours, theirs = shared.items[0]
        raise ConfigError(
            f"data.heldout: {ours} is also trained on, as {theirs} ({len(shared.items)} such items of {len(heldout)});"
            " remove them from one of the two: a loss on what was learnt by heart says nothing."
        )
    if not shared.pictures:
        return None
    pictures = {entry.picture for entry in heldout if entry.picture is not None}
    return (
        f"data.heldout: {len(shared.pictures)} of {len(pictures)} pictures are also trained on, with other marks or"
        f" questions, such as {shared.pictures[0]}; on unseen pictures the loss would be higher."
    )


def find_overlap(training: Iterable[Entry], heldout: Sequence[Entry]) -> Overlap:
    """Items are the same with the same picture, marks (in whole pixels) and conversation; pictures are the same file,
    or files of one name with the same bytes."""
    pictures = _Pictures(entry.picture for entry in heldout if entry.picture is not None)
    places = {(entry.picture and pictures.same(entry.picture), _digest(entry)): entry.where for entry in heldout}
    items: dict[str, str] = {}
    shared: dict[Path, None] = {}
    for entry in training:
        picture = None
        if entry.picture is not None:
            picture = pictures.same(entry.picture)
            if picture is None:
                continue
            shared[picture] = None
        where = places.get((picture, _digest(entry)))
        if where is not None:
            items.setdefault(where, entry.where)
    return Overlap(tuple(items.items()), tuple(shared))


def _digest(entry: Entry) -> bytes:
    """Of marks and conversation; a mark that moves by less than a pixel stays the same."""
    annotation = entry.annotation
    marks = [(type(mark).__name__, *(round(edge) for edge in mark.bounds())) for mark in annotation.prompts]
    turns = [(turn.question, turn.answer) for turn in annotation.turns]
    return hashlib.sha256(repr((marks, turns)).encode("utf-8", "surrogatepass")).digest()


class _Pictures:
    """Finds a picture among the held-out ones; looks into files only where name and size are equal."""

    def __init__(self, pictures: Iterable[Path]) -> None:
        self._by_name: dict[str, list[Path]] = defaultdict(list)
        self._digests: dict[Path, bytes] = {}
        self._found: dict[Path, Path | None] = {}
        for picture in dict.fromkeys(pictures):
            if self.same(picture) is None:
                self._by_name[picture.name].append(picture)
                self._found[picture] = picture

    def same(self, picture: Path) -> Path | None:
        """The held-out picture that this one is."""
        near = self._by_name.get(picture.name)
        if near is None:
            return None
        if picture not in self._found:
            self._found[picture] = next((one for one in near if self._equal(one, picture)), None)
        return self._found[picture]

    def _equal(self, one: Path, other: Path) -> bool:
        try:
            if one.samefile(other):
                return True
            return one.stat().st_size == other.stat().st_size and self._digest(one) == self._digest(other)
        except OSError as error:
            raise DataError(f"{error.filename}: cannot be read ({error.strerror}).") from None

    def _digest(self, picture: Path) -> bytes:
        if picture not in self._digests:
            self._digests[picture] = hashlib.sha256(picture.read_bytes()).digest()
        return self._digests[picture]
