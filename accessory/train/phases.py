"""Where the time of a run goes, by phase and by step; on a GPU told by its own clock, and read only when asked for."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, NamedTuple, Protocol

import torch
from torch import nn

PHASES = ("data", "vision", "forward", "backward", "optimiser", "checkpoint", "heldout")
OTHER = "other"
# Work beside the steps: all within it is its own time, and no step's.
ASIDE = frozenset({"checkpoint", "heldout"})


class Clock(Protocol):
    """Moments that cost nothing to take, and the seconds between two of them."""

    def now(self) -> Any: ...

    def seconds(self, first: Any, last: Any) -> float: ...


class HostClock:
    """The host's own clock, for devices that compute while the host waits."""

    def now(self) -> float:
        return time.perf_counter()

    def seconds(self, first: float, last: float) -> float:
        return last - first


class CudaClock:
    """Events in the device's current stream: a moment is when the GPU gets there, which the host need not wait for.

    Time in which the GPU waits for the host counts as well, so a data wait is what the GPU has lost by it.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def now(self) -> torch.cuda.Event:
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self._device))
        return event

    def seconds(self, first: torch.cuda.Event, last: torch.cuda.Event) -> float:
        last.synchronize()
        return first.elapsed_time(last) / 1000


class _Mark(NamedTuple):
    """From this moment on the time is `owner`'s; `step_ends` here."""

    moment: Any
    owner: str
    step_ends: bool


class Phases:
    """Books every moment from the first mark on to one phase, the innermost that is open, or to "other".

    `with phases("forward"): …` in the loop, `phases.step()` at the end of each step, `phases.look()` now and then.
    """

    def __init__(self, device: torch.device, clock: Clock | None = None) -> None:
        self._clock: Clock = clock or (CudaClock(device) if device.type == "cuda" else HostClock())
        self._open: list[str] = []
        self._marks: list[_Mark] = []
        self._of_step = 0.0
        self.steps = 0
        self.seconds = dict.fromkeys((*PHASES, OTHER), 0.0)

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        self._enter(phase)
        try:
            yield
        finally:
            self._leave()

    def watch(self, module: nn.Module, phase: str) -> None:
        """Books every forward of `module`, which need not know of it, to `phase`."""
        module.register_forward_pre_hook(lambda *_: self._enter(phase))
        module.register_forward_hook(lambda *_: self._leave(), always_call=True)

    def step(self) -> None:
        """A step ends here. What was before the first mark belongs to none."""
        self._mark(step_ends=True)

    def look(self) -> list[float]:
        """Seconds of each step that has ended since the last look, without what was done beside the steps.

        Adds to `seconds`. Waits for the device.
        """
        self._mark()
        ended = []
        for start, end in pairwise(self._marks):
            seconds = self._clock.seconds(start.moment, end.moment)
            self.seconds[start.owner] += seconds
            if start.owner not in ASIDE:
                self._of_step += seconds
            if end.step_ends:
                ended.append(self._of_step)
                self._of_step = 0.0
        self._marks = [self._marks[-1]._replace(step_ends=False)]
        self.steps += len(ended)
        return ended

    def table(self) -> str:
        """The times up to the last look: one phase a line, with its share and, for those within steps, its part of a
        step."""
        whole = sum(self.seconds.values())
        lines = [f"{'time by phase':<14}{'seconds':>12}{'share':>9}{'s / step':>11}"]
        for phase, seconds in self.seconds.items():
            if seconds or phase not in ASIDE:
                part = f"{seconds / self.steps:11.4f}" if self.steps and phase not in ASIDE else ""
                lines.append(f"  {phase:<12}{seconds:12.1f}{seconds / whole if whole else 0:9.1%}{part}")
        return "\n".join([*lines, f"  {'all':<12}{whole:12.1f}{1 if whole else 0:9.1%}"])

    def _enter(self, phase: str) -> None:
        assert phase in PHASES, f"{phase} is none of {', '.join(PHASES)}"
        self._open.append(phase)
        self._mark()

    def _leave(self) -> None:
        self._open.pop()
        self._mark()

    def _mark(self, step_ends: bool = False) -> None:
        aside = (phase for phase in self._open if phase in ASIDE)
        owner = next(aside, self._open[-1] if self._open else OTHER)
        self._marks.append(_Mark(self._clock.now(), owner, step_ends))
