"""The processes of a run as a grid data × tensor: set-up from torchrun's environment, and the exchanges that training
needs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from SPHINX_V.errors import ConfigError

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup
    from torch.distributed.device_mesh import DeviceMesh

# The others wait while one process looks at all annotations for the first time, which takes an hour for 20 million.
_TIMEOUT = timedelta(hours=4)

Replication = Literal["replicate", "shard"]


@dataclass(frozen=True)
class World:
    """This process among all, and the device that it computes on.

    Processes with one `data_rank` train on the same items and share one copy of the language model (`tensor_size` of
    them); rank = data_rank · tensor_size + tensor_rank. `mesh` has the dimensions replicate × shard × tensor, of which
    one of the first two is 1; None where a process is alone and has no group.
    """

    rank: int
    size: int
    device: torch.device
    tensor_size: int = 1
    mesh: DeviceMesh | None = None

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    @property
    def data_size(self) -> int:
        return self.size // self.tensor_size

    @property
    def data_rank(self) -> int:
        return self.rank // self.tensor_size

    @property
    def tensor_rank(self) -> int:
        return self.rank % self.tensor_size

    @property
    def data_group(self) -> ProcessGroup | None:
        """The processes with this one's part of the language model; None where there is no other."""
        if self.mesh is None or self.data_size == 1:
            return None
        return self.mesh.get_group("replicate" if self.mesh["replicate"].size() > 1 else "shard")

    @property
    def tensor_group(self) -> ProcessGroup | None:
        """The processes that train on this one's items; None where there is no other."""
        return None if self.mesh is None or self.tensor_size == 1 else self.mesh.get_group("tensor")

    def sum(self, value: Tensor) -> Tensor:
        """The sum over data ranks, in place; every tensor rank has the same."""
        if self.data_group is not None:
            torch.distributed.all_reduce(value, group=self.data_group)
        return value

    def sum_over_all(self, value: Tensor) -> Tensor:
        """The sum over all processes, in place."""
        if self.size > 1:
            torch.distributed.all_reduce(value)
        return value

    def any(self, flag: bool) -> bool:
        """Is it true on any process? A synchronisation of all of them."""
        if self.size == 1:
            return flag
        return bool(self.sum_over_all(torch.tensor(float(flag), device=self.device)).item())

    def gather(self, values: Sequence[str]) -> list[str]:
        """The strings of all processes, in the order of ranks, on every process."""
        if self.size == 1:
            return list(values)
        parts: list[list[str]] = [[] for _ in range(self.size)]
        torch.distributed.all_gather_object(parts, list(values))
        return [value for part in parts for value in part]

    def barrier(self) -> None:
        if self.size > 1:
            torch.distributed.barrier()


@contextmanager
def world(tensor: int = 1, replication: Replication = "replicate", need_group: bool = False) -> Iterator[World]:
    """Joins the group that torchrun's environment describes (gloo on CPU, nccl beside it on GPUs); alone without.

    `tensor` processes share one language model; the data ranks are laid out for replicas or for shards (`mesh`). A
    lone process gets a group of itself only where `need_group` says so. Raises ConfigError where `tensor` does not
    divide the number of processes.
    """
    size, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    check_grid(size, tensor)
    device = torch.device("cpu")
    if torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    if size == 1 and not need_group:
        yield World(rank, size, device)
        return
    from torch import distributed

    from accessory.runtime.rendezvous import meeting_point

    owned = not distributed.is_initialized()
    if owned:
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
        if size > 1:
            store = meeting_point(_TIMEOUT)
            distributed.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=_TIMEOUT)
        else:
            distributed.init_process_group(backend, store=distributed.HashStore(), rank=0, world_size=1)
    data = size // tensor
    grid = (data, 1, tensor) if replication == "replicate" else (1, data, tensor)
    mesh = distributed.init_device_mesh(device.type, grid, mesh_dim_names=("replicate", "shard", "tensor"))
    try:
        yield World(rank, size, device, tensor, mesh)
    finally:
        # Of several processes the group outlives this: DTensor keeps it for good (see SPHINX_V.parallel.end_process).
        if owned and size == 1:
            distributed.destroy_process_group()


def check_grid(size: int, tensor: int) -> None:
    """Raises ConfigError where groups of `tensor` processes do not fill a world of `size`."""
    if size % tensor:
        raise ConfigError(
            f"parallel.tensor is {tensor}, which does not divide the {size} process{'es' if size > 1 else ''} that run;"
            f" start a multiple of {tensor} with torchrun --nproc_per_node, or change parallel.tensor."
        )
