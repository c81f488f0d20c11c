"""Run once by two processes for test_shared_states and test_export: saves, loads and exports what they share.

torchrun --nproc_per_node=2 tests/accessory/train/two_processes.py FOLDER
"""

from __future__ import annotations

import json
import resource
import sys
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor

from accessory.config import SaveOptions
from accessory.runtime.distributed import World, world
from accessory.train.export import export_folder, export_released, full_state
from accessory.train.states import StateStore
from SPHINX_V.errors import SphinxVError
from SPHINX_V.parallel import end_process, tensor_parallel
from tests.golden_model import GOLDEN, golden_model

SHAPES: dict[str, tuple[int, ...]] = {
    "even": (6, 4), "uneven": (5, 3), "one row": (1, 4), "vector": (7,), "whole": (3, 2), "plain": (4,), "scalar": (),
}  # fmt: skip
ROWS, COLUMNS, EVERYWHERE = [Shard(0)], [Shard(1)], [Replicate()]
SAVED: dict[str, Any] = {
    "even": ROWS, "uneven": COLUMNS, "one row": ROWS, "vector": ROWS, "whole": EVERYWHERE, "plain": None, "scalar": None
}  # fmt: skip
OTHER: dict[str, Any] = {
    "even": COLUMNS, "uneven": ROWS, "one row": COLUMNS, "vector": EVERYWHERE, "whole": ROWS, "plain": ROWS,
    "scalar": EVERYWHERE,
}  # fmt: skip


def values(seed: int) -> dict[str, Tensor]:
    """Whole tensors, the same in every process."""
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=generator) for name, shape in SHAPES.items()}


def placed(tensors: dict[str, Tensor], mesh: DeviceMesh, placements: dict[str, Any]) -> dict[str, Tensor]:
    return {
        name: tensor.clone() if placements[name] is None else distribute_tensor(tensor, mesh, placements[name])
        for name, tensor in tensors.items()
    }


def zeros(mesh: DeviceMesh, placements: dict[str, Any]) -> dict[str, Tensor]:
    return placed({name: torch.zeros(shape) for name, shape in SHAPES.items()}, mesh, placements)


def differing(tensors: dict[str, Tensor], seed: int) -> list[str]:
    """Names of those that are not to the bit `values(seed)`."""
    wholes = {name: one.full_tensor() if isinstance(one, DTensor) else one for name, one in tensors.items()}
    return [name for name, expected in values(seed).items() if not torch.equal(wholes[name], expected)]


def load_saved_alone(folder: Path, this: World, mesh: DeviceMesh) -> dict[str, Any]:
    target = zeros(mesh, SAVED)
    restored = StateStore(folder, this, SaveOptions()).load(target)
    return {"step": restored.step, "extra": restored.extra, "own": restored.own, "differing": differing(target, 1)}


def save_and_train(store: StateStore, mesh: DeviceMesh) -> dict[str, Any]:
    """Both processes go on exchanging and changing what is being saved."""
    tensors = placed(values(2), mesh, SAVED)
    store.save(2, tensors, {"position": 2}, {"rank": store.world.rank})
    for tensor in tensors.values():
        tensor.zero_()
    sums = set()
    for number in range(200):
        sums.add(float(store.world.sum(torch.tensor(float(number)))) - 2 * number)
    store.finish()
    found: dict[str, Any] = {"sums": sorted(sums)}
    for name, placements in (("same", SAVED), ("other", OTHER)):
        target = zeros(mesh, placements)
        restored = store.load(target)
        found[name] = {"step": restored.step, "own": restored.own, "differing": differing(target, 2)}
    return found


def load_damaged(store: StateStore, mesh: DeviceMesh) -> dict[str, Any]:
    """The file of the second process in the newest state is damaged."""
    store.save(3, placed(values(3), mesh, SAVED), {}, wait=True)
    path = store.folder.state(3) / "__1_0.distcp"
    if store.world.is_main:
        content = bytearray(path.read_bytes())
        content[100] ^= 1
        path.write_bytes(content)
    store.world.barrier()
    target = zeros(mesh, SAVED)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        restored = store.load(target)
    return {
        "step": restored.step,
        "differing": differing(target, 2),
        "warnings": [str(warning.message) for warning in caught],
    }


def fail_on_one(store: StateStore, mesh: DeviceMesh) -> dict[str, Any]:
    """The second process may write no file of more than 10,000 bytes, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    large = distribute_tensor(torch.zeros(2, 50_000), mesh, ROWS)
    if store.world.rank == 1:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    store.save(4, {"large": large}, {})
    sentence = ""
    try:
        store.finish()
    except SphinxVError as error:
        sentence = f"{type(error).__name__}: {error}"
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        after = store.load(zeros(mesh, SAVED)).step
    return {"sentence": sentence, "after": after}


def export(folder: Path, this: World, mesh: DeviceMesh) -> dict[str, Any]:
    """The golden model, split as for training."""
    model = golden_model()
    expected = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    tensor_parallel(model, mesh)
    tokenizer = (GOLDEN / "tokenizer.model").read_bytes()
    found: dict[str, Any] = {
        "split": sum(isinstance(parameter, DTensor) for parameter in model.parameters()),
        "full": [
            name if whole is not None and torch.equal(whole, expected[name]) else None
            for name, whole in full_state(model, this)
        ],
        "names": list(expected),
    }
    export_folder(folder / "folder", model, this, tokenizer)
    export_released(folder / "released", model, this, tokenizer, shards=2)
    for name, call in {
        "taken": lambda: export_folder(folder / "folder", model, this, tokenizer),
        "uneven": lambda: export_released(folder / "thirds", model, this, tokenizer, shards=3),
    }.items():
        try:
            call()
        except SphinxVError as error:
            found[name] = f"{type(error).__name__}: {error}"
    this.barrier()
    return found


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    with world() as this:
        mesh = init_device_mesh("cpu", (2,))
        store = StateStore(folder / "shared", this, SaveOptions(keep_last=9))
        seen = {
            "alone": load_saved_alone(folder / "alone", this, mesh),
            "shared": save_and_train(store, mesh),
            "damaged": load_damaged(store, mesh),
            "failed": fail_on_one(store, mesh),
            "export": export(folder / "export", this, mesh),
        }
        (folder / f"{this.rank}.json").write_text(json.dumps(seen), encoding="utf-8")
        end_process(0)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
