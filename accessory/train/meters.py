"""What a run reports while it goes: metrics.jsonl, a progress bar, and the loggers that were asked for."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from tqdm import tqdm

from accessory.train.loggers import Logger
from accessory.train.metrics import MetricsFile, StepMetrics

GIB = 2**30


class Meters:
    """Writes and shows the numbers of steps on the main process (`path` given); silent on the others.

    `first_step` steps were done by an earlier run of the same folder, whose metrics go on. `peak_flops` is what all
    devices together could do per second (`utilization.peak_flops`), None where that is not known.
    """

    def __init__(
        self,
        path: Path | None,
        total_steps: int,
        *,
        first_step: int = 0,
        peak_flops: float | None = None,
        device: torch.device | None = None,
        loggers: Sequence[Logger] = (),
    ) -> None:
        self._peak_flops = peak_flops
        self._device = device or torch.device("cpu")
        self._loggers = loggers
        self._file = None if path is None else MetricsFile(path, first_step)
        # A log file keeps every state of the bar, so it gets one now and then.
        seconds = 0.5 if sys.stderr.isatty() else 10.0
        self._bar: tqdm[Any] | None = (
            None
            if path is None
            else tqdm(total=total_steps, initial=first_step, unit="step", smoothing=0.1, mininterval=seconds)
        )

    def update(self, *steps: StepMetrics) -> None:
        """The numbers of the steps since the last update, in order."""
        if self._file is None or self._bar is None or not steps:
            return
        records = [self._record(step) for step in steps]
        self._file.write(*records)
        for logger in self._loggers:
            for record in records:
                logger.log(record)
        self._bar.set_postfix(self._shown(steps), refresh=False)
        self._bar.update(len(steps))

    def _record(self, step: StepMetrics) -> dict[str, Any]:
        record = step.record()
        utilization = self._utilization([step])
        if utilization is not None:
            record["mfu"] = utilization
        if self._device.type == "cuda":
            record["memory"] = peak_memory(self._device)
        return record

    def _utilization(self, steps: Sequence[StepMetrics]) -> float | None:
        """Model FLOPs per second as a share of what the devices could do (MFU, arXiv 2204.02311, appendix B)."""
        flops = [step.flops for step in steps if step.flops is not None]
        if self._peak_flops is None or len(flops) < len(steps):
            return None
        return sum(flops) / (sum(step.step_time for step in steps) * self._peak_flops)

    def _shown(self, steps: Sequence[StepMetrics]) -> dict[str, str]:
        """What stands in the bar: the last step's loss and rate, the rest over all of `steps`."""
        seconds = sum(step.step_time for step in steps)
        shown = {
            "loss": f"{steps[-1].loss:.3f}",
            "lr": f"{steps[-1].lr:.2g}",
            "tok/s": f"{sum(step.tokens for step in steps) / seconds:.0f}",
            "samples/s": f"{sum(step.samples for step in steps) / seconds:.1f}",
        }
        utilization = self._utilization(steps)
        if utilization is not None:
            shown["mfu"] = f"{utilization:.1%}"
        memory = peak_memory(self._device)
        if memory is not None:
            shown["mem"] = f"{memory / GIB:.1f}G"
        heldout = [step.heldout_loss for step in steps if step.heldout_loss is not None]
        if heldout:
            shown["heldout"] = f"{heldout[-1]:.3f}"
        return shown

    def __enter__(self) -> Meters:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None and self._bar is not None:
            self._bar.close()
            self._file.close()
        for logger in self._loggers:
            logger.close()


def peak_memory(device: torch.device) -> int | None:
    """Bytes at the highest point so far: of the GPU's tensors, or of this process's memory; None where not known."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
