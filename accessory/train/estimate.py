"""A run's sizes before it starts: parameters, memory per GPU, steps and tokens; what would fail later fails here."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy

from accessory.config import ModelOptions, RunOptions
from accessory.data.dataset import RegionDataset
from accessory.data.sampler import EpochBatches
from accessory.data.sources import BadItems
from accessory.train.build import check_vocabulary, of_preset
from accessory.train.checks import check_layout, check_losses
from accessory.train.freeze import freeze
from accessory.train.heldout import HeldOut, open_held_out
from accessory.train.loggers import check_loggers
from accessory.train.lora import add_adapters
from accessory.train.memory import Memory, MicroBatch, estimate_memory
from accessory.train.meta_model import meta_model
from accessory.train.overlap import check_held_out
from accessory.train.schedule import run_length
from SPHINX_V.errors import ConfigError
from SPHINX_V.model.sphinx_v import SphinxV
from SPHINX_V.parallel import check_divides
from SPHINX_V.processing.processor import IGNORE, Processor
from SPHINX_V.processing.tokenizer import Tokenizer
from SPHINX_V.weights.load import load_tensors, open_model
from SPHINX_V.weights.publish import check_writable
from SPHINX_V.weights.sam import read_sam


@dataclass(frozen=True)
class Part:
    """A part of the model, under the name that train.freeze knows, and its numbers of parameters."""

    name: str
    trained: int
    frozen: int


@dataclass(frozen=True)
class Work:
    """What the data makes of a run. Tokens are those of one epoch, `text_tokens` without padding; `largest` is the
    micro-batch that needs most memory, `visual_length` what a picture takes."""

    items: int
    truncated: int
    too_long: int
    steps_per_epoch: int
    total_steps: int
    step_size: int
    text_tokens: int
    visual_tokens: int
    visual_length: int
    largest: MicroBatch


@dataclass(frozen=True)
class Estimate:
    """All that is known of a run of `processes`; `remarks` are sentences about what is legal but worth a thought."""

    options: RunOptions
    processes: int
    parts: tuple[Part, ...]
    memory: Memory
    work: Work
    heldout_items: int
    remarks: tuple[str, ...]


def estimate(options: RunOptions, processes: int, result: Path) -> Estimate:
    """Opens everything that a run of `processes` would open, and allocates nothing; `result` is the folder that the run
    would write its checkpoint to. Raises every error that the run would end with before its first step."""
    data = check_layout(options, processes)
    check_loggers(options.log)
    check_output(Path(options.output), result)
    model, tokenizer = open_on_meta(options.model)
    check_divides(model.config.llm, options.parallel.tensor, "parallel.tensor")
    freeze(model, options.train.freeze, options.train.lora)
    add_adapters(model, options.train.lora)
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    check_losses(options, model)
    bad = BadItems()
    processor = Processor(model.config, tokenizer)
    dataset = RegionDataset(options.data, processor, options.train.seed, bad)
    heldout = open_held_out(options.data, processor, options.train.batch_size)
    work = count_work(options, dataset, data)
    memory = estimate_memory(model.config, trained, options.train, options.parallel, data, work.largest)
    remarks = [bad.summary()] if bad.places else []
    remarks += _about_heldout(dataset, heldout)
    return Estimate(
        options, processes, count_parts(model), memory, work, len(heldout.items) if heldout else 0, tuple(remarks)
    )


def check_output(output: Path, result: Path) -> None:
    """Raises ConfigError or UsageError where a run could not write to `output` and `result` in it; makes no folder."""
    existing = next((folder for folder in (output, *output.absolute().parents) if folder.exists()), Path())
    if not existing.is_dir():
        raise ConfigError(f"output {output} cannot be written: {existing} is a file; name another folder.")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise ConfigError(
            f"output {output} cannot be written: {existing} allows it to others only; name another folder."
        )
    check_writable(result, overwrite=True)


def open_on_meta(origin: ModelOptions) -> tuple[SphinxV, Tokenizer]:
    """The model that a run would train, without memory, and its tokenizer; files are opened and checked as for it."""
    if origin.checkpoint is None:
        tokenizer, config = of_preset(origin)
        return meta_model(config, ()), tokenizer
    opened = open_model(
        origin.checkpoint, initialise_missing=origin.initialise_missing, tokenizer_file=origin.tokenizer
    )
    tokenizer = Tokenizer(opened.tokenizer_bytes, origin.tokenizer or origin.checkpoint)
    check_vocabulary(tokenizer, opened.config, origin)
    if origin.sam is not None:
        load_tensors(opened.model, read_sam(origin.sam), origin.sam)
    return opened.model, tokenizer


def count_parts(model: SphinxV) -> tuple[Part, ...]:
    """Parameters by part, in the model's order; the tags that enclose views and marks are one part."""
    counts: dict[str, list[int]] = {}
    for name, parameter in model.named_parameters():
        head, *rest = name.split(".")
        part = f"{head}.{rest[0]}" if head in ("llm", "vision") else head if rest else "tags"
        counts.setdefault(part, [0, 0])[0 if parameter.requires_grad else 1] += parameter.numel()
    return tuple(Part(name, *numbers) for name, numbers in counts.items())


def count_work(options: RunOptions, dataset: RegionDataset, data: int) -> Work:
    """Steps and tokens of a run over `data` data ranks, and the largest micro-batch of its first epoch."""
    train = options.train
    step_size = train.batch_size * train.accumulation * data
    epoch = EpochBatches(dataset.lengths, dataset.kinds, step_size, train.seed, 0, options.data.length_pool)
    visual = dataset.processor.config.visual_length
    pictured = dataset.pictured
    rows = epoch.rows.reshape(-1, train.batch_size)  # one micro-batch of one rank each
    whole = dataset.lengths[rows] + visual * pictured[rows]
    # Positions that pass the layers, all rows of a micro-batch together.
    states = whole.sum(axis=1) if train.packing else train.batch_size * whole.max(axis=1)
    largest = rows[int(states.argmax())].tolist()
    return Work(
        items=len(dataset),
        truncated=dataset.truncated,
        too_long=dataset.too_long,
        steps_per_epoch=len(epoch),
        total_steps=run_length(train, len(epoch)),
        step_size=step_size,
        text_tokens=int(dataset.lengths.sum(dtype=numpy.int64)),
        visual_tokens=visual * int(pictured.sum()),
        visual_length=visual,
        largest=MicroBatch(
            len(largest),
            int(dataset.lengths[largest].max()),
            sum(label != IGNORE for index in largest for label in dataset[0, index].labels[1:]),
            bool(pictured[largest[0]]),
            -(-int(states.max()) // train.packing_multiple) * train.packing_multiple if train.packing else None,
        ),
    )


def _about_heldout(dataset: RegionDataset, heldout: HeldOut | None) -> list[str]:
    if heldout is None:
        return []
    sentence = check_held_out(dataset.entries(), list(heldout.dataset.entries(heldout.items)))
    return [] if sentence is None else [sentence]
