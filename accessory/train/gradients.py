"""Gradients after the last backward of a step: what ranks still have to add up, the norm over the mesh, clipping."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from accessory.runtime.distributed import World
from SPHINX_V.weights.local_part import is_distributed, local_tensor


@dataclass(frozen=True)
class Part:
    """A trained parameter with what this process holds of it: `local` shares its memory."""

    name: str
    parameter: nn.Parameter
    local: nn.Parameter
    holders: int  # processes that hold this very part

    def take_gradient(self) -> Tensor | None:
        """Hands the parameter's gradient to `local`, where clipping and the optimiser find it."""
        if is_distributed(self.parameter):
            # At its first forward FSDP moves a part that it has to pad.
            self.local.data = local_tensor(self.parameter.detach())
        gradient = self.parameter.grad
        self.local.grad = None if gradient is None else local_tensor(gradient)
        return self.local.grad


def trained_parts(model: nn.Module, world: World) -> list[Part]:
    """The trained parameters of a model that is laid out and filled.

    Optimisers work on plain tensors, this process's parts: a step then costs no dispatch per DTensor, and an optimiser
    that knows nothing of DTensors works too.
    """
    parts = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            local = parameter if not is_distributed(parameter) else nn.Parameter(local_tensor(parameter.detach()))
            parts.append(Part(name, parameter, local, world.size // _pieces(parameter)))
    return parts


def _pieces(tensor: Tensor) -> int:
    """Into how many different parts a tensor is split."""
    pieces = 1
    if is_distributed(tensor):
        for axis, placement in enumerate(tensor.placements):
            if placement.is_shard() or hasattr(placement, "split_factor"):
                pieces *= tensor.device_mesh.size(axis)
    return pieces


def collect(parts: Iterable[Part], world: World, split_views: bool) -> None:
    """Completes the gradients of a step and hands them to the local parts.

    A parameter that nothing reached gets zeros, on every process: an optimiser passes over None, and a run would depend
    on the number of processes. FSDP has added up over data ranks; the visual encoder's views are split over tensor
    ranks where `split_views`.
    """
    from_views = []
    for part in parts:
        if part.take_gradient() is None:
            part.local.grad = torch.zeros_like(part.local)
        if split_views and part.name.startswith("vision."):
            from_views.append(part.local.grad)
    if from_views and world.tensor_group is not None:
        _sum_together([gradient for gradient in from_views if gradient is not None], world.tensor_group)


def _sum_together(tensors: Sequence[Tensor], group: torch.distributed.ProcessGroup) -> None:
    """Adds up over a group in one exchange."""
    flat = torch.cat([tensor.flatten() for tensor in tensors])
    torch.distributed.all_reduce(flat, group=group)
    for tensor, summed in zip(tensors, flat.split([tensor.numel() for tensor in tensors])):
        tensor.copy_(summed.view_as(tensor))


def gradient_norm(parts: Sequence[Part], world: World) -> Tensor:
    """The 2-norm of all gradients of the whole model, in float32 on the device, the same on every process."""
    gradients = [part.local.grad for part in parts if part.local.grad is not None]
    norms = torch.stack(torch._foreach_norm(gradients)).float()
    if world.size == 1:
        return torch.linalg.vector_norm(norms)
    # A part that several processes hold would count for each of them.
    holders = torch.tensor([float(part.holders) for part in parts if part.local.grad is not None], device=norms.device)
    return world.sum_over_all((norms.square() / holders).sum()).sqrt()


def clip(parts: Sequence[Part], norm: Tensor, limit: float) -> None:
    """Scales all gradients so that their norm is at most `limit`; as `clip_grad_norm_`, without asking the device."""
    gradients = [part.local.grad for part in parts if part.local.grad is not None]
    torch._foreach_mul_(gradients, (limit / (norm + 1e-6)).clamp(max=1.0))


def release(parts: Iterable[Part]) -> None:
    """Drops all gradients."""
    for part in parts:
        part.parameter.grad = None
        part.local.grad = None
