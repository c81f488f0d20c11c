"""Entry of training: `torchrun --nproc_per_node=N -m accessory.main --config FILE.yaml [key.sub=value …]`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Literal

import yaml

from accessory.config import ParallelOptions, RunOptions, load_options
from accessory.data.dataset import RegionDataset
from accessory.data.sources import BadItems
from accessory.parallel.layout import DTYPES, needs_group
from accessory.runtime.distributed import World, world
from accessory.runtime.signals import STOPPED, StopRequest
from accessory.train.build import build
from accessory.train.checks import check_layout
from accessory.train.dry_run import dry_run
from accessory.train.export import check_released, export_folder, export_released
from accessory.train.heldout import HeldOut, open_held_out
from accessory.train.loggers import open_loggers
from accessory.train.meters import Meters
from accessory.train.overlap import check_held_out
from accessory.train.states import StateStore
from accessory.train.trainer import Trainer
from accessory.train.utilization import peak_flops
from SPHINX_V.errors import ConfigError, SphinxVError
from SPHINX_V.model.sphinx_v import SphinxV
from SPHINX_V.parallel import end_process
from SPHINX_V.processing.processor import Processor
from SPHINX_V.processing.tokenizer import Tokenizer
from SPHINX_V.weights.publish import check_writable, clear_leftovers

CHECKPOINT = "checkpoint"
METRICS = "metrics.jsonl"
RELEASED = "released"
STATES = "states"
OPTIONS = "run.yaml"
BAD_ITEMS = "bad_items.jsonl"


def launch(options: ParallelOptions) -> AbstractContextManager[World]:
    """The processes of a run, in the grid that its layout needs."""
    replication: Literal["replicate", "shard"] = "replicate" if options.mode == "ddp" else "shard"
    return world(options.tensor, replication, needs_group(options))


def train(options: RunOptions, this: World) -> Path | None:
    """One run from options to a checkpoint folder, whose path it returns; None where it was asked to stop, and has
    saved its state. A run whose folder holds states goes on from the newest."""
    output = Path(options.output)
    check_layout(options, this.size)
    _prepare(output, this)
    module, model, tokenizer = build(options, this)
    if options.save.released_shards is not None:
        check_released(model, options.save.released_shards)
    processor = Processor(model.config, tokenizer)
    bad = BadItems(output / BAD_ITEMS)
    dataset = RegionDataset(options.data, processor, options.train.seed, bad, this.is_main, this.barrier)
    heldout = open_held_out(options.data, processor, options.train.batch_size, this)
    if heldout is not None:
        _compare(dataset, heldout, this)
    trainer = Trainer(options, module, dataset, this, StateStore(output / STATES, this, options.save), heldout)
    with StopRequest() as stop:
        first = trainer.resume()
        if this.is_main:
            written = yaml.safe_dump(options.model_dump(mode="json"), sort_keys=False)
            (output / OPTIONS).write_text(written, encoding="utf-8")
        if first and this.is_main:
            print(f"going on after step {first} of {trainer.total_steps}, from {output / STATES}")
        try:
            with _meters(options, trainer, first, this) as meters:
                finished = trainer.run(meters, stop)
            trainer.gather_bad()
        finally:
            if this.is_main and bad.places:
                bad.write()  # those that were met on the way too, also of a run that fails
        if not finished:
            if this.is_main:
                print(
                    f"{stop.signal or 'another process was asked'}: stopped, with the state saved in {output / STATES}"
                )
            return None
        _export(options, model, tokenizer, this)
    if this.is_main:
        report(options, trainer, bad, output)
    this.barrier()
    return output / CHECKPOINT


def _prepare(output: Path, this: World) -> None:
    """Makes the output folder and finds out before training whether the result can be written to it."""
    try:
        if this.is_main:
            output.mkdir(parents=True, exist_ok=True)
            clear_leftovers(output / CHECKPOINT)  # of a run that was killed while it wrote its checkpoint
        check_writable(output / CHECKPOINT, overwrite=True)
    except OSError as error:
        raise ConfigError(f"output {output} cannot be written ({error.strerror}); name another folder.") from None
    this.barrier()


def _export(options: RunOptions, model: SphinxV, tokenizer: Tokenizer, this: World) -> None:
    output, dtype = Path(options.output), DTYPES[options.save.dtype] if options.save.dtype else None
    export_folder(output / CHECKPOINT, model, this, tokenizer.serialized, dtype=dtype, overwrite=True)
    if options.save.released_shards is not None:
        shards = options.save.released_shards
        export_released(
            output / RELEASED, model, this, tokenizer.serialized, shards=shards, dtype=dtype, overwrite=True
        )


def _compare(dataset: RegionDataset, heldout: HeldOut, this: World) -> None:
    if this.is_main:
        remark = check_held_out(dataset.entries(), list(heldout.dataset.entries(heldout.items)))
        if remark:
            print(remark)
    this.barrier()


def _meters(options: RunOptions, trainer: Trainer, first: int, this: World) -> Meters:
    output = Path(options.output)
    config = options.model_dump(mode="json")
    return Meters(
        output / METRICS if this.is_main else None,
        trainer.total_steps,
        first_step=first,
        peak_flops=peak_flops(this.device, options.parallel.dtype, this.size),
        device=this.device,
        loggers=open_loggers(options.log, output, first, config) if this.is_main else [],
    )


def report(options: RunOptions, trainer: Trainer, bad: BadItems, output: Path) -> None:
    """What was trained on, what was left out, where the time went, and where the result lies."""
    dataset = trainer.dataset
    print(
        f"trained on {len(dataset)} items of {options.data.config}; {dataset.truncated} cut to data.max_words,"
        f" {dataset.too_long} dropped for having no answer within it"
    )
    if bad.places:
        print(bad.summary())
    if trainer.skipped:
        print(f"{trainer.skipped} steps were skipped: a number that is not finite, or a spike of the gradient norm")
    print(trainer.phases.table())
    print(f"checkpoint: {output / CHECKPOINT}\nmetrics:    {output / METRICS}")


def main(argv: Sequence[str] | None = None) -> int:
    """Command line, by default the process's; returns the exit code: 0, 2 for an error of the user's, 75 for a run that
    was stopped and can be started again."""
    parser = argparse.ArgumentParser(prog="python -m accessory.main", description=__doc__)
    parser.add_argument("--config", required=True, help="YAML of a run, such as accessory/configs/tiny_stage1.yaml")
    parser.add_argument(
        "--dry_run", action="store_true", help="print parameters, memory per GPU, steps and tokens, and train nothing"
    )
    parser.add_argument("--processes", type=int, default=1, help="with --dry_run: how many the run would have")
    parser.add_argument("overrides", nargs="*", metavar="key.sub=value", help="options that replace those of the file")
    arguments = parser.parse_args(argv)
    try:
        options = load_options(RunOptions, arguments.config, arguments.overrides)
        if arguments.dry_run:
            print(dry_run(options, arguments.processes, Path(options.output) / CHECKPOINT))
            return 0
        with launch(options.parallel) as this:
            return 0 if train(options, this) is not None else STOPPED
    except SphinxVError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    end_process(main())
