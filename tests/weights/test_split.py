"""Loading into DTensors: every process gets its own part, for tensor parallelism, FSDP and both."""

import json
import subprocess
import sys
from pathlib import Path

from tests.weights import small

ROOT = Path(__file__).parents[2]

# torch's fake backend plays every rank of a job alone, for loading communicates with nobody.
SCRIPT = """
import json, os, sys, torch
from torch import distributed
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.testing._internal.distributed.fake_pg import FakeStore
from SPHINX_V.parallel import tensor_parallel
from SPHINX_V.weights.load import build_random, load_model

torch.set_num_threads(1)
WORLD = 4
whole = dict(load_model(sys.argv[1]).model.state_dict())
partial = dict(load_model(sys.argv[2], initialise_missing="all", seed=3).model.state_dict())

def tensor(model):
    tensor_parallel(model, init_device_mesh("cpu", (WORLD,)))

def data(model):
    mesh = init_device_mesh("cpu", (WORLD,))
    for block in model.llm.layers:
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)

def both(model):
    mesh = init_device_mesh("cpu", (2, 2), mesh_dim_names=("data", "tensor"))
    tensor_parallel(model, mesh["tensor"])
    fully_shard(model, mesh=mesh["data"])

def play(rank):
    distributed.init_process_group("fake", store=FakeStore(), rank=rank, world_size=WORLD)
    parts = {}
    for plan in (tensor, data, both):
        for name, path, expected in (("whole", sys.argv[1], whole), ("partial", sys.argv[2], partial)):
            model = load_model(path, parallelize=plan, initialise_missing="all", seed=3).model
            for key, value in model.state_dict().items():
                if isinstance(value, DTensor):
                    parts[f"{plan.__name__} {name} {key}"] = value.to_local().clone()
                else:
                    assert torch.equal(value, expected[key]), (plan, name, key)
    torch.save(parts, f"{sys.argv[3]}/{rank}.pt")

# A fork per rank, because torch remembers meshes, and with them the first rank, for the length of a process.
for rank in range(WORLD):
    child = os.fork()
    if child == 0:
        play(rank)
        sys.stdout.flush()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0

ranks = [torch.load(f"{sys.argv[3]}/{rank}.pt", weights_only=True) for rank in range(WORLD)]
seen = {tuple(key.split()): [parts[key] for parts in ranks] for key in ranks[0]}
split = {"tensor": 0, "data": 0, "both": 0}
for (plan, name, key), parts in seen.items():
    expected = (whole if name == "whole" else partial)[key]
    if all(part.shape == expected.shape for part in parts):
        assert all(torch.equal(part, expected) for part in parts), (plan, name, key)
        continue
    split[plan] += 1
    if plan == "both" and sum(part.numel() for part in parts) == 2 * expected.numel():
        # Not split by the tensor plan: two ranks hold the same half.
        assert torch.equal(parts[0], parts[1]) and torch.equal(parts[2], parts[3])
        assert torch.equal(torch.cat([parts[0], parts[2]]), expected), (plan, name, key)
    elif plan == "both":
        # Ranks 0, 1 are one data group's tensor ranks. A tensor split by columns first, by data within each column.
        columns = [torch.cat([parts[t], parts[2 + t]]) for t in (0, 1)]
        assert any(torch.equal(torch.cat(columns, dim), expected) for dim in (0, 1)), (plan, name, key)
    else:
        dims = [dim for dim in range(expected.ndim) if sum(p.shape[dim] for p in parts) == expected.shape[dim]]
        assert any(torch.equal(torch.cat(parts, dim), expected) for dim in dims), (plan, name, key)
print(json.dumps(split))
"""


def test_every_rank_gets_its_part(state, tmp_path):
    config = small.small_config()
    released = small.released_state(state)
    whole = small.write_released(tmp_path / "whole", config, released, 2)
    lacking = ("layers.1.attention.wo.weight", "output.weight", "vp_proj.0.weight", "vp_proj.1.weight", "norm.weight")
    kept = {name: tensor for name, tensor in released.items() if name.removeprefix("llma.") not in lacking}
    partial = small.write_released(tmp_path / "partial", config, kept, 2)
    command = [
        sys.executable,
        "-W",
        "error::UserWarning:SPHINX_V",
        "-c",
        SCRIPT,
        str(whole),
        str(partial),
        str(tmp_path),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    split = json.loads(done.stdout.splitlines()[-1])
    # 7 split matrices per layer, the embedding and the output, from both checkpoints.
    assert split["tensor"] == 2 * (7 * 3 + 2)
    assert split["data"] > 400
    assert split["both"] > 400
