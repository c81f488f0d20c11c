"""Makes a folder appear all at once: it is filled under another name and renamed when complete."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from SPHINX_V.errors import UsageError


@contextmanager
def filled_aside(out: Path, may_replace: Callable[[Path], bool]) -> Iterator[Path]:
    """Yield an empty folder beside `out` that becomes `out` when the block ends without an error.

    A non-empty `out` is replaced where `may_replace(out)`; otherwise UsageError is raised, before any work is done.
    After an error in the block `out` is as it was.
    """
    out = out.absolute()  # "." has no name to put a folder beside
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file: name a folder to write the data set into")
    if out.is_dir() and any(out.iterdir()) and not may_replace(out):
        raise UsageError(
            f"{out} is not empty and holds other things than a data set of this generator: name another folder"
        )
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    except OSError as error:
        raise UsageError(f"{out}: cannot be written ({error.strerror}); name another folder") from None
    try:
        fresh, old = work / "new", work / "old"
        fresh.mkdir()
        yield fresh
        if out.exists():
            out.rename(old)
        try:
            fresh.rename(out)
        except OSError:
            if old.exists():
                old.rename(out)
            raise
    finally:
        shutil.rmtree(work)
