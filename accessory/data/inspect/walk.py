"""All items of a source, one after the other, with their pictures' sizes and what keeps them from use."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from accessory.data.index import AnnotationFile
from accessory.data.inspect.faults import Fault, schema_kind
from accessory.data.inspect.pictures import Pictures
from accessory.data.inspect.reading import annotation_file
from accessory.data.sources import Entry, LocatedSource
from SPHINX_V.errors import DataError

BATCH = 512  # items whose pictures are looked at together


@dataclass(frozen=True)
class Seen:
    """An item as read: its entry where it has a right form, and its picture's size where that is known.

    `faults` are those of its form and of its picture. `number` is None where the file itself could not be read.
    """

    file: str
    number: int | None
    entry: Entry | None
    size: tuple[int, int] | None
    faults: tuple[Fault, ...]


def walk(source: LocatedSource, max_prompts: int, pictures: Pictures | None) -> Iterator[Seen]:
    """The items of one source, `ratio` left aside; without `pictures` none is opened."""
    name = str(source.path)
    try:
        with annotation_file(source.path) as file:
            numbers = file.numbers
            for start in range(0, len(numbers), BATCH):
                batch = [_read(source, file, int(number), max_prompts) for number in numbers[start : start + BATCH]]
                if pictures is not None:
                    pictures.look(seen.entry.picture for seen in batch if seen.entry and seen.entry.picture)
                    batch = [_with_picture(seen, pictures) for seen in batch]
                yield from batch
    except DataError as error:
        reason = str(error).removeprefix(f"{name}: ")
        yield Seen(name, None, None, None, (Fault("annotation-file", name, None, reason),))


def _read(source: LocatedSource, file: AnnotationFile, number: int, max_prompts: int) -> Seen:
    name, where = str(source.path), file.where(number)
    value: Any = None
    readable = False
    try:
        value = file.item(number)
        readable = True
        return Seen(name, number, source.entry(value, where, max_prompts), None, ())
    except DataError as error:
        file.check()  # a file that has changed is no fault of an item
        kind = schema_kind(value, max_prompts) if readable else "item"
        return Seen(name, number, None, None, (Fault(kind, name, number, str(error).removeprefix(f"{where}: ")),))


def _with_picture(seen: Seen, pictures: Pictures) -> Seen:
    if seen.entry is None or seen.entry.picture is None:
        return seen
    found = pictures.seen[seen.entry.picture]
    if not isinstance(found, DataError):
        return replace(seen, size=found)
    kind = "unreadable-picture" if seen.entry.picture.is_file() else "missing-picture"
    return replace(seen, faults=(*seen.faults, Fault(kind, seen.file, seen.number, str(found))))
