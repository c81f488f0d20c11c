"""The tensor-parallel plan: how the language model is split over processes, applied from outside with DTensor."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn

import torch

from SPHINX_V.config import LlamaConfig
from SPHINX_V.errors import ConfigError, UsageError
from SPHINX_V.model.sphinx_v import SphinxV

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh


def local_device(device: torch.device | str | None) -> torch.device:
    """The device of this process: the one given, else a GPU where there is one; under torchrun the rank's own GPU.

    Raises UsageError for a device that torch does not know or that is not there.
    """
    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        place = torch.device(device)
    except RuntimeError:
        raise UsageError(f"device is {device!r}; give cpu, cuda or cuda:N.") from None
    if place.type != "cuda":
        return place
    count = torch.cuda.device_count()
    index = place.index if place.index is not None else int(os.environ.get("LOCAL_RANK", "0"))
    if index >= count:
        raise UsageError(f"device is cuda:{index}, but {count} GPUs are visible; use device cpu or fewer processes.")
    return torch.device("cuda", index)


def check_world(size: int, copies: int = 1) -> None:
    """Raises UsageError where not exactly `size` processes run together, or `copies` times as many."""
    from torch import distributed

    world = distributed.get_world_size() if distributed.is_initialized() else int(os.environ.get("WORLD_SIZE", "1"))
    if size < 1:
        raise UsageError(f"tensor_parallel is {size}; give the number of processes, at least 1.")
    if copies < 1:
        raise UsageError(f"data_parallel is {copies}; give the number of models beside each other, at least 1.")
    if world != size * copies:
        beside = f" and data_parallel {copies}" if copies > 1 else ""
        raise UsageError(
            f"tensor_parallel is {size}{beside}, but {world} process{'es run' if world > 1 else ' runs'};"
            f" start with torchrun --nproc_per_node={size * copies}, or set tensor_parallel to {world // copies or 1}."
        )


def init_mesh(size: int, device_type: str, copies: int = 1) -> DeviceMesh:
    """Joins the `size` · `copies` processes that torchrun started, gloo on CPU, nccl on GPUs: the mesh of those `size`
    that share a model with this one.

    Raises UsageError where not exactly so many processes run.
    """
    from torch import distributed
    from torch.distributed.device_mesh import init_device_mesh

    check_world(size, copies)
    if device_type == "cuda":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    if not distributed.is_initialized():
        distributed.init_process_group("nccl" if device_type == "cuda" else "gloo")
    return init_device_mesh(device_type, (copies, size), mesh_dim_names=("data", "tensor"))["tensor"]


def end_process(code: int) -> NoReturn:
    """Ends this process with `code`; the last line of a program that may have called `init_mesh`.

    DTensor's caches keep the process group alive for good. When Python shuts down, a gloo thread that still holds a
    tensor of the last exchange then aborts the process ("terminate called without an active exception", seen with torch
    2.13 in 1 of 10 runs). So a process that joined others flushes its output and leaves without that shutdown.
    """
    from torch import distributed

    sys.stdout.flush()
    sys.stderr.flush()
    if distributed.is_initialized():
        if code == 0:  # after an error the others may never come
            distributed.barrier()
        os._exit(code)
    sys.exit(code)


def check_divides(config: LlamaConfig, size: int, option: str = "tensor_parallel") -> None:
    """Raises ConfigError for the first size of the language model that `size` processes cannot share evenly; `option`
    is what the user has set to that."""
    parts = {
        "n_heads": config.n_heads,
        "n_kv_heads": config.kv_heads,
        "ffn_dim": config.ffn_dim,
        "dim": config.dim,
        "vocab_size": config.vocab_size,
    }
    for name, value in parts.items():
        if value % size:
            raise ConfigError(
                f"{option} {size} does not divide {name} {value}; choose a number of processes that divides"
                f" {', '.join(f'{n} {v}' for n, v in parts.items())}."
            )


def tensor_parallel(model: SphinxV, mesh: DeviceMesh) -> None:
    """Splits the language model over `mesh` in place; everything else stays whole on every process.

    The split is that of released shards (`weights.names.split_dimension`). Works on a meta-device model, whose weights
    are then filled shard by shard, and on a filled one, where every process must hold the same weights.
    Raises ConfigError where the sizes do not divide.
    """
    from torch.distributed.tensor import Replicate
    from torch.distributed.tensor.parallel import ColwiseParallel, ParallelStyle, RowwiseParallel, parallelize_module

    check_divides(model.config.llm, mesh.size())
    plan: dict[str, ParallelStyle] = {
        # An embedding's "columns" are its width: every process looks up all ids and holds a slice of each vector.
        "tok_embeddings": ColwiseParallel(output_layouts=Replicate()),
        "output": ColwiseParallel(output_layouts=Replicate()),
    }
    for index in range(model.config.llm.n_layers):
        for name in ("attention.wq", "attention.wk", "attention.wv", "feed_forward.w1", "feed_forward.w3"):
            plan[f"layers.{index}.{name}"] = ColwiseParallel()
        for name in ("attention.wo", "feed_forward.w2"):
            plan[f"layers.{index}.{name}"] = RowwiseParallel()
    # Where peft has put an adapter around a projection, that is its `base_layer`.
    wrapped = {name for name in plan if hasattr(model.llm.get_submodule(name), "base_layer")}
    plan = {f"{name}.base_layer" if name in wrapped else name: style for name, style in plan.items()}
    # src_data_rank None: each process cuts its own copy, nothing is sent.
    parallelize_module(model.llm, mesh, plan, src_data_rank=None)


def tensor_parallel_plan(mesh: DeviceMesh) -> Callable[[SphinxV], None]:
    """`tensor_parallel` with its mesh fixed, in the form that the loader of weights calls."""

    def apply(model: SphinxV) -> None:
        tensor_parallel(model, mesh)

    return apply


def rank() -> int:
    """This process's number under torchrun; 0 for the only process. Only rank 0 prints."""
    return int(os.environ.get("RANK", "0"))
