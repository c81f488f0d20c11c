"""Training that is killed again and again at random moments, and what each kill has left.

OMP_NUM_THREADS=1 python -m tests.accessory.train.kills FOLDER [--kills N] [--seed S] [--steps M]

Runs of the preset `tiny` save a state after every step, beside training. They are started by the real entry point, in
children of this process: torch is imported once, and a child has it at once. That is sound as long as this process has
one thread (numpy starts more unless it is told not to), which is looked at before each start; so it does not train
itself.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import time
import traceback
import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch._dynamo  # what every run would import by itself, in half its time

from accessory.config import SaveOptions
from accessory.main import METRICS, STATES, main
from accessory.runtime.distributed import World
from accessory.train.state_folder import LATEST
from accessory.train.state_tensors import stored_tensors
from accessory.train.states import StateStore
from SPHINX_V.errors import CheckpointWarning
from tests.accessory.runs import MIXED, hash_of, hash_of_checkpoint, repeatable, write_data, write_run

LOOK = 0.002  # seconds between looks at a child
FEW = 2  # steps of a process, at most, before it is killed
KEPT = 2  # newest states, as by default


@dataclass(frozen=True)
class Uninterrupted:
    """What every run must come to: hashes of the state after each step and of the checkpoint, lines of metrics.jsonl,
    names in the output. And the seconds that a process takes to its first step, and for a step and its state."""

    states: dict[int, str]
    checkpoint: str
    metrics: list[dict[str, Any]]
    files: list[str]
    start: float
    step: float


def hash_of_state(output: Path, step: int) -> str:
    """Loads the state of `step` as a run does; a warning is an error, for a kill damages nothing."""
    store = open_store(output)
    target = {
        name: torch.empty(info.shape, dtype=info.dtype)
        for name, info in stored_tensors(store.folder.state(step)).items()
    }
    with warnings.catch_warnings():
        warnings.simplefilter("error", CheckpointWarning)
        restored = store.load(target, step=step)
    assert restored is not None
    assert restored.step == step
    return hash_of(target.items())


def open_store(output: Path) -> StateStore:
    return StateStore(output / STATES, World(0, 1, torch.device("cpu")), SaveOptions())


def names(output: Path) -> list[str]:
    return sorted(path.name for path in output.iterdir())


def lines(output: Path) -> int:
    path = output / METRICS
    return path.read_bytes().count(b"\n") if path.exists() else 0


def start(config: Path, output: Path, *overrides: str) -> int:
    """The real entry point in a child of this process, whose id is returned; what it says goes to a file."""
    threads = list(Path("/proc/self/task").iterdir())
    assert len(threads) == 1, f"{len(threads)} threads: a fork would take one of them along, and the locks of all"
    child = os.fork()
    if child:
        return child
    try:
        told = os.open(output.with_suffix(".log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(told, 1)
        os.dup2(told, 2)
        code = main(["--config", str(config), f"output={output}", *overrides])
        sys.stdout.flush()
        os._exit(code)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def running(child: int) -> bool:
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None


def wait(child: int, output: Path) -> bool:
    """Waits for the end of a child; true where it came by itself, false for a kill."""
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, -signal.SIGKILL), f"exit code {code}: {output.with_suffix('.log').read_text()[-3000:]}"
    return code == 0


def uninterrupted(config: Path, output: Path, steps: int) -> Uninterrupted:
    """Trains without a kill, and keeps every state for comparison."""
    begun = time.perf_counter()
    child = start(config, output, "save.keep_every=1")
    while running(child) and lines(output) < 1:
        time.sleep(LOOK)
    first = time.perf_counter()
    assert wait(child, output)
    seconds = (time.perf_counter() - first) / steps
    states = {step: hash_of_state(output, step) for step in range(1, steps)}
    return Uninterrupted(states, hash_of_checkpoint(output), repeatable(output), names(output), first - begun, seconds)


class Killed:
    """One run, started again after each kill until it ends, that is compared with an uninterrupted one."""

    def __init__(self, config: Path, output: Path, expected: Uninterrupted) -> None:
        self.config = config
        self.output = output
        self.expected = expected
        self.newest = 0  # committed, as the last look has found
        self.looked_at: set[int] = set()  # states that were loaded once
        self.unfinished: set[tuple[str, int]] = set()  # names and inodes of states that were not committed
        self.seen: Counter[str] = Counter()

    def go_on(self, after: tuple[int, float] | None) -> bool:
        """A process that is killed `after` so many steps and seconds, or is let live; true where it ended by itself."""
        # The first process of a run also makes the index of annotations.
        child = start(self.config, self.output, f"data.index_dir={self.output}.index")
        if after is not None:
            steps, seconds = after
            self._wait_for_step(child, self.newest + steps)
            time.sleep(seconds)
            os.kill(child, signal.SIGKILL)
        if wait(child, self.output):
            self._look_at_end()
            return True
        self._look()
        return False

    def _wait_for_step(self, child: int, step: int) -> None:
        begun = False
        while running(child):
            # What the process before wrote beyond its last state goes first.
            begun = begun or lines(self.output) <= self.newest
            if begun and lines(self.output) >= step:
                return
            time.sleep(LOOK)

    def _look(self) -> None:
        """Is every committed state whole and what the uninterrupted run had, and is none missing that was there?"""
        folder = open_store(self.output).folder
        steps = folder.steps()
        newest = max(steps, default=0)
        assert newest >= self.newest, f"step {newest} is the newest; {self.newest} was committed before"
        latest = folder.path / LATEST
        if latest.exists():
            told = int(latest.read_text().strip().removeprefix("step-"))
            assert newest >= told, f"step {newest} is the newest; {LATEST} says {told}"
        must = set(range(max(1, newest - KEPT + 1), newest + 1))
        assert must <= set(steps), f"{steps} are there, {sorted(must)} must be"
        for step in {*steps} - self.looked_at | {*steps[-1:]}:
            assert hash_of_state(self.output, step) == self.expected.states[step], f"step {step} is another state"
        self.newest = newest
        self.looked_at |= set(steps)
        self.seen["before a state"] += newest == 0
        unfinished = {(path.name, path.stat().st_ino) for path in folder.path.glob("step-*.tmp")}
        self.seen["state half written"] += bool(unfinished - self.unfinished)
        self.unfinished = unfinished
        self.seen["after the last step"] += lines(self.output) == len(self.expected.metrics)

    def _look_at_end(self) -> None:
        assert hash_of_checkpoint(self.output) == self.expected.checkpoint
        assert repeatable(self.output) == self.expected.metrics
        left = names(self.output)
        assert left == self.expected.files, f"kills have left {left}"


def kill_often(folder: Path, kills: int, seed: int, steps: int) -> dict[str, Any]:
    """Run after run, until there were so many kills and the last run has ended; returns what was seen."""
    torch.set_num_threads(1)
    draw = random.Random(seed)
    config = write_run(
        folder,
        write_data(folder / "data", MIXED),
        preset=True,
        max_steps=steps,
        warmup_epochs=0.5,
        mark_loss=0.5,
        skip_spikes=8.0,
        data={"box_jitter": True},
    )
    with config.open("a", encoding="utf-8") as file:
        file.write("save: {every: 1}\n")
    expected = uninterrupted(config, folder / "uninterrupted", steps)
    shutil.rmtree(folder / "uninterrupted")
    seen: Counter[str] = Counter()
    while seen["kills"] < kills or not seen["runs"]:
        run = Killed(config, folder / f"run-{seen['runs']}", expected)
        ended = False
        while not ended:
            after = None
            if seen["kills"] < kills:
                few = draw.randint(0, FEW)
                after = few, draw.uniform(0, expected.step if few else expected.start)
            ended = run.go_on(after)
            seen["kills"] += not ended
        seen["runs"] += 1
        seen += run.seen
        shutil.rmtree(run.output)
    return dict(seen)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=16, help="of each run")
    arguments = parser.parse_args()
    print(json.dumps(kill_often(arguments.folder, arguments.kills, arguments.seed, arguments.steps)))
