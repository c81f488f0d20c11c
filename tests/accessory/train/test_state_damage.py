"""Damage to a state is found in every file and named, and the last whole state is taken."""

import random
import shutil
import warnings

import pytest
import torch

from accessory.config import SaveOptions
from accessory.runtime.distributed import World
from accessory.train.states import StateStore
from SPHINX_V.errors import CheckpointError, CheckpointWarning

FILES = ("__0_0.distcp", "index.json", "manifest.json", "own-0.json", "state.json")
FLIPS = 12


def open_store(folder):
    return StateStore(folder, World(0, 1, torch.device("cpu")), SaveOptions(keep_last=9))


def filled(value):
    return {"weight": torch.full((40, 20), float(value)), "count": torch.tensor(value)}


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    """States of steps 1, 2 and 3; a test takes a copy."""
    folder = tmp_path_factory.mktemp("saved") / "states"
    store = open_store(folder)
    for step in (1, 2, 3):
        store.save(step, filled(step), {"position": step}, {"random": "00ff"}, wait=True)
    assert sorted(path.name for path in (folder / "step-00000003").iterdir()) == sorted(FILES)
    return folder


@pytest.fixture
def states(three, tmp_path):
    return shutil.copytree(three, tmp_path / "states")


def in_state(states, step, name):
    return states / f"step-{step:08d}" / name


def flip(path, draw):
    content = bytearray(path.read_bytes())
    content[draw.randrange(len(content))] ^= draw.randrange(1, 256)
    path.write_bytes(content)


def loaded(states, expected):
    """The warnings of a load that must end with the state of step `expected`."""
    target = filled(0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert open_store(states).load(target).step == expected
    assert all(torch.equal(target[name], tensor) for name, tensor in filled(expected).items())
    assert all(warning.category is CheckpointWarning for warning in caught)
    return [str(warning.message) for warning in caught]


def test_whole_states_load_without_a_word(states):
    assert loaded(states, 3) == []


@pytest.mark.parametrize("name", FILES)
def test_a_flipped_byte_in_any_file_is_found_and_the_file_named(states, name):
    path = in_state(states, 3, name)
    whole = path.read_bytes()
    draw = random.Random(name)
    for _ in range(FLIPS):
        flip(path, draw)
        (sentence,) = loaded(states, 2)
        assert sentence.startswith(f"{path}: ")
        assert sentence.endswith("The state before is taken.")
        path.write_bytes(whole)
    assert loaded(states, 3) == []


@pytest.mark.parametrize("name", FILES)
def test_a_truncation_of_any_file_is_found_and_the_file_named(states, name):
    path = in_state(states, 3, name)
    whole = path.read_bytes()
    for length in (0, 1, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        (sentence,) = loaded(states, 2)
        assert sentence.startswith(f"{path}: ")
    path.write_bytes(whole + b"\n")
    assert len(loaded(states, 2)) == 1
    path.unlink()
    assert loaded(states, 2) == [f"{path}: is missing. The state before is taken."]


def test_a_file_that_was_added_does_no_harm(states):
    in_state(states, 3, "notes.txt").write_text("of the user")
    assert loaded(states, 3) == []


def test_a_state_that_was_moved_to_another_step_is_not_taken_for_it(states):
    in_state(states, 3, "").rename(in_state(states, 4, ""))
    assert loaded(states, 2) == [
        f"{in_state(states, 4, 'manifest.json')}: is of step 3, but lies in the folder of step 4."
        " The state before is taken."
    ]


def test_each_damaged_state_is_named_on_the_way_to_a_whole_one(states):
    draw = random.Random(0)
    flip(in_state(states, 3, "state.json"), draw)
    flip(in_state(states, 2, "__0_0.distcp"), draw)
    assert [sentence.split(": ")[0] for sentence in loaded(states, 1)] == [
        str(in_state(states, 3, "state.json")), str(in_state(states, 2, "__0_0.distcp")),
    ]  # fmt: skip


def test_where_none_is_whole_all_are_named_and_nothing_is_loaded(states):
    damaged = [in_state(states, step, "__0_0.distcp") for step in (3, 2, 1)]
    for path in damaged:
        flip(path, random.Random(0))
    target = filled(0)
    with pytest.warns(CheckpointWarning), pytest.raises(CheckpointError) as caught:
        open_store(states).load(target)
    sentence = str(caught.value)
    assert sentence.startswith(f"{states}: no whole state to load. ")
    places = [sentence.index(f"{path}: its bytes have changed") for path in damaged]
    assert places == sorted(places)
    assert "move the folder away to start anew" in sentence
    assert not target["weight"].any()


def test_a_damaged_state_that_was_asked_for_is_an_error(states):
    path = in_state(states, 2, "__0_0.distcp")
    flip(path, random.Random(0))
    with pytest.raises(CheckpointError, match="no whole state to load"):
        open_store(states).load(filled(0), step=2)
    assert loaded(states, 3) == []


def test_a_run_goes_on_from_the_whole_state_and_saves_over_the_damaged_one(states):
    flip(in_state(states, 3, "index.json"), random.Random(0))
    store = open_store(states)
    with pytest.warns(CheckpointWarning, match="The state before is taken"):
        assert store.load(filled(0)).step == 2
    with pytest.warns(CheckpointWarning, match=r"step-00000003: .* set aside as step-00000003\.replaced"):
        store.save(3, filled(3), {"position": 3}, {"random": "00ff"}, wait=True)
    assert loaded(states, 3) == []


def test_with_one_state_to_keep_the_new_one_is_kept_and_not_a_damaged_later_one(states):
    flip(in_state(states, 3, "index.json"), random.Random(0))
    store = StateStore(states, World(0, 1, torch.device("cpu")), SaveOptions(keep_last=1))
    assert store.load(filled(0), step=1).step == 1
    with pytest.warns(CheckpointWarning):
        store.save(2, filled(2), {"position": 2}, wait=True)
    assert loaded(states, 2) == []
