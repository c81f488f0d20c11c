"""Arrays in a file of safetensors' form: written whole or not at all, read through a map that processes share."""

from __future__ import annotations

import json
import math
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy
from numpy.typing import NDArray

from SPHINX_V.errors import DataError

_TYPES = {"I64": numpy.int64, "I32": numpy.int32, "U32": numpy.uint32, "U8": numpy.uint8}
_FACTS = "facts"


@dataclass
class Stored:
    """The arrays of one file, read-only and not held in memory, and the facts written with them.

    A forked process inherits the memory map; to a spawned one only the path is sent, and it maps the file itself.
    """

    path: Path
    facts: dict[str, Any]
    arrays: dict[str, NDArray[Any]]

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "facts": self.facts}

    def __setstate__(self, state: dict[str, Any]) -> None:
        again = open_arrays(state["path"])
        if again is None or again.facts != state["facts"]:
            raise DataError(f"{state['path']}: was replaced while it was in use; start again.")
        self.__dict__.update(again.__dict__)


def save_arrays(path: Path, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]) -> None:
    """Writes arrays and facts (anything JSON holds) to `path`; a reader sees the old file or the new one, never half.

    Raises OSError where the folder cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("wb") as file:
            _write(file, arrays, facts)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _write(file: BinaryIO, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any]) -> None:
    """By hand: safetensors' own writer makes a file that only its owner may read, and an index is for everybody."""
    names = {numpy.dtype(dtype): name for name, dtype in _TYPES.items()}
    # Wide types first, as safetensors has them, so that each array lies where its type may.
    order = sorted(arrays, key=lambda name: (-arrays[name].itemsize, name))
    header: dict[str, Any] = {"__metadata__": {_FACTS: json.dumps(facts)}}
    start = 0
    for name in order:
        array = arrays[name]
        place = [start, start := start + array.nbytes]
        header[name] = {"dtype": names[array.dtype], "shape": list(array.shape), "data_offsets": place}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    file.write(len(text).to_bytes(8, "little") + text)
    for name in order:
        file.write(numpy.ascontiguousarray(arrays[name]).data)


def open_arrays(path: Path) -> Stored | None:
    """The arrays of `path`; None where no such file can be read, or not a whole one of ours."""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(min(length, size)))
            facts = json.loads(header.pop("__metadata__")[_FACTS])
            begin = 8 + length
            if size != begin + max(form["data_offsets"][1] for form in header.values()):
                return None
            raw = numpy.asarray(numpy.memmap(file, dtype=numpy.uint8, mode="r"))
        arrays = {name: _view(raw[begin:], form) for name, form in header.items()}
    except OSError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError):  # a file that is damaged, or of another kind
        return None
    return Stored(path, facts, arrays)


def _view(raw: NDArray[numpy.uint8], form: Mapping[str, Any]) -> NDArray[Any]:
    """One array of a file's data; raises ValueError where type, shape and place do not go together."""
    start, stop = form["data_offsets"]
    dtype = numpy.dtype(_TYPES[form["dtype"]])
    if stop - start != math.prod(form["shape"]) * dtype.itemsize:
        raise ValueError("the bytes of an array do not make up its shape")
    view: NDArray[Any] = raw[start:stop].view(dtype).reshape(form["shape"])
    return view
