"""All items of a data configuration, one after the other, with their pictures' sizes and what keeps them from use."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from accessory.data.annotation import Annotation, parse_annotation
from accessory.data.inspect.faults import Fault, schema_kind
from accessory.data.inspect.pictures import Pictures
from accessory.data.inspect.reading import Item, Origin, items
from SPHINX_V.errors import DataError

BATCH = 512  # items whose pictures are looked at together


@dataclass(frozen=True)
class Seen:
    """An item as read: its annotation where it has a right form, the picture's path, and its size where one is known.

    `faults` are those of its form and of its picture. `number` is None where the rest of a file could not be read.
    """

    origin: Origin
    number: int | None
    value: Any
    annotation: Annotation | None
    picture: Path | None
    size: tuple[int, int] | None
    faults: tuple[Fault, ...]


def walk(origin: Origin, max_prompts: int, pictures: Pictures | None) -> Iterator[Seen]:
    """The items of one source, `ratio` left aside; without `pictures` none is opened."""
    reading = items(origin.path)
    while True:
        batch: list[Item] = []
        broken: DataError | None = None
        try:
            for item in itertools.islice(reading, BATCH):
                batch.append(item)
        except DataError as error:
            broken = error
        parsed = [_parsed(origin, item, max_prompts) for item in batch]
        if pictures is not None:
            pictures.look(seen.picture for seen in parsed if seen.picture is not None)
            parsed = [_with_picture(seen, pictures) for seen in parsed]
        yield from parsed
        if broken is not None:
            yield _unread(origin, broken)
            return
        if len(batch) < BATCH:
            return


def _unread(origin: Origin, error: DataError) -> Seen:
    file = str(origin.path)
    reason = str(error).removeprefix(f"{file}: ").removeprefix(f"{file}, ")
    return Seen(origin, None, None, None, None, None, (Fault("annotation-file", file, None, reason),))


def _parsed(origin: Origin, item: Item, max_prompts: int) -> Seen:
    file = str(origin.path)
    where = f"{file}, item {item.number}"
    try:
        if item.error is not None:
            raise item.error
        annotation = parse_annotation(item.value, where, max_prompts)
    except DataError as error:
        kind = "item" if item.error is not None else schema_kind(item.value, max_prompts)
        fault = Fault(kind, file, item.number, str(error).removeprefix(f"{where}: "))
        return Seen(origin, item.number, item.value, None, None, None, (fault,))
    picture = None if annotation.image is None else origin.root / annotation.image
    return Seen(origin, item.number, item.value, annotation, picture, None, ())


def _with_picture(seen: Seen, pictures: Pictures) -> Seen:
    if seen.picture is None:
        return seen
    found = pictures.seen[seen.picture]
    if not isinstance(found, DataError):
        return replace(seen, size=found)
    kind = "unreadable-picture" if seen.picture.is_file() else "missing-picture"
    fault = Fault(kind, str(seen.origin.path), seen.number, str(found))
    return replace(seen, faults=(*seen.faults, fault))
