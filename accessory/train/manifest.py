"""The list of a saved state's files with their sizes and sha256 sums, by which damage is found and named."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from SPHINX_V.errors import CheckpointError

FILE = "manifest.json"
FORMAT = "sphinx_v_state"
VERSION = 1
_CHUNK = 1 << 20
_SEAL = "seal"


@dataclass(frozen=True)
class FileRecord:
    """What a file must be: its size in bytes and the sha256 of its content, in hex."""

    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """The files of one state beside the manifest itself, by their names in the folder."""

    step: int
    files: dict[str, FileRecord]

    def encode(self) -> bytes:
        """The bytes of the manifest's file: JSON with a seal, the sha256 of all else that it says."""
        files = {name: asdict(record) for name, record in self.files.items()}
        return _sealed({"format": FORMAT, "version": VERSION, "step": self.step, "files": files})


def record_file(path: Path) -> FileRecord:
    """Reads the whole file. Raises OSError."""
    digest = hashlib.sha256()
    size = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return FileRecord(size, digest.hexdigest())


def read_manifest(folder: Path, step: int) -> Manifest:
    """The manifest of the state of `step` in `folder`.

    Raises CheckpointError where it is missing, not byte for byte as it was written, of another step or of a later
    version.
    """
    path = folder / FILE
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise CheckpointError(f"{path}: is missing.") from None
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror}).") from None
    values = _unsealed(raw)
    if values is None:
        raise CheckpointError(f"{path}: is not as it was written; its seal is broken.")
    if values.get("format") != FORMAT or values.get("version") != VERSION:
        raise CheckpointError(
            f"{path}: is {values.get('format')!r} version {values.get('version')!r}; this program reads {FORMAT!r}"
            f" version {VERSION}."
        )
    if values["step"] != step:
        raise CheckpointError(f"{path}: is of step {values['step']}, but lies in the folder of step {step}.")
    files = {name: FileRecord(**record) for name, record in values["files"].items()}
    for name in files:
        if Path(name).name != name or name == "..":
            raise CheckpointError(f"{path}: names {name!r}, which is not a file of this folder.")
    return Manifest(step, files)


def find_damage(folder: Path, name: str, record: FileRecord) -> str | None:
    """What is wrong with a file, named with its path, or None. The size is looked at first; then all bytes are read."""
    path = folder / name
    try:
        size = path.stat().st_size
        if size != record.size:
            return f"{path}: has {size} bytes; {FILE} says {record.size}."
        found = record_file(path)
    except FileNotFoundError:
        return f"{path}: is missing."
    except OSError as error:
        return f"{path}: cannot be read ({error.strerror})."
    if found != record:
        return f"{path}: its bytes have changed: sha256 {found.sha256[:16]}…; {FILE} says {record.sha256[:16]}…"
    return None


def _sealed(values: Mapping[str, Any]) -> bytes:
    seal = hashlib.sha256(_text(values)).hexdigest()
    return _text({**values, _SEAL: seal})


def _unsealed(raw: bytes) -> dict[str, Any] | None:
    """The values without the seal; None where a single byte is not as `_sealed` made it."""
    try:
        values = json.loads(raw)
    except ValueError:
        return None
    if not isinstance(values, dict):
        return None
    values.pop(_SEAL, None)
    return values if _sealed(values) == raw else None


def _text(values: Mapping[str, Any]) -> bytes:
    return (json.dumps(values, indent=1, sort_keys=True) + "\n").encode()
