"""The folder of a run's states: which are committed, how one becomes so, and which are deleted."""

from __future__ import annotations

import re
import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path

from accessory.runtime.durable import sync_folder, write_durably
from SPHINX_V.errors import CheckpointWarning

LATEST = "latest"
_STATE = re.compile(r"step-(\d{8,})")
_LEFTOVER = re.compile(r"(step-\d{8,}|latest)\.tmp")


def to_delete(steps: Sequence[int], keep_last: int, keep_every: int | None) -> list[int]:
    """Those of ascending `steps` that are neither among the `keep_last` newest nor divisible by `keep_every`."""
    return [step for step in steps[:-keep_last] if keep_every is None or step % keep_every]


class StateFolder:
    """States as `step-XXXXXXXX`; one process works on it. All methods raise OSError where the system refuses.

    A state is committed when its folder has its name without an ending: it was whole, and on the disk, before the
    rename that gave it the name. `latest` says the name of the newest to people and tools; nothing here reads it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def state(self, step: int) -> Path:
        """The folder of a committed state."""
        return self.path / f"step-{step:08d}"

    def unfinished(self, step: int) -> Path:
        """The folder that a state is written to, and the name that one gets before it is deleted."""
        return self.path / f"step-{step:08d}.tmp"

    def steps(self) -> list[int]:
        """The committed states, ascending; looked up anew each time."""
        if not self.path.is_dir():
            return []
        matches = [_STATE.fullmatch(entry.name) for entry in self.path.iterdir() if entry.is_dir()]
        steps = [int(match.group(1)) for match in matches if match]
        return sorted(step for step in steps if self.state(step).is_dir())

    def begin(self, step: int) -> Path:
        """Removes what a killed run has left, and makes the folder to write to."""
        self.path.mkdir(parents=True, exist_ok=True)
        for entry in self.path.iterdir():
            if _LEFTOVER.fullmatch(entry.name):
                _remove(entry)
        unfinished = self.unfinished(step)
        unfinished.mkdir()
        return unfinished

    def commit(self, step: int) -> None:
        """Makes the written state count; its files must be synced.

        States of this or a later step are of a course that the run has left, when it went back behind a damaged state
        or was told to; so that no restart takes that course up again, they are renamed to `step-XXXXXXXX.replaced` and
        named in a CheckpointWarning.
        """
        sync_folder(self.unfinished(step))
        for later in (other for other in self.steps() if other >= step):
            self._set_aside(later, step)
        self.unfinished(step).rename(self.state(step))
        sync_folder(self.path)
        write_durably(self.path / LATEST, f"{self.state(step).name}\n".encode())

    def discard(self, step: int) -> None:
        """Removes what was written of a state that is not going to be committed; what stays, `begin` removes."""
        shutil.rmtree(self.unfinished(step), ignore_errors=True)

    def prune(self, keep_last: int, keep_every: int | None) -> None:
        """Deletes the states that need not be kept. Renamed first: a kill in between leaves no state with holes."""
        for step in to_delete(self.steps(), keep_last, keep_every):
            self.state(step).rename(self.unfinished(step))
            sync_folder(self.path)
            _remove(self.unfinished(step))

    def _set_aside(self, step: int, by: int) -> None:
        old = self.state(step)
        number, new = 1, old.with_name(f"{old.name}.replaced")
        while new.exists():
            number += 1
            new = old.with_name(f"{old.name}.replaced-{number}")
        old.rename(new)
        warnings.warn(
            f"{old}: the run has gone back behind this state and now saves step {by}, so it is set aside as"
            f" {new.name}; delete it when it is of no more use.",
            CheckpointWarning,
            stacklevel=2,
        )


def _remove(path: Path) -> None:
    """Of a state that was moved elsewhere and linked, the link goes."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
