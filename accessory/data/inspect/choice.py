"""A few items of every source, drawn by a seed, with what is wrong with each."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from accessory.data.inspect.check import EDGE
from accessory.data.inspect.faults import outside, text_faults
from accessory.data.inspect.reading import chosen_sources
from accessory.data.inspect.walk import Seen, walk
from accessory.data.labels import task_of
from accessory.data.sources import LocatedSource
from accessory.page.pictures import marked_picture
from SPHINX_V.errors import DataError, UsageError
from SPHINX_V.processing.image import picture_size
from SPHINX_V.prompts import Prompt


@dataclass(frozen=True)
class Chosen:
    """An item to be shown. `size` is None where there is no picture to show; `faults` are sentences."""

    number: int
    task: str
    prompts: tuple[Prompt, ...]
    turns: tuple[tuple[str, str], ...]
    picture: Path | None
    size: tuple[int, int] | None
    faults: tuple[str, ...]


@dataclass(frozen=True)
class Choice:
    """What is shown of a source with `total` items; `broken` says what ended the reading of its file, if anything."""

    source: LocatedSource
    total: int
    chosen: tuple[Chosen, ...]
    broken: str


def choose(config: str | Path, only: str, count: int, seed: int, max_prompts: int) -> list[Choice]:
    """About `count` items, spread evenly over the sources with `only` in their path, of each at least one.

    Raises ConfigError for a wrong configuration, UsageError for a count below 1 and an `only` that no path has.
    """
    if count < 1:
        raise UsageError(f"--items is {count}; show at least 1.")
    sources = chosen_sources(config, only)
    shares = [max(1, (count + place) // len(sources)) for place in reversed(range(len(sources)))]
    return [
        _of_source(source, share, random.Random(f"{seed}/{index}"), max_prompts)
        for index, (source, share) in enumerate(zip(sources, shares))
    ]


def _of_source(source: LocatedSource, count: int, draw: random.Random, max_prompts: int) -> Choice:
    """A sample of the source in one pass (algorithm R: Vitter, 1985), in the order of the file."""
    kept: list[Seen] = []
    total, broken = 0, ""
    for seen in walk(source, max_prompts, None):
        if seen.number is None:
            broken = seen.faults[0].reason
            continue
        total += 1
        if len(kept) < count:
            kept.append(seen)
        else:
            place = draw.randrange(total)
            if place < count:
                kept[place] = seen
    kept.sort(key=lambda seen: seen.number or 0)
    return Choice(source, total, tuple(_shown(seen) for seen in kept), broken)


def _shown(seen: Seen) -> Chosen:
    number = seen.number or 0
    if seen.entry is None:
        return Chosen(number, "", (), (), None, None, tuple(fault.reason for fault in seen.faults))
    annotation, picture = seen.entry.annotation, seen.entry.picture
    turns = tuple((turn.question, turn.answer or "") for turn in annotation.turns)
    asked = task_of(turns[0][0])
    task = "free question" if asked is None else asked[0]
    size: tuple[int, int] | None = None
    faults: list[str] = []
    if picture is not None:
        try:
            size = picture_size(picture)
            faults += outside(annotation.prompts, size, EDGE)
        except DataError as error:
            faults.append(str(error))
    faults += (reason for _, reason in text_faults(annotation))
    return Chosen(number, task, annotation.prompts, turns, picture, size, tuple(faults))


def all_chosen(choices: list[Choice]) -> Iterator[tuple[Choice, Chosen]]:
    """Every chosen item with its source, in order."""
    return ((choice, chosen) for choice in choices for chosen in choice.chosen)


def marked(chosen: Chosen, mark_size: float) -> Image.Image | None:
    """The item's picture with its numbered marks; None where it has none or where it does not open."""
    if chosen.picture is None:
        return None
    try:
        return marked_picture(chosen.picture, chosen.prompts, mark_size=mark_size)
    except DataError:  # among the item's faults already, or found on decoding
        return None
