"""What the benchmarks share: ways measured in turn, medians, and a dated record of what ran where."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import torch

from accessory.runtime.origin import checkout

Numbers = dict[str, float]


def in_turn(ways: Mapping[str, Callable[[], Numbers]], repeats: int) -> dict[str, list[Numbers]]:
    """The numbers of every way, `repeats` times; a first round of all warms up and does not count.

    Rounds go through the ways forwards and backwards in turn, so that what slows the machine for a while, or more and
    more, does so for all of them.
    """
    found: dict[str, list[Numbers]] = {name: [] for name in ways}
    for number in range(repeats + 1):
        for name, way in list(ways.items())[:: -1 if number % 2 else 1]:
            numbers = way()
            if number:
                found[name].append(numbers)
    return found


def medians(rounds: Sequence[Numbers], digits: int = 4) -> Numbers:
    """The median over rounds of each of their numbers."""
    return {name: round(statistics.median(numbers[name] for numbers in rounds), digits) for name in rounds[0]}


def ratio(rounds: Sequence[Numbers], base: Sequence[Numbers], name: str) -> Numbers:
    """What `rounds` have of `base` in one number: within each round first, then the median, least and most of those."""
    ratios = [one[name] / other[name] for one, other in zip(rounds, base, strict=True)]
    return {
        "median": round(statistics.median(ratios), 3),
        "least": round(min(ratios), 3),
        "most": round(max(ratios), 3),
    }


def wait(device: torch.device) -> None:
    """Until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def timed(device: torch.device, work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of `work`, with the device's queue empty before and after, and what it returned."""
    wait(device)
    start = time.perf_counter()
    result = work()
    wait(device)
    return time.perf_counter() - start, result


def command_line(name: str, description: str | None, repeats: int) -> argparse.ArgumentParser:
    """The parser of benchmark `name` with what all of them take."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=description)
    parser.add_argument("--repeats", type=int, default=repeats, help="rounds, of which the medians are taken")
    parser.add_argument("--record", type=Path, help="JSON file to write")
    return parser


def begin(parser: argparse.ArgumentParser, options: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """The head of a record, taken before anything is measured: date, machine and code, and the command with its
    defaults; files and folders are left out of it."""
    if options.repeats < 1:
        parser.error(f"--repeats is {options.repeats}; give at least 1.")
    given = {name: value for name, value in vars(options).items() if isinstance(value, (str, int, float))}
    commit, changed = checkout(Path(__file__).resolve())
    return {
        "date": date.today().isoformat(),
        "command": " ".join([parser.prog, *(f"--{name} {value}" for name, value in given.items())]),
        "commit": commit,
        "changed_since": changed,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load_before": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def cpu_name() -> str:
    """The processor's name, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "CPU"


def finish(record: Mapping[str, Any], path: Path | None) -> None:
    """Prints a record, and writes it where asked."""
    text = json.dumps(record, indent=2)
    print(text)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n", encoding="utf-8")
