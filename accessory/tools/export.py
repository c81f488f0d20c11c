"""A checkpoint from a state of a run, by command, while the run goes on or after it was stopped.

python -m accessory.tools.export RUN --format folder|released [--step S] [--shards N] [--dtype bfloat16] --out DIR
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from accessory.config import ParallelOptions, RunOptions, load_options
from accessory.main import OPTIONS, STATES
from accessory.parallel.layout import DTYPES
from accessory.runtime.distributed import World
from accessory.train.build import build
from accessory.train.export import export_folder, export_released
from accessory.train.gradients import trained_parts
from accessory.train.resume import weights
from accessory.train.states import StateStore
from SPHINX_V.errors import SphinxVError, UsageError


def export(run: Path, out: Path, form: str, step: int | None, shards: int, dtype: torch.dtype | None) -> int:
    """Writes the weights of a run's newest whole state, or of that of `step`, as a checkpoint; returns the step.

    What was frozen is read from where the run started. On the CPU, the model whole in memory. Raises UsageError where
    the run has no state.
    """
    options = load_options(RunOptions, run / OPTIONS)
    options = options.model_copy(update={"output": str(run), "parallel": ParallelOptions()})
    world = World(0, 1, torch.device("cpu"))
    module, model, tokenizer = build(options, world)
    store = StateStore(run / STATES, world, options.save)
    restored = store.load(weights(trained_parts(module.model, world)), step, some=True)
    if restored is None:
        raise UsageError(f"{run / STATES}: no state is saved yet; set save.every, or stop the run with SIGUSR1.")
    if form == "folder":
        export_folder(out, model, world, tokenizer.serialized, dtype=dtype)
    else:
        export_released(out, model, world, tokenizer.serialized, shards=shards, dtype=dtype)
    return restored.step


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m accessory.tools.export", description="Export a state of a run.")
    parser.add_argument("run", type=Path, help="the run's output folder")
    parser.add_argument("--out", type=Path, required=True, help="the folder to be made")
    parser.add_argument("--format", required=True, choices=("folder", "released"))
    parser.add_argument("--step", type=int, help="which state; without, the newest whole one")
    parser.add_argument("--shards", type=int, default=1, help="files of the released layout")
    parser.add_argument("--dtype", choices=sorted(DTYPES), help="convert the weights (default: as they are)")
    asked = parser.parse_args(argv)
    try:
        dtype = DTYPES[asked.dtype] if asked.dtype else None
        step = export(asked.run, asked.out, asked.format, asked.step, asked.shards, dtype)
    except SphinxVError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2
    print(f"{asked.out}: the weights after step {step}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
