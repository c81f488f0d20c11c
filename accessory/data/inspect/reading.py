"""Annotation files item by item, in little memory: one bad item, or one bad file, does not keep the others away."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accessory.data.index import open_annotations, scan
from accessory.data.sources import LocatedSource, read_sources
from SPHINX_V.errors import DataError, UsageError


@dataclass(frozen=True)
class Origin:
    """A source of a data configuration with its paths found; `index` is its place in META."""

    index: int
    source: LocatedSource

    @property
    def path(self) -> Path:
        return self.source.path

    @property
    def root(self) -> Path:
        return self.source.root


@dataclass(frozen=True)
class Item:
    """One item as it stands in its file; `number` is what messages call it. Unreadable: `error` instead of `value`."""

    number: int
    value: Any
    error: DataError | None = None


def origins(config: str | Path, only: str = "") -> list[Origin]:
    """The sources of a configuration file, in order: those with `only` in their path.

    Raises ConfigError for a wrong configuration, not for files that lack, and UsageError where no path has `only`.
    """
    sources = read_sources(config)
    found = [Origin(index, source) for index, source in enumerate(sources) if only in str(source.path)]
    if not found:
        raise UsageError(f"--only {only}: no path of the {len(sources)} in {config} has this in it.")
    return found


def items(path: Path) -> Iterator[Item]:
    """The items of a .json list or a .jsonl file; raises DataError that names the file, where it is neither.

    As training finds them, but without an index that stays on the disk.
    """
    with open_annotations(path) as file:
        bounds, blank = scan(file, path)
        left_out = set(blank.tolist())
        for number, (before, end) in enumerate(zip(bounds[:-1].tolist(), bounds[1:].tolist())):
            if number not in left_out:
                file.seek(before + 1)
                yield _parsed(file.read(end - before - 1), number, path)


def _parsed(content: bytes, number: int, path: Path) -> Item:
    try:
        return Item(number, json.loads(content.decode("utf-8")))
    except (ValueError, RecursionError) as error:  # broken JSON, or a number of more digits than Python reads
        return Item(number, None, DataError(f"{path}, item {number}: not valid JSON: {error}"))
