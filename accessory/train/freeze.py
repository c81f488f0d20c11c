"""What is trained and what is frozen, by prefixes of parameter names."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from accessory.config import LoraOptions
from accessory.train.lora import is_adapted
from SPHINX_V.errors import ConfigError
from SPHINX_V.weights.names import PREFIX, to_released


def freeze(model: nn.Module, prefixes: Sequence[str], lora: LoraOptions | None = None) -> list[str]:
    """Freezes every parameter whose name starts with a prefix, and with `lora` the projections that get adapters;
    returns the trained names, ours.

    Prefixes are of our names (`vision`, `llm.layers`) or of those in released files (`clip`, `layers`, `vp_encoder`).
    Raises ConfigError for a prefix that matches nothing, and where nothing is left to train, adapters neither.
    """
    names = [name for name, _ in model.named_parameters()]
    for prefix in prefixes:
        if not any(_matches(name, prefix) for name in names):
            parts = sorted({name.split(".")[0] for name in names})
            raise ConfigError(f"train.freeze: {prefix!r} matches no parameter; parts are {', '.join(parts)}.")
    trained = []
    for name, parameter in model.named_parameters():
        frozen = is_adapted(name, lora) or any(_matches(name, prefix) for prefix in prefixes)
        parameter.requires_grad_(not frozen)
        if parameter.requires_grad:
            trained.append(name)
    if not trained and lora is None:
        raise ConfigError(f"train.freeze: {list(prefixes)} freezes all parameters; leave something to train.")
    return trained


def _matches(name: str, prefix: str) -> bool:
    released = to_released(name).name.removeprefix(PREFIX)
    return any(_starts(one, prefix.removeprefix(PREFIX)) for one in (name, released))


def _starts(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(prefix + ".")
