"""Items of one annotation file by number, through an index of their places that is built once and kept on disk."""

from __future__ import annotations

import hashlib
import json
import os
import time
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy
from numpy.typing import NDArray

from accessory.data.scan import scan_lines, scan_list
from accessory.data.store import Stored, open_arrays, save_arrays
from SPHINX_V.errors import ConfigError, DataError

FOLDER = ".sphinx_v_index"  # beside the annotation file; may be deleted at any time
_VERSION = 1  # of the index's form and of the scanner's rules
_TICK = 20_000_000  # ns; two changes within one tick of a file system's clock leave the same mtime


@dataclass(frozen=True)
class Stamp:
    """What tells one state of a file from another without reading it."""

    size: int
    mtime_ns: int

    @staticmethod
    def of(descriptor: int) -> Stamp:
        """The stamp of an open file."""
        status = os.fstat(descriptor)
        return Stamp(status.st_size, status.st_mtime_ns)


class AnnotationFile:
    """The items of a .json list or a .jsonl file (one item a line), each read when it is asked for.

    Safe to use in forked and spawned processes: reading moves no position that they would share.
    """

    def __init__(self, path: Path, index: Stored) -> None:
        self.path = path
        self.stamp = Stamp(index.facts["size"], index.facts["mtime_ns"])
        self._index = index
        self._descriptor: int | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_descriptor": None}

    @property
    def numbers(self) -> NDArray[numpy.uint32]:
        """Numbers of the items; in a .jsonl file those of lines that are not blank, counted from 0."""
        everything = numpy.arange(len(self._index.arrays["bounds"]) - 1, dtype=numpy.uint32)
        return numpy.delete(everything, self._index.arrays["blank"])

    def where(self, number: int) -> str:
        """How messages name an item."""
        return f"{self.path}, item {number}"

    def item(self, number: int) -> Any:
        """The item's JSON value; raises DataError where it is no JSON, or the file is not the one that was indexed."""
        bounds = self._index.arrays["bounds"]
        start, stop = int(bounds[number]) + 1, int(bounds[number + 1])
        content = os.pread(self._unchanged(), stop - start, start)
        try:
            return json.loads(content.decode("utf-8"))
        except (ValueError, RecursionError) as error:
            raise DataError(f"{self.where(number)}: not valid JSON: {error}") from None

    def check(self) -> None:
        """Raises DataError where the file is no longer the one that was indexed."""
        self._unchanged()

    def _unchanged(self) -> int:
        if self._descriptor is None:
            with _open(self.path) as file:
                self._descriptor = os.dup(file.fileno())
            weakref.finalize(self, os.close, self._descriptor)
        if Stamp.of(self._descriptor) != self.stamp:
            raise DataError(f"{self.path}: has changed since it was indexed; start again, so that it is read anew.")
        return self._descriptor


def index_place(path: Path, index_dir: str | None) -> Path:
    """Where what is known of `path` is kept, in `index_dir` or else beside it: a path to which endings are added."""
    if index_dir is None:
        return path.parent / FOLDER / path.name
    digest = hashlib.sha256(os.fsencode(path.absolute())).hexdigest()[:12]  # files of one name in several folders
    return Path(index_dir).absolute() / f"{path.name}.{digest}"


def open_index(path: Path, place: Path) -> AnnotationFile | None:
    """The annotation file by its index at `place`; None where that is absent or of another state of the file.

    Raises DataError where the annotation file cannot be read.
    """
    with _open(path) as file:
        stamp = Stamp.of(file.fileno())
    index = open_arrays(_index_path(place))
    return None if index is None or index.facts != _facts(stamp) else AnnotationFile(path, index)


def build_index(path: Path, place: Path) -> AnnotationFile:
    """As `open_index`, after scanning the file where need be.

    Raises DataError for a file that is missing, not UTF-8 or no list, and ConfigError where `place` cannot be written.
    """
    known = open_index(path, place)
    if known is not None:
        return known
    with _open(path) as file:
        # A later change must leave another mtime than the one noted here.
        if abs(time.time_ns() - Stamp.of(file.fileno()).mtime_ns) < _TICK:
            time.sleep(2 * _TICK / 1e9)
        stamp = Stamp.of(file.fileno())
        blank = numpy.empty(0, numpy.int64)
        if _by_lines(path):
            bounds, blank = scan_lines(file, str(path))
        else:
            bounds = scan_list(file, str(path))
        if Stamp.of(file.fileno()) != stamp:
            raise DataError(f"{path}: was changed while it was being indexed; start again when it is complete.")
    store(_index_path(place), {"bounds": bounds, "blank": blank}, _facts(stamp))
    built = open_index(path, place)
    if built is None:
        raise DataError(f"{path}: was changed while it was being indexed; start again when it is complete.")
    return built


def store(path: Path, arrays: dict[str, NDArray[Any]], facts: dict[str, Any]) -> None:
    """`save_arrays`, for a folder that the user has chosen: raises ConfigError where it cannot be written."""
    try:
        save_arrays(path, arrays, facts)
    except OSError as error:
        raise ConfigError(
            f"{path.parent}: cannot be written ({error.strerror}), and is where the index of the annotations is kept;"
            " name another folder in data.index_dir."
        ) from None


def _index_path(place: Path) -> Path:
    return place.with_name(f"{place.name}.items.safetensors")


def _facts(stamp: Stamp) -> dict[str, int]:
    return {"version": _VERSION, "size": stamp.size, "mtime_ns": stamp.mtime_ns}


def _by_lines(path: Path) -> bool:
    return path.suffix == ".jsonl"


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb", buffering=0)
    except FileNotFoundError:
        raise DataError(f"{path}: no such annotation file; check the data configuration's paths.") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); path names a .json or .jsonl file.") from None
