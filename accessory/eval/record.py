"""The record beside a prediction file: what its answers were made from, so that others are never mixed in."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from accessory.eval.files import read_json, write_whole
from accessory.eval.items import BenchmarkItem
from accessory.eval.predictions import parts_of
from SPHINX_V.errors import CheckpointError, DataError, UsageError

_SAMPLE = 1 << 20  # bytes read at both ends of a weight file

Record = dict[str, Any]


def record_of(path: Path) -> Path:
    """The record of a prediction file."""
    return path.with_suffix(".record.json")


def checkpoint_hash(folder: Path) -> str:
    """A hash of a checkpoint's files: their names, sizes, and a megabyte at both ends of each.

    Reading all of a 33 GB checkpoint would take minutes, and training changes the first megabyte. Raises
    CheckpointError where the folder is not there.
    """
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: no such checkpoint folder.")
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        size = path.stat().st_size
        digest.update(f"{path.name} {size}\n".encode())
        with path.open("rb") as file:
            digest.update(file.read(_SAMPLE))
            file.seek(max(0, size - _SAMPLE))
            digest.update(file.read(_SAMPLE))
    return digest.hexdigest()


def items_hash(items: Sequence[BenchmarkItem]) -> str:
    """A hash of all that is asked: ids, pictures by name, questions with the turns before them, marks, choices."""
    digest = hashlib.sha256()
    for item in items:
        marks = [(type(mark).__name__, *mark.bounds()) for mark in item.prompts]
        fault = item.fault != ""
        asked = (item.question_id, item.image_name, item.question, item.truth, marks, item.choices, fault)
        # Only where there is one: items without keep the hash of records that users hold.
        asked_after = (*asked, item.history) if item.history else asked
        digest.update(json.dumps(asked_after).encode())
    return digest.hexdigest()


def read_record(path: Path) -> Record | None:
    """The record of the prediction file `path`, None where there is none, as beside files of others."""
    if not record_of(path).is_file():
        return None
    value = read_json(record_of(path), "record")
    if not isinstance(value, dict):
        raise DataError(f"{record_of(path)}: holds a {type(value).__name__}, not a record.")
    return value


def keep_record(path: Path, record: Record, restart: bool) -> None:
    """Writes the record of the prediction file `path`, or makes sure that the one there says the same.

    `restart` removes what an earlier run left. Raises UsageError that names what differs, and for answers without a
    record: they could be anybody's.
    """
    if restart:
        for old in (*parts_of(path), path, record_of(path)):
            old.unlink(missing_ok=True)
    # In this order: another process writes its record before its first answer.
    taken = path.exists() or bool(parts_of(path))
    before = read_record(path)
    if before is None:
        if taken:
            raise UsageError(
                f"{path}: is there already, without the record that says what it was made from; name another --out, or"
                " give --restart to begin anew."
            )
        write_whole(record_of(path), json.dumps(record, indent=2) + "\n")
        return
    different = [name for name in {**before, **record} if before.get(name) != record.get(name)]
    if different:
        told = "; ".join(f"{name}: {before.get(name)!r}, now {record.get(name)!r}" for name in different)
        raise UsageError(
            f"{path}: its answers were made differently ({told}); name another --out, or give --restart to begin anew."
        )
