"""TensorBoard and Weights & Biases, asked for by name in the options; neither is needed otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from accessory.config import LogOptions
from SPHINX_V.errors import ConfigError

TENSORBOARD = "tensorboard"  # folder in a run's output
WANDB_ID = "wandb_id.txt"  # file in a run's output


class Logger(Protocol):
    """Takes the records of metrics.jsonl."""

    def log(self, record: Mapping[str, Any]) -> None: ...

    def close(self) -> None: ...


def check_loggers(options: LogOptions) -> None:
    """Raises ConfigError, with the line that installs it, where a package that the options ask for is missing."""
    wanted = {
        "log.tensorboard": ("tensorboard", options.tensorboard),
        "log.wandb": ("wandb", options.wandb is not None),
    }
    for key, (package, asked) in wanted.items():
        if asked and find_spec(package) is None:
            raise ConfigError(
                f"{key} needs the package {package}, which is not installed: pip install 'sphinx-v[{package}]', or"
                f" leave {key} out."
            )


def open_loggers(options: LogOptions, output: Path, first_step: int, config: Mapping[str, Any]) -> list[Logger]:
    """What the options ask for, for the run in folder `output` that starts after `first_step`; `config` is shown with
    it. Raises ConfigError as `check_loggers`."""
    check_loggers(options)
    loggers: list[Logger] = []
    if options.tensorboard:
        loggers.append(TensorBoard(output / TENSORBOARD, first_step))
    if options.wandb is not None:
        loggers.append(WeightsAndBiases(options.wandb, output, config))
    return loggers


class TensorBoard:
    """Event files in a folder, one curve per number; what an earlier run wrote beyond its checkpoint is hidden."""

    def __init__(self, folder: Path, first_step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder), purge_step=first_step + 1 if first_step else None)

    def log(self, record: Mapping[str, Any]) -> None:
        for key, value in record.items():
            if key != "step":
                self._writer.add_scalar(f"train/{key}", value, record["step"])

    def close(self) -> None:
        self._writer.close()


class WeightsAndBiases:
    """A run of a project; a run that goes on from a checkpoint goes on there too, with `step` as its axis."""

    def __init__(self, project: str, output: Path, config: Mapping[str, Any]) -> None:
        import wandb

        note = output / WANDB_ID
        identity = note.read_text(encoding="utf-8").strip() if note.exists() else None
        self._run = wandb.init(
            project=project, name=output.name, id=identity, resume="allow", dir=str(output), config=dict(config)
        )
        note.write_text(self._run.id, encoding="utf-8")
        # wandb's own count of steps cannot go back to where a checkpoint was.
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")

    def log(self, record: Mapping[str, Any]) -> None:
        self._run.log(dict(record))

    def close(self) -> None:
        self._run.finish()
