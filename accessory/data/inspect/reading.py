"""Annotation files item by item, in little memory: one bad item, or one bad file, does not keep the others away."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from io import TextIOBase
from pathlib import Path
from typing import Any

from accessory.config import load_options
from accessory.data.sources import DataConfig, Source
from SPHINX_V.errors import DataError, UsageError

CHUNK = 1 << 20  # characters read at a time
LONGEST_ITEM = 1 << 26  # characters: what is longer is no item but a file that is broken in the middle
_SPACE = " \t\r\n"


@dataclass(frozen=True)
class Origin:
    """A source of a data configuration with its paths found; `index` is its place in META."""

    index: int
    source: Source
    path: Path
    root: Path


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
    base = Path(config).resolve().parent
    sources = load_options(DataConfig, config).META
    found = []
    for index, source in enumerate(sources):
        if only not in source.path:
            continue
        path = _located(base, source.path)
        root = _located(base, source.root) if source.root is not None else path.parent
        found.append(Origin(index, source, path, root))
    if not found:
        raise UsageError(f"--only {only}: no path of the {len(sources)} in {config} has this in it.")
    return found


def _located(base: Path, path: str) -> Path:
    """As training finds it: beside the configuration, or where nothing is there, in the working directory."""
    beside = base / path
    return Path(path).absolute() if not beside.exists() and Path(path).exists() else beside


def items(path: Path) -> Iterator[Item]:
    """The items of a .json list or a .jsonl file; raises DataError that names the file, for what ends the reading."""
    try:
        # newline="\n": other characters that end a line may stand inside a text.
        with path.open(encoding="utf-8", newline="\n") as file:
            yield from _lines(path, file) if path.suffix == ".jsonl" else _List(path, file).items()
    except FileNotFoundError:
        raise DataError(
            f"{path}: no such annotation file, beside the configuration or in the working directory."
        ) from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is not UTF-8 text ({error}); save it again as UTF-8.") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); path names a .json or .jsonl file.") from None


def _lines(path: Path, file: TextIOBase) -> Iterator[Item]:
    for number, line in enumerate(file):
        if line.strip():
            try:
                yield Item(number, json.loads(line))
            except ValueError as error:  # broken JSON, or a number of more digits than Python reads
                yield Item(number, None, DataError(f"{path}, item {number}: not valid JSON: {error}"))


class _List:
    """A JSON list read through a window of text that holds little more than the item that is being read."""

    def __init__(self, path: Path, file: TextIOBase) -> None:
        self._path = path
        self._file = file
        self._text = ""
        self._at = 0

    def items(self) -> Iterator[Item]:
        decoder = json.JSONDecoder()
        if self._next() != "[":
            raise DataError(f"{self._path}: an annotation file is a list of items, which begins with [.")
        self._at += 1
        number = 0
        while self._next() != "]":
            if number:
                if self._next() != ",":
                    raise self._broken(number - 1, "no comma and no ] after it")
                self._at += 1
                self._next()
            yield Item(number, self._decoded(decoder, number))
            number += 1
        self._at += 1
        if self._next():
            raise DataError(f"{self._path}: not valid JSON: text after the end of the list.")

    def _decoded(self, decoder: json.JSONDecoder, number: int) -> Any:
        value, end, fault = None, self._at, ""
        while True:
            try:
                (value, end), fault = decoder.raw_decode(self._text, self._at), ""
            except ValueError as error:
                end, fault = len(self._text), str(error)
            # A value at the very end of the window may go on behind it, and so may what looks broken there.
            if end < len(self._text) or not self._more():
                break
            if len(self._text) - self._at > LONGEST_ITEM:
                fault = fault or f"longer than {LONGEST_ITEM} characters"
                break
        if fault:
            raise self._broken(number, fault)
        self._at = end
        return value

    def _broken(self, number: int, fault: str) -> DataError:
        return DataError(f"{self._path}, item {number}: not valid JSON: {fault}; what follows it cannot be read.")

    def _next(self) -> str:
        """The next character that is no space, which stays to be read; empty at the end of the file."""
        while True:
            while self._at < len(self._text) and self._text[self._at] in _SPACE:
                self._at += 1
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                return ""

    def _more(self) -> bool:
        """Reads on, as much as the window holds already; what has been read is dropped. False at the end."""
        rest = len(self._text) - self._at
        read = self._file.read(max(CHUNK, rest))
        if read:
            self._text, self._at = self._text[self._at :] + read, 0
        return bool(read)
