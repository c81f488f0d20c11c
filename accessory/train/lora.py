"""LoRA through peft: adapters beside frozen projections of the language model, how they are laid out, and their merge.

An adapter adds `alpha / rank · up(down(x))` to what its projection makes of x; down [rank, in] is drawn, up [out, rank]
starts at zero, so that a run begins with the very model it was given (Hu et al., arXiv 2106.09685).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from accessory.config import LoraOptions
from accessory.runtime.distributed import World
from SPHINX_V.errors import ConfigError
from SPHINX_V.model.init import generator_of
from SPHINX_V.model.sphinx_v import SphinxV
from SPHINX_V.weights.local_part import copy_local, local_tensor
from SPHINX_V.weights.names import split_dimension

_LAYERS = "llm.layers."
_NAME = "default"  # of the one adapter of each projection, among those that peft could hold
_DOWN, _UP, _BASE = f".lora_A.{_NAME}.weight", f".lora_B.{_NAME}.weight", ".base_layer.weight"


class Adapter(NamedTuple):
    """An adapter of the projection whose weight has our name `weight`: names of its two matrices, and its factor."""

    weight: str
    down: str
    up: str
    scale: float


def check_lora(options: LoraOptions | None) -> None:
    """Raises ConfigError, with the line that installs it, where peft is needed and missing."""
    if options is not None and find_spec("peft") is None:
        raise ConfigError(
            "train.lora needs the package peft, which is not installed: pip install 'sphinx-v[lora]', or leave"
            " train.lora out."
        )


def is_adapted(name: str, options: LoraOptions | None) -> bool:
    """Is this, by our names, the weight of a projection that gets an adapter?"""
    return options is not None and name.startswith(_LAYERS) and name.split(".")[-2] in options.targets


def add_adapters(model: SphinxV, options: LoraOptions | None) -> None:
    """Puts the adapters in their places, without memory (on the meta device) and in float32; only they are trained of
    what they stand beside.

    The projections' parameters are renamed by that (`….wq.base_layer.weight`); in the state of the model (`state_dict`)
    they keep our names. Raises ConfigError where peft is missing.
    """
    if options is None:
        return
    check_lora(options)
    from peft import LoraConfig, inject_adapter_in_model

    trained = [parameter for parameter in model.llm.parameters() if parameter.requires_grad]
    config = LoraConfig(
        r=options.rank,
        lora_alpha=options.alpha,
        lora_dropout=0.0,
        target_modules=list(options.targets),
        init_lora_weights=False,
    )
    inject_adapter_in_model(config, model.llm, _NAME, low_cpu_mem_usage=True)
    for parameter in trained:  # peft has frozen all that is no adapter
        parameter.requires_grad_()
    for _, module in _adapted_modules(model):
        module.register_state_dict_post_hook(_use_our_name)


def _use_our_name(module: nn.Module, state: dict[str, Any], prefix: str, metadata: Any) -> None:
    state[f"{prefix}weight"] = state.pop(prefix + _BASE[1:])


def _adapted_modules(model: nn.Module) -> Iterator[tuple[str, Any]]:
    """The projections with an adapter, by their names."""
    return ((name, module) for name, module in model.named_modules() if hasattr(module, "lora_A"))


def adapters(model: nn.Module) -> list[Adapter]:
    """What a model has of them, in its order; the names are those of its state."""
    return [
        Adapter(f"{name}.weight", name + _DOWN, name + _UP, module.scaling[_NAME])
        for name, module in _adapted_modules(model)
    ]


def split_of(name: str) -> int | None:
    """As `split_dimension` for a parameter of a model that may have adapters: of these the matrix is split that stands
    at the split side of its projection."""
    for ending, side in ((_DOWN, 1), (_UP, 0)):
        if name.endswith(ending):
            return side if split_dimension(f"{name.removesuffix(ending)}.weight") == side else None
    return split_dimension(name.replace(_BASE, ".weight"))


def split_adapters(model: SphinxV, world: World) -> None:
    """Lays the adapters out over tensor ranks, where there are several, as their projections are.

    Beside a projection with split outputs `up` is split as it is, and backward adds up the gradient between the two
    matrices; beside one with split inputs `down` is, and forward adds up its result. Both exchange `rank` numbers per
    token.
    """
    if world.tensor_size == 1:
        return
    from torch.distributed.tensor.parallel import ColwiseParallel, ParallelStyle, RowwiseParallel, parallelize_module

    plan: dict[str, ParallelStyle] = {}
    for adapter in adapters(model):
        if split_of(adapter.up) is not None:
            plan[adapter.up.removesuffix(".weight")] = ColwiseParallel()
        else:
            plan[adapter.down.removesuffix(".weight")] = RowwiseParallel()
    assert world.mesh is not None
    if plan:
        parallelize_module(model, world.mesh["tensor"], plan, src_data_rank=None)


def initialise_adapters(model: nn.Module, seed: int) -> None:
    """Values of all adapters of a model that has memory: `down` from (seed, its name), with the deviation that peft
    gives it by default, on every process its own part; `up` zero."""
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for adapter in adapters(model):
            down = parameters[adapter.down]
            device = local_tensor(down).device
            bound = 1 / math.sqrt(down.shape[1])
            whole = torch.empty(down.shape, device=device)
            whole.uniform_(-bound, bound, generator=generator_of(seed, adapter.down, device))
            copy_local(down, whole)
            local_tensor(parameters[adapter.up]).zero_()


def merged(base: Tensor, down: Tensor, up: Tensor, scale: float) -> Tensor:
    """The weight of a projection that does alone what it does with its adapter, in float32."""
    return torch.addmm(base.float(), up.float(), down.float(), alpha=scale)
