"""Entry of training: `torchrun --nproc_per_node=N -m accessory.main --config FILE.yaml [key.sub=value …]`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from accessory.config import ModelOptions, RunOptions, load_options
from accessory.data.dataset import RegionDataset
from accessory.data.sources import BadItems
from accessory.runtime.distributed import World, world
from accessory.train.trainer import Trainer
from SPHINX_V.config import PRESETS
from SPHINX_V.errors import ConfigError, SphinxVError
from SPHINX_V.model.sphinx_v import SphinxV
from SPHINX_V.processing.processor import Processor
from SPHINX_V.processing.tokenizer import Tokenizer
from SPHINX_V.weights.folder import save_folder
from SPHINX_V.weights.load import build_random, load_model, load_tensors
from SPHINX_V.weights.publish import check_writable
from SPHINX_V.weights.sam import read_sam

CHECKPOINT = "checkpoint"
METRICS = "metrics.jsonl"


def build(options: ModelOptions, seed: int, device: torch.device) -> tuple[SphinxV, Tokenizer]:
    """The model to train, in float32 on `device`, and its tokenizer."""
    if options.checkpoint is not None:
        loaded = load_model(
            options.checkpoint,
            device=device,
            dtype=torch.float32,
            initialise_missing=options.initialise_missing,
            seed=seed,
            tokenizer_file=options.tokenizer,
        )
        tokenizer = Tokenizer(loaded.tokenizer_bytes, options.tokenizer or options.checkpoint)
        if tokenizer.vocab_size > loaded.config.llm.vocab_size:
            raise ConfigError(
                f"the tokenizer {options.tokenizer or options.checkpoint} has {tokenizer.vocab_size} pieces,"
                f" {options.checkpoint} {loaded.config.llm.vocab_size}; give the checkpoint's own model.tokenizer."
            )
        if options.sam is not None:
            load_tensors(loaded.model, read_sam(options.sam), options.sam)
        return loaded.model, tokenizer
    assert options.preset is not None  # ModelOptions has checked both
    assert options.tokenizer is not None
    tokenizer = Tokenizer.from_file(options.tokenizer)
    config = PRESETS[options.preset]()
    config = config.model_copy(update={"llm": config.llm.model_copy(update={"vocab_size": tokenizer.vocab_size})})
    return build_random(config, device=device, dtype=torch.float32, seed=seed), tokenizer


def train(options: RunOptions, this: World) -> Path:
    """One run from options to a checkpoint folder; returns its path."""
    output = Path(options.output)
    _prepare(output, this)
    model, tokenizer = build(options.model, options.train.seed, this.device)
    processor = Processor(model.config, tokenizer)
    bad = BadItems()
    dataset = RegionDataset(options.data, processor, options.train.seed, bad)
    trainer = Trainer(options, model, dataset, this)
    trainer.run(output / METRICS)
    if this.is_main:
        save_folder(output / CHECKPOINT, model.state_dict(), model.config, tokenizer.serialized, overwrite=True)
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
        with world() as this:
            train(options, this)
    except SphinxVError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
