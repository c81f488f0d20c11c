"""Processes that other processes have started, found in Linux's /proc."""

from pathlib import Path

FOUND = Path("/proc/self/environ").exists()
"""Is there such a /proc? Tests that need it skip without."""


def children(parent):
    """The processes that `parent` has started and that have not ended: their ids, with the environment they began
    with."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, owner = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
            if int(owner) != parent or state == "Z":
                continue
            entries = (folder / "environ").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue  # ended meanwhile, or another user's
        found[int(folder.name)] = dict(entry.partition("=")[::2] for entry in entries)
    return found


def descendants(parent):
    """The ids of all processes below `parent`."""
    below = list(children(parent))
    return below + [one for child in below for one in descendants(child)]


def command_of(process):
    """The words that it was started with."""
    return Path(f"/proc/{process}/cmdline").read_bytes().decode(errors="replace").split("\0")
