"""Where a state or a record comes from: versions, the commit of the code, and the number of hosts."""

from __future__ import annotations

import platform
import socket
import subprocess
from pathlib import Path
from typing import Any

import torch

from accessory.runtime.distributed import World
from SPHINX_V import __version__


def origin(world: World) -> dict[str, Any]:
    """JSON values, equal on all processes, which all call it.

    `commit` and `dirty` (were tracked files changed?) are those of the first process's code, None outside a git
    checkout; `cuda` is the version that torch was built for, None for a build without.
    """
    commit, dirty = checkout(Path(__file__).resolve()) if world.is_main else (None, None)
    return {
        "sphinx_v": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "cuda": torch.version.cuda,
        **_of_the_first(world, commit, dirty),
        "hosts": len(set(world.gather([socket.gethostname()]))),
        "processes": world.size,
    }


def _of_the_first(world: World, commit: str | None, dirty: bool | None) -> dict[str, Any]:
    said = world.gather([commit, "dirty" if dirty else "clean"] if commit is not None else [])
    if not said:
        return {"commit": None, "dirty": None}
    return {"commit": said[0], "dirty": said[1] == "dirty"}


def checkout(file: Path) -> tuple[str | None, bool | None]:
    """The commit that `file` belongs to, and whether tracked files were changed since; None where git does not know it.

    A package that is installed below somebody's checkout is no part of it, hence the question after one file.
    """
    known = _git(file.parent, "ls-files", "--error-unmatch", file.name)
    commit = _git(file.parent, "rev-parse", "HEAD")
    changes = _git(file.parent, "status", "--porcelain", "--untracked-files=no")
    if known is None or commit is None or changes is None:
        return None, None
    return commit, bool(changes)


def _git(folder: Path, *arguments: str) -> str | None:
    """What git says, None where there is no git or it refuses."""
    command = ["git", "--no-optional-locks", *arguments]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
