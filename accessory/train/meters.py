"""What a run reports: one line of metrics.jsonl per step and a progress bar."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from tqdm import tqdm


@dataclass(frozen=True)
class StepMetrics:
    """One optimiser step. `tokens` and `samples` are those of this step over all processes, `step_time` in seconds."""

    step: int
    loss: float
    grad_norm: float
    lr: float
    tokens: int
    samples: int
    step_time: float
    mark_loss: float | None = None
    patch_loss: float | None = None


class Meters:
    """Writes `metrics.jsonl` and shows progress on the main process; silent on the others."""

    def __init__(self, path: Path | None, total_steps: int) -> None:
        self._file = None if path is None else path.open("w", encoding="utf-8")
        # A log file keeps every state of the bar, so it gets one now and then.
        seconds = 0.5 if sys.stderr.isatty() else 10.0
        self._bar: tqdm[Any] | None = (
            None if path is None else tqdm(total=total_steps, unit="step", smoothing=0.1, mininterval=seconds)
        )

    def update(self, metrics: StepMetrics) -> None:
        if self._file is None or self._bar is None:
            return
        record = {key: value for key, value in asdict(metrics).items() if value is not None}
        self._file.write(json.dumps(record) + "\n")
        self._file.flush()
        rate = f"{metrics.samples / metrics.step_time:.0f}"
        self._bar.set_postfix(loss=f"{metrics.loss:.3f}", samples_s=rate, refresh=False)
        self._bar.update()

    def __enter__(self) -> Meters:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None and self._bar is not None:
            self._bar.close()
            self._file.close()
