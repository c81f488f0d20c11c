"""Data configurations (META: path, type, root, ratio): where items and pictures are, and which items are left out."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy
from numpy.typing import NDArray
from pydantic import Field

from accessory.config import Options, load_options
from accessory.data.annotation import Annotation, parse_annotation
from SPHINX_V.errors import ConfigError, DataError

RATIO_SEED = 0  # `ratio` takes the same items in every run and on every machine
# The beginning of messages about items, as `AnnotationFile.where` writes it.
_PLACE = re.compile(r"(?P<file>.+?), item (?P<item>\d+): (?P<reason>.*)", re.DOTALL)


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


@dataclass(frozen=True)
class LocatedSource:
    """A source with its paths found: `root` is joined with what items say of their pictures."""

    path: Path
    root: Path
    type: str
    ratio: float

    def choose(self, numbers: NDArray[numpy.uint32]) -> NDArray[numpy.uint32]:
        """The items that `ratio` takes, in their order."""
        if self.ratio == 1:
            return numbers
        count = len(numbers)
        return numbers[sorted(random.Random(RATIO_SEED).sample(range(count), round(self.ratio * count)))]

    def entry(self, item: Any, where: str, max_prompts: int) -> Entry:
        """The item, read and checked; raises DataError that names `where`."""
        annotation = parse_annotation(item, where, max_prompts)
        picture = None if annotation.image is None else self.root / annotation.image
        return Entry(annotation, picture, self.type, where)


@dataclass
class BadItems:
    """What `on_bad_sample: skip` leaves out: each item once (place and reason), however often it is met.

    `file` takes the reasons, one JSON object a line; where it is None, the data set names one beside its index.
    `option` says where it lies. `total` are the items of the data set, of which `max_rate` may be bad.
    """

    file: Path | None = None
    option: str = "output"
    places: dict[str, None] = field(default_factory=dict)
    total: int = 0
    max_rate: float = 1.0

    def add(self, error: DataError | str) -> None:
        """Notes an item; raises DataError where there are now too many, after writing their reasons."""
        self.extend([error])

    def extend(self, errors: Iterable[DataError | str]) -> None:
        """Notes several items before looking at the rate."""
        self.places.update(dict.fromkeys(map(str, errors)))
        if self.total and len(self.places) > self.max_rate * self.total:
            self.write()
            count = len(self.places)
            raise DataError(
                f"{count} of {self.total} items are bad so far, a rate of {count / self.total:.4g}; data.max_bad_rate"
                f" allows {self.max_rate:g}. The reasons are in {self.file}; mend the items, or raise the rate."
            )

    def write(self) -> None:
        """Writes all reasons so far to `file`; raises ConfigError where that cannot be written."""
        if self.file is None:
            return
        lines = []
        for place in self.places:
            known = _PLACE.fullmatch(place)
            told = {"reason": place} if known is None else {**known.groupdict(), "item": int(known["item"])}
            lines.append(json.dumps(told, ensure_ascii=False) + "\n")
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            # Half of a surrogate pair, which no UTF-8 has, comes out as the escape that JSON has for it.
            self.file.write_text("".join(lines), encoding="utf-8", errors="backslashreplace")
        except OSError as error:
            raise ConfigError(
                f"{self.file}: cannot be written ({error.strerror}), and takes the reasons of bad items; name another"
                f" folder in {self.option}, or remove what stands there."
            ) from None

    def summary(self, shown: int = 10) -> str:
        """The count, then the first items with their reasons, one a line."""
        lines = [f"{len(self.places)} bad items left out:", *(f"  {place}" for place in list(self.places)[:shown])]
        if len(self.places) > shown:
            rest = f"  … and {len(self.places) - shown} more"
            lines.append(rest if self.file is None else f"{rest}, all in {self.file}")
        return "\n".join(lines)


def read_sources(config: str | Path) -> list[LocatedSource]:
    """The sources of a data configuration, in its order; raises ConfigError for a wrong configuration."""
    base = Path(config).resolve().parent
    sources = []
    for source in load_options(DataConfig, config).META:
        path = _located(base, source.path)
        root = _located(base, source.root) if source.root is not None else path.parent
        sources.append(LocatedSource(path, root, source.type, source.ratio))
    return sources


def _located(base: Path, path: str) -> Path:
    """`path` beside the configuration, or where nothing is there, in the working directory, as other trainers do."""
    beside = base / path
    return Path(path).absolute() if not beside.exists() and Path(path).exists() else beside
