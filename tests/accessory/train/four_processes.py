"""Run by test_mesh_states in four processes: a model on data × tensor is saved and taken over by one on data alone.

torchrun --nproc_per_node=4 tests/accessory/train/four_processes.py FOLDER
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

from accessory.config import SaveOptions
from accessory.runtime.distributed import world
from accessory.train.states import StateStore
from SPHINX_V.parallel import end_process


def whole(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: one.full_tensor() if isinstance(one, DTensor) else one.clone() for name, one in tensors.items()}


def trained(data: Any, tensor: Any, seed: int) -> dict[str, Tensor]:
    """Parameters of a small model after a step, with AdamW's state of each; sizes that four do not divide."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(6, 10), nn.GELU(), nn.Linear(10, 7))
    if tensor is not None:
        parallelize_module(model, tensor, {"0": ColwiseParallel(), "2": RowwiseParallel()})
    fully_shard(model, mesh=data)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    model(torch.randn(3, 6)).square().mean().backward()
    optimizer.step()
    state = {f"{n}.{key}": one for n, p in model.named_parameters() for key, one in optimizer.state[p].items()}
    return {**model.state_dict(), **state}


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    with world() as this:
        both = init_device_mesh("cpu", (2, 2), mesh_dim_names=("data", "tensor"))
        alone = init_device_mesh("cpu", (4,), mesh_dim_names=("data",))
        saved, other = trained(both["data"], both["tensor"], 0), trained(alone["data"], None, 1)
        expected, before = whole(saved), whole(other)
        store = StateStore(folder / "states", this, SaveOptions())
        store.save(1, saved, {})
        assert store.load(other) is not None
        after = whole(other)
        seen = {
            "names": sorted(expected),
            "equal before": [name for name in expected if torch.equal(before[name], expected[name])],
            "equal after": sorted(name for name in expected if torch.equal(after[name], expected[name])),
        }
        (folder / f"{this.rank}.json").write_text(json.dumps(seen), encoding="utf-8")
        end_process(0)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
