"""The numbers of a step and the file that keeps them, one JSON object a line, whole again after any interruption."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from SPHINX_V.errors import ConfigError


@dataclass(frozen=True)
class StepMetrics:
    """One optimiser step. `tokens` (of text), `samples` and `targets` are those of this step over all processes,
    `step_time` is in seconds; `flops` are the model's, of `utilization.FlopRule`, over all processes. `skipped` says
    that the step changed nothing; `heldout_loss` was measured just after it."""

    step: int
    loss: float
    grad_norm: float
    lr: float
    tokens: int
    samples: int
    step_time: float
    mark_loss: float | None = None
    patch_loss: float | None = None
    targets: int | None = None
    flops: float | None = None
    skipped: bool | None = None
    heldout_loss: float | None = None

    def record(self) -> dict[str, Any]:
        """What was measured, under the names of metrics.jsonl; model FLOPs count in utilisation only."""
        return {key: value for key, value in asdict(self).items() if value is not None and key != "flops"}


class MetricsFile:
    """metrics.jsonl of a run that starts after `first_step`: 0 begins anew, more goes on with what was written.

    A number that is not finite is null, as JSON has no word for it. Raises ConfigError for a file that is no
    metrics.jsonl.
    """

    def __init__(self, path: Path, first_step: int = 0) -> None:
        last = cut_back(path, first_step) if first_step and path.exists() else 0
        if last < first_step:
            warnings.warn(
                f"{path}: ends at step {last}, and the run goes on after step {first_step}; what lies between was not"
                " written.",
                stacklevel=2,
            )
        self._file = path.open("a" if first_step else "w", encoding="utf-8")

    def write(self, *records: Mapping[str, Any]) -> None:
        """Appends lines and hands them to the system."""
        self._file.writelines(json.dumps(_finite(record), allow_nan=False) + "\n" for record in records)
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def cut_back(path: Path, step: int) -> int:
    """Leaves the lines of steps 1 … `step` of a metrics file, in place; returns the last step that is left, or 0.

    A last line without its end, as a killed process leaves, goes too. Raises ConfigError for any other line that is
    none of a step, with the file unchanged.
    """
    last = 0
    with path.open("r+b") as file:
        kept = 0
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                break
            found = _step_of(line)
            if found is None:
                raise ConfigError(
                    f"{path}, line {number}: is not the JSON of a step ({line[:40]!r}); move the file away, and the"
                    " run begins a new one."
                )
            if found > step:
                break
            last = found
            kept += len(line)
        file.truncate(kept)
    return last


def _step_of(line: bytes) -> int | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    step = record.get("step") if isinstance(record, dict) else None
    return step if isinstance(step, int) else None


def _finite(record: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in record.items()
    }
