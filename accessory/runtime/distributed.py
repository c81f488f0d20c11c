"""The process group of a run: set-up from torchrun's environment, and the few sums that training needs."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class World:
    """This process among all: its rank, how many there are, and the device it computes on."""

    rank: int
    size: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def sum(self, value: Tensor) -> Tensor:
        """The sum over all processes, in place."""
        if self.size > 1:
            dist.all_reduce(value)
        return value

    def sum_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Adds up gradients over all processes, as one flat buffer; a parameter without a gradient counts as zero."""
        chosen = list(parameters)
        for parameter in chosen:
            # Also when alone: the optimiser would pass over None, and a run would depend on the number of processes.
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        if self.size == 1:
            return
        flat = torch.cat([p.grad.flatten() for p in chosen if p.grad is not None])
        dist.all_reduce(flat)
        offset = 0
        for parameter in chosen:
            assert parameter.grad is not None
            parameter.grad.copy_(flat[offset : offset + parameter.numel()].view_as(parameter))
            offset += parameter.numel()

    def gather(self, values: Sequence[str]) -> list[str]:
        """The strings of all processes, in the order of ranks, on every process."""
        if self.size == 1:
            return list(values)
        parts: list[list[str]] = [[] for _ in range(self.size)]
        dist.all_gather_object(parts, list(values))
        return [value for part in parts for value in part]

    def barrier(self) -> None:
        if self.size > 1:
            dist.barrier()


@contextmanager
def world() -> Iterator[World]:
    """Joins the group that torchrun's environment describes (gloo on CPU, nccl on GPUs); alone without torchrun."""
    size, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    device = torch.device("cpu")
    if torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    if size > 1:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield World(rank, size, device)
    finally:
        if size > 1:
            dist.destroy_process_group()
