"""Files of evaluation: JSON read with errors that say where, and lines written so that a cut loses nothing."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from SPHINX_V.errors import DataError


def read_text(path: Path, what: str) -> str:
    """The text of a file; raises DataError that calls it a `what`."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise DataError(f"{path}: no such {what}.") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is not UTF-8 text ({error}); save it again as UTF-8.") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}).") from None


def read_json(path: Path, what: str) -> Any:
    """The value of a JSON file; raises DataError."""
    try:
        return json.loads(read_text(path, what))
    except json.JSONDecodeError as error:
        raise DataError(f"{path}: not valid JSON: {error}") from None


def read_json_items(path: Path, what: str = "benchmark file") -> list[Any]:
    """The values of a JSON list, or of a file with one JSON value a line; raises DataError for none at all.

    POPE's files are lines under the name .json, so the text decides and not the name.
    """
    text = read_text(path, what)
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        lines = [(number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
        if len(lines) < 2 or not lines[0][1].lstrip().startswith("{") or not lines[0][1].rstrip().endswith("}"):
            raise DataError(f"{path}: not valid JSON: {error}") from None
        return [parse_line(line, path, number) for number, line in lines]
    if isinstance(values, dict) and "\n" not in text.strip() and path.suffix == ".jsonl":
        values = [values]
    if not isinstance(values, list) or not values:
        raise DataError(f"{path}: a {what} is a list of at least one item.")
    return values


def parse_line(line: str, path: Path, number: int) -> Any:
    """One line of JSON; raises DataError that names the line, counted from 1."""
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(f"{path}, line {number}: not valid JSON: {error}") from None


def complete_lines(data: bytes) -> bytes:
    """The bytes up to the last line break: a line without one was cut off while it was written."""
    return data[: data.rfind(b"\n") + 1]


def append_lines(path: Path, lines: list[str]) -> None:
    """Adds whole lines in one write and waits until they are on the disk.

    Half a line at the end of the file, left by a kill or a full disk, is cut off first.
    """
    new = not path.exists()
    with path.open("ab+", buffering=0) as file:
        size = file.seek(0, os.SEEK_END)
        kept = _end_of_lines(file, size)
        if kept != size:
            file.truncate(kept)
        data = memoryview("".join(f"{line}\n" for line in lines).encode())
        while data:
            data = data[file.write(data) :]
        os.fsync(file.fileno())
    if new:
        sync_folder(path.parent)


def _end_of_lines(file: Any, size: int) -> int:
    """Where the last complete line ends, looking from the end."""
    position, block = size, 1 << 16
    while position:
        start = max(0, position - block)
        file.seek(start)
        at = file.read(position - start).rfind(b"\n")
        if at >= 0:
            return start + at + 1
        position = start
    return 0


def write_whole(path: Path, text: str) -> None:
    """Writes a file that is there whole or not at all: beside it, to the disk, then renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with beside.open("wb") as file:
        file.write(text.encode())
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Waits until the folder's list of names is on the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
