"""Data configurations (META: path, type, root, ratio) → annotations, every bad item refused or counted by name."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from accessory.config import Options, load_options
from accessory.data.annotation import Annotation, parse_annotation
from SPHINX_V.errors import ConfigError, DataError

RATIO_SEED = 0  # `ratio` takes the same items in every run and on every machine


class Source(Options):
    """One annotation file of a data configuration."""

    path: str
    type: str
    root: str | None = None
    ratio: float = Field(default=1.0, gt=0, le=1)


class DataConfig(Options):
    """A data configuration file; relative paths are relative to that file, or else to the working directory."""

    META: list[Source] = Field(min_length=1)


@dataclass(frozen=True)
class Entry:
    """An annotation with where it comes from; `picture` is the path to open, None for text only."""

    annotation: Annotation
    picture: Path | None
    type: str
    where: str


@dataclass
class BadItems:
    """What `on_bad_sample: skip` leaves out: each item once (place and reason), however often it is met."""

    places: dict[str, None] = field(default_factory=dict)

    def add(self, error: DataError | str) -> None:
        self.places[str(error)] = None

    def summary(self, shown: int = 10) -> str:
        """The count, then the first items with their reasons, one a line."""
        lines = [f"{len(self.places)} bad items left out:", *(f"  {place}" for place in list(self.places)[:shown])]
        if len(self.places) > shown:
            lines.append(f"  … and {len(self.places) - shown} more")
        return "\n".join(lines)


def read_entries(config: str | Path, max_prompts: int, on_bad: Literal["refuse", "skip"], bad: BadItems) -> list[Entry]:
    """All annotations of a data configuration, in the order of the file.

    Raises ConfigError for a wrong configuration and DataError for a missing file, or for a bad item unless `on_bad` is
    "skip": then it is added to `bad`.
    """
    base = Path(config).resolve().parent
    entries: list[Entry] = []
    for source in load_options(DataConfig, config).META:
        path = _located(base, source.path)
        root = _located(base, source.root) if source.root is not None else path.parent
        chosen = list(_items(path))
        if source.ratio < 1:
            keep = sorted(random.Random(RATIO_SEED).sample(range(len(chosen)), round(source.ratio * len(chosen))))
            chosen = [chosen[index] for index in keep]
        for number, item in chosen:
            where = f"{path}, item {number}"
            try:
                if isinstance(item, DataError):
                    raise item
                annotation = parse_annotation(item, where, max_prompts)
            except DataError as error:
                if on_bad == "refuse":
                    raise
                bad.add(error)
                continue
            picture = None if annotation.image is None else root / annotation.image
            entries.append(Entry(annotation, picture, source.type, where))
    if not entries:
        raise ConfigError(f"{config}: holds no usable item; check its paths and ratios.")
    return entries


def _located(base: Path, path: str) -> Path:
    """`path` beside the configuration, or where nothing is there, in the working directory, as other trainers do."""
    beside = base / path
    return Path(path).absolute() if not beside.exists() and Path(path).exists() else beside


def _items(path: Path) -> Iterator[tuple[int, Any]]:
    """(number, item) of a .json list or a .jsonl file; an unreadable line of .jsonl comes as its DataError."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise DataError(f"{path}: no such annotation file; check the data configuration's paths.") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is not UTF-8 text ({error}); save it again as UTF-8.") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); path names a .json or .jsonl file.") from None
    if path.suffix == ".jsonl":
        # Not splitlines(): it would also cut at characters such as U+2028, which JSON allows inside a text.
        for number, line in enumerate(text.split("\n")):
            if line.strip():
                try:
                    yield number, json.loads(line)
                except json.JSONDecodeError as error:
                    yield number, DataError(f"{path}, item {number}: not valid JSON: {error}")
        return
    try:
        items = json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(f"{path}: not valid JSON: {error}") from None
    if not isinstance(items, list):
        raise DataError(f"{path}: holds a {type(items).__name__}; an annotation file is a list of items.")
    yield from enumerate(items)
