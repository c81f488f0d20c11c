"""States of two processes: parts and copies, other placements and numbers of processes, and failures that both see."""

import json

import torch

from accessory.config import SaveOptions
from accessory.runtime.distributed import World
from accessory.train.states import StateStore
from tests.accessory.train.two_processes import SHAPES, values


def of_each(shared, part):
    return [seen[part] for seen in shared[1]]


def test_what_one_process_saved_two_load_in_parts(shared):
    for seen in of_each(shared, "alone"):
        assert seen == {"step": 1, "extra": {"position": 1}, "own": None, "differing": []}


def test_what_two_processes_saved_one_loads_whole(shared):
    target = {name: torch.zeros(shape) for name, shape in SHAPES.items()}
    restored = StateStore(shared[0] / "shared", World(0, 1, torch.device("cpu")), SaveOptions()).load(target, step=2)
    assert (restored.step, restored.extra, restored.own) == (2, {"position": 2}, None)
    assert [name for name, expected in values(2).items() if not torch.equal(target[name], expected)] == []


def test_two_load_what_two_saved_also_with_other_placements(shared):
    for rank, seen in enumerate(of_each(shared, "shared")):
        assert seen["same"] == {"step": 2, "own": {"rank": rank}, "differing": []}
        assert seen["other"] == {"step": 2, "own": {"rank": rank}, "differing": []}


def test_exchanges_of_training_and_of_saving_do_not_meet(shared):
    for seen in of_each(shared, "shared"):
        assert seen["sums"] == [0.0]


def test_every_element_is_stored_once(shared):
    table = json.loads((shared[0] / "shared" / "step-00000002" / "index.json").read_text(encoding="utf-8"))
    for name, shape in SHAPES.items():
        chunks = [chunk["sizes"] for chunk in table[name]["chunks"]]
        assert sum(torch.Size(sizes).numel() for sizes in chunks) == torch.Size(shape).numel(), name
    files = {name: {chunk["place"][0] for chunk in table[name]["chunks"]} for name in table}
    assert files["even"] == files["uneven"] == {"__0_0.distcp", "__1_0.distcp"}
    assert len(files["plain"]) == len(files["whole"]) == 1


def test_damage_in_one_file_sends_both_to_the_state_before(shared):
    first, second = of_each(shared, "damaged")
    path = shared[0] / "shared" / "step-00000003" / "__1_0.distcp"
    (sentence,) = first["warnings"]
    assert sentence.startswith(f"{path}: its bytes have changed")
    assert second["warnings"] == []
    for seen in (first, second):
        assert (seen["step"], seen["differing"]) == (2, [])


def test_a_failure_on_one_process_is_told_by_both(shared):
    state = shared[0] / "shared" / "step-00000004"
    for seen in of_each(shared, "failed"):
        assert seen["sentence"].startswith(
            f"CheckpointError: {state}: the state of step 4 could not be saved (rank 1: [Errno 27] File too large). "
        )
        assert seen["after"] == 2
    assert not list((shared[0] / "shared").glob("*.tmp"))
