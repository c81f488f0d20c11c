"""Options that do not go together, told before anything is built."""

from __future__ import annotations

from importlib.util import find_spec

from accessory.config import RunOptions, TrainOptions
from accessory.runtime.distributed import check_grid
from accessory.train.lora import check_lora
from accessory.train.lowbit import check_lowbit
from SPHINX_V.errors import ConfigError
from SPHINX_V.model.sphinx_v import SphinxV


def check_layout(options: RunOptions, processes: int) -> int:
    """The number of data ranks; raises ConfigError for a layout that cannot be."""
    parallel = options.parallel
    check_grid(processes, parallel.tensor)
    data = processes // parallel.tensor
    if options.train.muon_lr is not None and (parallel.tensor > 1 or (parallel.mode != "ddp" and data > 1)):
        raise ConfigError(
            f"train.muon_lr needs whole matrices, which parallel.tensor {parallel.tensor} and parallel.mode"
            f" {parallel.mode} split; use parallel.mode ddp and parallel.tensor 1, or leave train.muon_lr out."
        )
    _check_optimizer(options.train)
    check_lora(options.train.lora)
    check_lowbit(options.train)
    if options.train.packing and parallel.attention == "flash" and find_spec("flash_attn") is None:
        raise ConfigError(
            "parallel.attention is flash, but flash-attn is missing: pip install 'sphinx-v[flash]', or take varlen."
        )
    return data


def _check_optimizer(train: TrainOptions) -> None:
    if train.muon_lr is None:
        return
    for key, given in {"train.lora": train.lora, "train.optimizer adamw8bit": train.optimizer == "adamw8bit"}.items():
        if given:
            raise ConfigError(
                f"{key} does not go together with train.muon_lr, which is for whole models from random weights; leave"
                " one of the two out."
            )


def check_losses(options: RunOptions, model: SphinxV) -> None:
    """Raises ConfigError for an extra loss that this model has no place for."""
    if options.train.mark_loss and model.config.llm.n_layers < 2:
        raise ConfigError("train.mark_loss is taken one layer before the last; this model has one layer: set it to 0.")
