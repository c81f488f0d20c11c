"""Writing a folder that appears whole or not at all."""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from SPHINX_V.errors import UsageError


def check_writable(path: Path, overwrite: bool = False) -> None:
    """Raises UsageError where `new_folder` would; asked before long work, so that its result is not lost."""
    if path.exists() and not path.is_dir():
        raise UsageError(f"{path}: is a file; name a folder to write to.")
    if path.is_dir() and any(path.iterdir()):
        if not overwrite:
            raise UsageError(f"{path}: is not empty; name another folder, or allow it to be overwritten.")
        if not (path / "config.json").is_file():
            raise UsageError(f"{path}: is no checkpoint, so it is not overwritten; name another folder.")


@contextmanager
def new_folder(path: Path, overwrite: bool = False) -> Iterator[Path]:
    """Gives a temporary folder beside `path`; renamed to `path` at the end, removed after an error.

    Raises UsageError where `path` is taken: by a file, or by a folder with anything in it and not `overwrite`. Only a
    folder that holds a `config.json`, as all checkpoints do, is ever replaced.
    """
    path = path.absolute()  # "." has no name to put a sibling beside
    check_writable(path, overwrite)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _sibling(path)
    temporary.mkdir()
    try:
        yield temporary
        if path.exists():
            # Two renames: between them the old folder is complete under the name with `.old`.
            old = _sibling(path, "old")
            path.rename(old)
            temporary.rename(path)
            shutil.rmtree(old)
        else:
            temporary.rename(path)
    finally:
        if temporary.exists():
            shutil.rmtree(temporary)


def clear_leftovers(path: Path) -> None:
    """Mends what a killed `new_folder` has left beside `path`: the folder that was replaced gets its name back where
    the new one did not get it, all else is removed. Only where nobody else may be writing `path`. Raises OSError."""
    path = path.absolute()
    name = re.compile(rf"\.{re.escape(path.name)}\.\d+-[0-9a-f]+\.(tmp|old)")
    beside = path.parent.iterdir() if path.parent.is_dir() else ()
    # `.old` sorts before `.tmp`, which may lack any of its files.
    for leftover in sorted((one for one in beside if name.fullmatch(one.name)), key=lambda one: one.suffix):
        if leftover.suffix == ".old" and not path.exists():
            leftover.rename(path)
        else:
            shutil.rmtree(leftover)


def _sibling(path: Path, ending: str = "tmp") -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.{ending}")
