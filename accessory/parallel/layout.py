"""A model on the meta device → its layout over the processes of a run: types, tensor parallel, recompute, FSDP2."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import torch
from torch import nn

from accessory.config import ParallelOptions
from accessory.parallel.recompute import recompute
from accessory.parallel.views import split_views_over
from accessory.runtime.distributed import World
from SPHINX_V.model.convnext import Stage
from SPHINX_V.model.sphinx_v import SphinxV
from SPHINX_V.parallel import check_divides, tensor_parallel

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def needs_group(options: ParallelOptions) -> bool:
    """FSDP does the mixing of types, also for a process that is alone."""
    return options.dtype != "float32"


def prepare(model: SphinxV, options: ParallelOptions, world: World) -> None:
    """Everything that is done to a model with frozen parts before its weights are filled in.

    What is frozen is kept in the type of computation, what is trained in float32.
    """
    dtype = DTYPES[options.dtype]
    for parameter in model.parameters():
        if not parameter.requires_grad:
            parameter.data = parameter.data.to(dtype)
    if world.tensor_size > 1:
        assert world.mesh is not None
        check_divides(model.config.llm, world.tensor_size, "parallel.tensor")
        tensor_parallel(model, world.mesh["tensor"])
        split_views_over(model, world)
    recompute(model, options.recompute)
    if options.compile:
        for layer in model.llm.layers:
            layer.compile(dynamic=True)  # its forward, in place: names of parameters stay


def shard(root: nn.Module, model: SphinxV, options: ParallelOptions, world: World) -> bool:
    """Puts `root`, a module around `model` whose forward is all that training calls, under FSDP2; False where a
    process that computes in float32 alone on its data needs none.

    `ddp`: every data rank holds everything. `sdp`: gradients and optimiser are split over data ranks, weights are whole
    from the first use in a step to its end. `fsdp`: weights too, gathered layer by layer for each use.
    Frozen weights are split by `fsdp` only, and there those of blocks.
    """
    dtype = DTYPES[options.dtype]
    if world.data_size == 1 and dtype == torch.float32:
        return False
    from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard

    assert world.mesh is not None
    # Inputs are cast by the model itself: a cast of everything would round the rotary angles too.
    policy = MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=torch.float32, cast_forward_inputs=False)
    mesh = world.mesh["replicate", "shard"] if options.mode == "ddp" else world.mesh["shard"]
    taken: set[nn.Parameter] = set()
    for unit in [*blocks(model), root]:
        own = [parameter for parameter in unit.parameters() if parameter not in taken]
        whole = options.mode != "fsdp" or unit is root
        # Trained weights of a unit must be of one type, before and after they are gathered; frozen ones may differ.
        chosen = {parameter for parameter in own if parameter.requires_grad or not whole}
        if not chosen and unit is not root:
            continue
        ignored = {parameter for parameter in root.parameters() if parameter not in chosen | taken}
        fully_shard(
            unit,
            mesh=mesh,
            mp_policy=policy,
            reshard_after_forward=options.mode == "fsdp" and unit is not root,
            ignored_params=ignored,
        )
        taken |= set(unit.parameters())  # FSDP puts parameters of its own in the place of those it takes
    for module in root.modules():
        if isinstance(module, FSDPModule):
            # Sums over ranks, not means: the loss is divided by what all of them count already.
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)
    return True


def blocks(model: SphinxV) -> Iterator[nn.Module]:
    """The units that FSDP gathers one by one: layers of the language model, blocks of the towers."""
    vision = model.vision
    for tower in (vision.clip, vision.dinov2, vision.blip2_vit):
        yield from tower.blocks
    for stage in vision.convnext.stages:
        yield from cast(Stage, stage).blocks
    yield from vision.qformer.layers
    yield from model.llm.layers
