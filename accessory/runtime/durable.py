"""Files that outlive a loss of power: written, synced, renamed, and the folder's own entry synced too."""

from __future__ import annotations

import errno
import os
from pathlib import Path


def sync_file(path: Path) -> None:
    """Returns once the file's bytes are on the disk. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(path: Path) -> None:
    """Returns once the names in the folder are on the disk: those made, renamed and removed. Raises OSError."""
    try:
        sync_file(path)
    except OSError as error:
        # Some network file systems know no fsync of a folder; there a rename lasts once the server has answered.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise


def write_durably(path: Path, data: bytes) -> None:
    """Writes a file that is at all times as before or as asked, by way of `NAME.tmp` beside it. Raises OSError."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_bytes(data)
    sync_file(temporary)
    temporary.replace(path)
    sync_folder(path.parent)
