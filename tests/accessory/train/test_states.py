"""States of a run in one process: round trips, the copy before writing, what is kept, and failures that are told."""

import json
import resource
from pathlib import Path

import pytest
import torch
from torch import nn

from accessory.config import SaveOptions
from accessory.runtime.distributed import World
from accessory.train.states import Restored, StateStore
from SPHINX_V.errors import CheckpointError, CheckpointWarning

ALONE = World(0, 1, torch.device("cpu"))
TYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.int64, torch.uint8, torch.bool)


@pytest.fixture
def states(tmp_path):
    return tmp_path / "states"


def open_store(folder, **options):
    return StateStore(folder, ALONE, SaveOptions(**options))


def filled(value):
    return {"a.weight": torch.full((3, 2), float(value)), "b": torch.tensor(value)}


def put(store, *steps):
    for step in steps:
        store.save(step, filled(step), {"position": step})
    store.finish()


def values_of(store, **asked):
    """The step that is loaded, after a look at its values."""
    target = filled(0)
    restored = store.load(target, **asked)
    assert all(torch.equal(target[name], tensor) for name, tensor in filled(restored.step).items())
    assert restored.extra == {"position": restored.step}
    return restored.step


def test_tensors_of_every_kind_come_back_to_the_bit(states):
    generator = torch.Generator().manual_seed(0)
    saved = {f"of.{dtype}": torch.randn(5, 3, generator=generator).to(dtype) for dtype in TYPES}
    saved["special"] = torch.tensor([float("nan"), float("inf"), -0.0, 1e-45])
    saved["scalar"] = torch.tensor(7.0)
    saved["empty"] = torch.zeros(0, 4)
    saved["part of a larger one"] = torch.arange(100.0)[10:13]
    saved["transposed"] = torch.randn(4, 3, generator=generator).T
    saved["parameter"] = nn.Parameter(torch.randn(2, 2, generator=generator))
    store = open_store(states)
    store.save(3, saved, {})
    store.finish()
    loaded = {name: torch.zeros_like(tensor) for name, tensor in saved.items()}
    loaded["parameter"] = nn.Parameter(torch.zeros(2, 2))
    assert open_store(states).load(loaded).step == 3
    for name, tensor in saved.items():
        assert loaded[name].dtype == tensor.dtype
        bits = [one.detach().contiguous().view(torch.uint8) for one in (loaded[name], tensor) if one.ndim]
        assert not bits or torch.equal(*bits), name
    assert loaded["scalar"].item() == 7.0


def test_values_beside_the_tensors_come_back(states):
    extra = {"loss": 0.1 + 0.2, "epoch": 3, "name": "é", "nested": {"list": [1, None, True]}, "rate": 1e-300}
    own = {"torch": "00ff", "counts": [1, 2]}
    store = open_store(states)
    store.save(3, filled(3), extra, own)
    assert store.load(filled(0)) == Restored(3, extra, own)


def test_nothing_saved_is_nothing_loaded(states):
    target = filled(5)
    assert open_store(states).load(target) is None
    assert torch.equal(target["b"], torch.tensor(5))
    assert not states.exists()


@pytest.mark.parametrize("asynchronous", [True, False])
def test_what_training_changes_after_the_call_is_not_saved(states, asynchronous):
    """Large enough that writing takes far longer than the change."""
    store = open_store(states, asynchronous=asynchronous)
    large = torch.arange(4_000_000.0)
    extra, own = {"position": [1]}, {"state": [2]}
    for step in (1, 2):  # the second takes the first one's memory
        large.add_(step)
        expected = large.clone()
        store.save(step, {"large": large}, extra, own)
        large.zero_()
        extra["position"].append(9)
        own["state"].append(9)
        target = {"large": torch.zeros_like(large)}
        restored = store.load(target)
        assert torch.equal(target["large"], expected)
        assert (restored.extra, restored.own) == ({"position": [1]}, {"state": [2]})
        extra, own = {"position": [1]}, {"state": [2]}
        large.copy_(expected)


def test_a_waited_for_save_is_committed_when_the_call_returns(states):
    for step, store in enumerate([open_store(states), open_store(states, asynchronous=False)], start=1):
        store.save(step, filled(step), {"position": step}, wait=step == 1)
        assert (states / f"step-{step:08d}" / "manifest.json").exists()


def test_a_state_that_is_there_is_not_saved_again(states):
    store = open_store(states)
    put(store, 3)
    store.save(3, filled(4), {"position": 4}, wait=True)
    assert values_of(store) == 3
    again = open_store(states)
    assert values_of(again) == 3
    again.save(3, filled(4), {"position": 4}, wait=True)
    assert values_of(again) == 3


def test_states_are_kept_by_the_rules(states):
    put(open_store(states, keep_last=2, keep_every=4), *range(1, 12))
    assert sorted(path.name for path in states.iterdir()) == [
        "latest", "step-00000004", "step-00000008", "step-00000010", "step-00000011",
    ]  # fmt: skip


def test_a_new_run_goes_on_with_the_rules(states):
    put(open_store(states, keep_last=3), 1, 2, 3)
    put(open_store(states, keep_last=1), 4)
    assert [path.name for path in states.glob("step-*")] == ["step-00000004"]


@pytest.mark.parametrize("content", [None, "", "step-00000001\n", "step-99999999\n", "nonsense"])
def test_latest_is_not_needed_to_find_the_newest(states, content):
    put(open_store(states), 1, 2)
    (states / "latest").unlink()
    if content is not None:
        (states / "latest").write_text(content)
    assert values_of(open_store(states)) == 2


def test_a_step_can_be_asked_for(states):
    put(open_store(states, keep_last=9), 1, 2, 3)
    assert values_of(open_store(states), step=2) == 2
    with pytest.raises(CheckpointError) as caught:
        open_store(states).load(filled(0), step=7)
    assert str(caught.value) == f"{states}: no state of step 7 is saved; there are: 1, 2, 3."


def test_going_back_and_saving_leaves_the_later_states_behind(states):
    put(open_store(states, keep_last=9), 10, 20, 30)
    store = open_store(states, keep_last=1)
    assert values_of(store, step=10) == 10
    with pytest.warns(CheckpointWarning, match=r"step-000000[23]0: the run has gone back behind this state"):
        put(store, 15)
    assert values_of(open_store(states)) == 15
    assert sorted(path.name for path in states.glob("step-*")) == [
        "step-00000015", "step-00000020.replaced", "step-00000030.replaced",
    ]  # fmt: skip


MISMATCHES = [
    (lambda t: t.update(c=torch.zeros(1)), "has no tensor c, which this run needs; was it saved by other options?"),
    (lambda t: t.pop("b"), "holds tensor b, which this run has not; was it saved by other options?"),
    (
        lambda t: t.update({"a.weight": torch.zeros(2, 3)}),
        "tensor a.weight is [3, 2] float32, but this run has [2, 3] float32; resume with the model and options that it"
        " was saved with.",
    ),
    (
        lambda t: t.update(b=torch.tensor(0.0)),
        "tensor b is [] int64, but this run has [] float32; resume with the model and options that it was saved with.",
    ),
]


@pytest.mark.parametrize("change, sentence", MISMATCHES)
def test_another_model_is_refused_with_the_tensor_and_both_shapes(states, change, sentence):
    put(open_store(states), 1)
    target = filled(0)
    change(target)
    with pytest.raises(CheckpointError) as caught:
        open_store(states).load(target)
    assert str(caught.value) == f"{states / 'step-00000001' / 'index.json'}: {sentence}"
    assert not any(tensor.any() for tensor in target.values()), "nothing was loaded"


def limited(size, work):
    """`work` in a process that may write no file longer than `size` bytes, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        work()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("told_by", ["finish", "save", "load", "wait"])
def test_a_failed_save_is_told_by_the_next_call_and_costs_no_state(states, told_by):
    store = open_store(states)
    put(store, 1)
    large = {"large": torch.zeros(4_000_000)}
    calls = {"finish": store.finish, "load": lambda: store.load(filled(0)), "wait": lambda: None}
    tell = calls.get(told_by, lambda: store.save(3, filled(3), {"position": 3}))

    def save():
        store.save(2, large, {}, wait=told_by == "wait")
        tell()

    with pytest.raises(CheckpointError) as caught:
        limited(100_000, save)
    sentence = str(caught.value)
    assert sentence.startswith(f"{states / 'step-00000002'}: the state of step 2 could not be saved (rank 0: ")
    assert "File too large" in sentence
    assert not list(states.glob("*.tmp")), "the space is given back"
    assert values_of(store) == 1
    put(store, 2)
    assert values_of(store) == 2


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "states").write_text("a file")
    store = open_store(tmp_path / "states")
    with pytest.raises(CheckpointError, match=r"step 1 could not be saved \(rank 0: .*File exists"):
        store.save(1, filled(1), {}, wait=True)


def test_no_pickle_is_read_or_written(states):
    """The tensors are read by torch.load(weights_only=True), and all else is JSON."""
    put(open_store(states), 1)
    files = sorted(path.name for path in (states / "step-00000001").iterdir())
    assert files == ["__0_0.distcp", "index.json", "manifest.json", "own-0.json", "state.json"]
    for path in Path(states / "step-00000001").glob("*.json"):
        json.loads(path.read_text(encoding="utf-8"))
