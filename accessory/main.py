"""Entry of training: `torchrun --nproc_per_node=N -m accessory.main --config FILE.yaml [key.sub=value …]`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Literal

from accessory.config import ParallelOptions, RunOptions, load_options
from accessory.data.dataset import RegionDataset
from accessory.data.sources import BadItems
from accessory.parallel.layout import needs_group
from accessory.runtime.distributed import World, world
from accessory.train.build import build
from accessory.train.trainer import Trainer
from SPHINX_V.errors import ConfigError, SphinxVError
from SPHINX_V.parallel import end_process
from SPHINX_V.processing.processor import Processor
from SPHINX_V.weights.folder import save_folder
from SPHINX_V.weights.publish import check_writable

CHECKPOINT = "checkpoint"
METRICS = "metrics.jsonl"


def launch(options: ParallelOptions) -> AbstractContextManager[World]:
    """The processes of a run, in the grid that its layout needs."""
    replication: Literal["replicate", "shard"] = "replicate" if options.mode == "ddp" else "shard"
    return world(options.tensor, replication, needs_group(options))


def train(options: RunOptions, this: World) -> Path:
    """One run from options to a checkpoint folder; returns its path."""
    output = Path(options.output)
    _prepare(output, this)
    module, model, tokenizer = build(options, this)
    processor = Processor(model.config, tokenizer)
    bad = BadItems()
    dataset = RegionDataset(options.data, processor, options.train.seed, bad)
    trainer = Trainer(options, module, dataset, this)
    trainer.run(output / METRICS)
    state = {name: t.full_tensor() if hasattr(t, "full_tensor") else t for name, t in model.state_dict().items()}
    if this.is_main:
        save_folder(output / CHECKPOINT, state, model.config, tokenizer.serialized, overwrite=True)
        report(options, dataset, bad, output)
    this.barrier()
    return output / CHECKPOINT


def _prepare(output: Path, this: World) -> None:
    """Makes the output folder and finds out before training whether the result can be written to it."""
    try:
        if this.is_main:
            output.mkdir(parents=True, exist_ok=True)
        check_writable(output / CHECKPOINT, overwrite=True)
    except OSError as error:
        raise ConfigError(f"output {output} cannot be written ({error.strerror}); name another folder.") from None
    this.barrier()


def report(options: RunOptions, dataset: RegionDataset, bad: BadItems, output: Path) -> None:
    """What was trained on, what was left out, and where the result lies."""
    print(
        f"trained on {len(dataset)} items of {options.data.config}; {dataset.truncated} cut to data.max_words,"
        f" {dataset.too_long} dropped for having no answer within it"
    )
    if bad.places:
        print(bad.summary())
    print(f"checkpoint: {output / CHECKPOINT}\nmetrics:    {output / METRICS}")


def main(argv: Sequence[str] | None = None) -> int:
    """Command line, by default the process's; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m accessory.main", description=__doc__)
    parser.add_argument("--config", required=True, help="YAML of a run, such as accessory/configs/tiny_stage1.yaml")
    parser.add_argument("overrides", nargs="*", metavar="key.sub=value", help="options that replace those of the file")
    arguments = parser.parse_args(argv)
    try:
        options = load_options(RunOptions, arguments.config, arguments.overrides)
        with launch(options.parallel) as this:
            train(options, this)
    except SphinxVError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    end_process(main())
