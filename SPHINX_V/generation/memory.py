"""How much memory this process may still take: of the machine, and of what a container or a batch system grants it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

# File of the limit, of what is used, and names in memory.stat of what the system takes back from used files on demand.
_NEW = ("memory.max", "memory.current", ("inactive_file", "active_file"))
_OLD = ("memory.limit_in_bytes", "memory.usage_in_bytes", ("total_inactive_file", "total_active_file"))


def memory_left(root: Path = Path("/")) -> int | None:
    """Bytes, at least 0; None where the system does not tell, as Linux does. `root`: where `proc` and `sys` are."""
    lines = _text(root / "proc/meminfo").splitlines()
    machine = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    return max(0, min([*machine, *_of_groups(root)])) if machine else None


def _of_groups(root: Path) -> Iterator[int]:
    """What is left of the limit of each control group that this process is in; groups lie in groups."""
    mounted = root / "sys/fs/cgroup"
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        top = mounted / controllers
        own = top / path.lstrip("/")
        # A container sees its own group at the top, and may be told a path that only its host has.
        for group in (own, *own.parents):
            if group.is_relative_to(top):
                yield from _of_group(group, *(_OLD if controllers else _NEW))


def _of_group(group: Path, limit_file: str, used_file: str, given_back: tuple[str, ...]) -> Iterator[int]:
    limit, used = _text(group / limit_file).strip(), _text(group / used_file).strip()
    if not limit.isdigit() or not used.isdigit():  # "max", or no such group
        return
    stat = dict(line.split(maxsplit=1) for line in _text(group / "memory.stat").splitlines())
    yield int(limit) - int(used) + sum(int(stat.get(name, 0)) for name in given_back)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
