"""Run by test_state_kills: saves states in processes that are killed, and looks at what each has left.

python tests/accessory/train/killed_savers.py FOLDER (gate | points | random) SEED KILLS
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from accessory.config import SaveOptions
from accessory.runtime.distributed import World
from accessory.train.states import StateStore
from SPHINX_V.errors import CheckpointWarning

SAVES = 2
"""States that a process saves before it ends by itself."""
OPTIONS = SaveOptions(keep_last=2, keep_every=30)
CHANGES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree")


def open_store(folder: Path) -> StateStore:
    return StateStore(folder, World(0, 1, torch.device("cpu")), OPTIONS)


def filled(step: int) -> dict[str, torch.Tensor]:
    return {"weight": torch.full((60_000,), float(step)), "count": torch.tensor(step)}


def load(folder: Path, step: int | None = None) -> tuple[int, StateStore]:
    """The newest step, 0 without any, or `step`. Raises where a state is not what was saved."""
    store = open_store(folder)
    target = filled(-1)
    with warnings.catch_warnings():
        warnings.simplefilter("error", CheckpointWarning)  # a kill damages nothing
        restored = store.load(target, step=step)
    if restored is None:
        return 0, store
    assert restored.extra == {"position": restored.step}
    for name, tensor in filled(restored.step).items():
        assert torch.equal(target[name], tensor), name
    return restored.step, store


def save_some(folder: Path, tell: Callable[[int], None]) -> None:
    """Goes on from the newest state; calls `tell` with each step that is committed."""
    last, store = load(folder)
    for step in range(last + 1, last + 1 + SAVES):
        store.save(step, filled(step), {"position": step})
        if step > last + 1:
            tell(step - 1)
    store.finish()
    tell(last + SAVES)


def in_child(folder: Path, prepare: Callable[[], None], meanwhile: Callable[[int], None]) -> tuple[int, int]:
    """`save_some` in a process of its own; returns the last step that it told, 0 without any, and how it ended."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reading)
            prepare()
            save_some(folder, lambda step: void(os.write(writing, f"{step}\n".encode())))
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    os.close(writing)
    meanwhile(child)
    _, status = os.waitpid(child, 0)
    with os.fdopen(reading) as told:
        steps = [int(line) for line in told]
    return max(steps, default=0), os.waitstatus_to_exitcode(status)


def void(_: Any) -> None:
    pass


def on_change(folder: Path, act: Callable[[str], None]) -> None:
    """From now on `act` runs before each change in the folder, and before each file there is opened to be synced."""

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        writes = event in CHANGES or (event == "open" and (arguments[1] is None or "w" in arguments[1]))
        if writes and str(arguments[0]).startswith(str(folder)):
            act(str(arguments[0]))

    sys.addaudithook(hook)


def kill_at(folder: Path, point: int) -> None:
    left = [point]

    def count(_: str) -> None:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    on_change(folder, count)


def look(folder: Path, told: int, before: int) -> int:
    """The newest state after a kill, never older than what was told or there before; and all that must be kept."""
    newest, store = load(folder)
    assert newest >= max(told, before), f"{newest} is loaded, {told} was told, {before} was there before"
    steps = store.folder.steps()
    must = {newest - 1, newest, *range(30, newest, 30)} - {0, -1}
    assert must <= set(steps), f"{steps} are there, {sorted(must)} must be"
    for step in steps:
        load(folder, step)
    return newest


def at_every_point(folder: Path) -> dict[str, Any]:
    """A kill before the first change to the folder, then before the second, … until a process lives through."""
    newest, point, code = 0, 0, -signal.SIGKILL
    while code == -signal.SIGKILL:
        point += 1
        told, code = in_child(folder, lambda point=point: kill_at(folder, point), void)
        newest = look(folder, told, newest)
    assert code == 0, f"a process failed at point {point}"
    return {"kills": point - 1, "newest": newest}


def at_random(folder: Path, seed: int, kills: int) -> dict[str, Any]:
    """Kills at times drawn from the time that a process takes."""
    draw = random.Random(seed)
    start = time.perf_counter()
    newest, code = in_child(folder, lambda: None, void)
    assert code == 0
    longest = time.perf_counter() - start
    killed = 0

    def end(child: int) -> None:
        time.sleep(draw.uniform(0, longest))
        os.kill(child, signal.SIGKILL)

    for _ in range(kills):
        told, code = in_child(folder, lambda: None, end)
        assert code in (0, -signal.SIGKILL)
        killed += code != 0
        newest = look(folder, told, newest)
    return {"kills": killed, "newest": newest}


def gate(folder: Path) -> dict[str, Any]:
    """Is the call back, with training free to change everything, before the state is written?"""
    opened = threading.Event()

    def wait(path: str) -> None:
        if path.endswith("manifest.json"):
            opened.wait()

    on_change(folder, wait)
    store = open_store(folder)
    tensors = filled(1)
    store.save(1, tensors, {"position": 1})
    committed = (folder / "step-00000001").exists()
    for tensor in tensors.values():
        tensor.zero_()
    opened.set()
    store.finish()
    return {"committed at return": committed, "newest": load(folder)[0]}


def main(folder: Path, mode: str, seed: int, kills: int) -> None:
    torch.set_num_threads(1)
    runs = {
        "gate": lambda: gate(folder),
        "points": lambda: at_every_point(folder),
        "random": lambda: at_random(folder, seed, kills),
    }
    print(json.dumps(runs[mode]()))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
