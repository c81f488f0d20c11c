"""The visual encoder over tensor ranks: each encodes its share of the views, then all have all tokens."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from accessory.runtime.distributed import World
from SPHINX_V.model.sphinx_v import SphinxV


class _Gathered(torch.autograd.Function):
    """Joins equal parts of all tensor ranks along the first dimension.

    What follows is computed alike on all ranks, so each already has the whole gradient: backward takes its own part
    and sends nothing.
    """

    @staticmethod
    def forward(ctx: Any, part: Tensor, world: World) -> Tensor:
        ctx.rank, ctx.length = world.tensor_rank, part.shape[0]
        parts = [torch.empty_like(part) for _ in range(world.tensor_size)]
        torch.distributed.all_gather(parts, part.contiguous(), group=world.tensor_group)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0].narrow(0, ctx.rank * ctx.length, ctx.length), None


def split_views_over(model: SphinxV, world: World) -> None:
    """Makes `model.vision` encode one part of its views per tensor rank, from outside, by hooks.

    Gradients of its parameters are then those of this rank's views: add them up over tensor ranks
    (`accessory.train.gradients`).
    """
    count = 0

    def take(module: torch.nn.Module, arguments: tuple[Tensor, ...]) -> tuple[Tensor]:
        nonlocal count
        views = arguments[0]
        count = views.shape[0]
        length = -(-count // world.tensor_size)
        # The last rank may have fewer; all parts are of one length, filled up with views whose tokens are dropped.
        chosen = torch.arange(world.tensor_rank * length, (world.tensor_rank + 1) * length, device=views.device)
        return (views[chosen.clamp_max(count - 1)],)

    def join(module: torch.nn.Module, arguments: Any, tokens: tuple[Tensor, Tensor]) -> tuple[Tensor, ...]:
        return tuple(_Gathered.apply(part, world)[:count] for part in tokens)

    model.vision.register_forward_pre_hook(take)
    model.vision.register_forward_hook(join)
