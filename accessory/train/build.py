"""From options to a model that is laid out over the processes, filled with its weights, and ready to be trained."""

from __future__ import annotations

from typing import NamedTuple

import torch

from accessory.config import ModelOptions, RunOptions
from accessory.parallel.layout import prepare, shard
from accessory.runtime.distributed import World
from accessory.train.freeze import freeze
from accessory.train.lora import add_adapters, initialise_adapters, split_adapters
from accessory.train.step import LossModule
from SPHINX_V.config import PRESETS, SphinxVConfig
from SPHINX_V.errors import ConfigError
from SPHINX_V.model.sphinx_v import SphinxV
from SPHINX_V.processing.tokenizer import Tokenizer
from SPHINX_V.weights.load import build_random, load_model, load_tensors
from SPHINX_V.weights.sam import read_sam


class Built(NamedTuple):
    """A model inside the module that training calls, and its tokenizer."""

    module: LossModule
    model: SphinxV
    tokenizer: Tokenizer


def build(options: RunOptions, world: World) -> Built:
    """The model of a run. Every process holds its own part only, from the beginning: the layout is made on the meta
    device and then filled."""
    modules: list[LossModule] = []

    def lay_out(model: SphinxV) -> None:
        freeze(model, options.train.freeze, options.train.lora)
        add_adapters(model, options.train.lora)
        prepare(model, options.parallel, world)
        split_adapters(model, world)
        module = LossModule(model, options.train)
        shard(module, model, options.parallel, world)
        modules.append(module)

    origin, seed = options.model, options.train.seed
    if origin.checkpoint is not None:
        loaded = load_model(
            origin.checkpoint,
            device=world.device,
            dtype=torch.float32,
            parallelize=lay_out,
            initialise_missing=origin.initialise_missing,
            seed=seed,
            tokenizer_file=origin.tokenizer,
        )
        tokenizer = Tokenizer(loaded.tokenizer_bytes, origin.tokenizer or origin.checkpoint)
        check_vocabulary(tokenizer, loaded.config, origin)
        if origin.sam is not None:
            load_tensors(loaded.model, read_sam(origin.sam), origin.sam)
        initialise_adapters(loaded.model, seed)
        return Built(modules[0], loaded.model, tokenizer)
    tokenizer, config = of_preset(origin)
    model = build_random(config, device=world.device, dtype=torch.float32, parallelize=lay_out, seed=seed)
    initialise_adapters(model, seed)
    return Built(modules[0], model, tokenizer)


def of_preset(origin: ModelOptions) -> tuple[Tokenizer, SphinxVConfig]:
    """The tokenizer that a preset is given, and the preset's sizes with that tokenizer's vocabulary."""
    assert origin.preset is not None  # ModelOptions has checked both
    assert origin.tokenizer is not None
    tokenizer = Tokenizer.from_file(origin.tokenizer)
    config = PRESETS[origin.preset]()
    return tokenizer, config.model_copy(
        update={"llm": config.llm.model_copy(update={"vocab_size": tokenizer.vocab_size})}
    )


def check_vocabulary(tokenizer: Tokenizer, config: SphinxVConfig, origin: ModelOptions) -> None:
    """Raises ConfigError for a tokenizer with pieces that the checkpoint has no embeddings for."""
    if tokenizer.vocab_size > config.llm.vocab_size:
        raise ConfigError(
            f"the tokenizer {origin.tokenizer or origin.checkpoint} has {tokenizer.vocab_size} pieces,"
            f" {origin.checkpoint} {config.llm.vocab_size}; give the checkpoint's own model.tokenizer."
        )
