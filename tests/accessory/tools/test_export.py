"""A state of a run as a checkpoint: the weights of that step, those that were frozen included."""

import shutil

import pytest
import torch

from accessory.tools.export import main
from SPHINX_V.weights.load import load_model
from tests.accessory.runs import FREEZE, MIXED, run, write_data, write_run


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of three steps with the state of two of them."""
    folder = tmp_path_factory.mktemp("run")
    config = write_run(folder, write_data(folder, MIXED), freeze=FREEZE[1], max_steps=3, warmup_epochs=0)
    run(config, "save.every=1", "save.released_shards=2", "save.dtype=bfloat16")
    return folder / "out"


def weights(path):
    return load_model(path).model.state_dict()


@pytest.mark.parametrize("form, shards", [("folder", 1), ("released", 2)])
def test_the_weights_of_a_step_come_out(trained, tmp_path, capsys, form, shards):
    out = tmp_path / "out"
    assert main([str(trained), "--out", str(out), "--format", form, "--step", "2", "--shards", str(shards)]) == 0
    assert "the weights after step 2" in capsys.readouterr().out
    exported, end = weights(out), weights(trained / "checkpoint")
    assert exported.keys() == end.keys()
    moved = {name for name in end if not exported[name].to(torch.bfloat16).equal(end[name])}
    assert moved, "a third step followed"
    assert not [name for name in moved if name.startswith(("vision.", "llm.layers."))]


def test_a_run_ends_with_the_types_and_the_layouts_that_it_is_told(trained):
    folder, released = weights(trained / "checkpoint"), weights(trained / "released")
    assert len(list((trained / "released").glob("consolidated.*"))) == 2
    assert {tensor.dtype for name, tensor in folder.items() if "frequencies" not in name} == {torch.bfloat16}
    assert all(tensor.equal(released[name]) for name, tensor in folder.items())


def test_a_run_without_a_state_says_what_to_do(trained, tmp_path, capsys):
    shutil.copytree(trained, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "states")
    assert main([str(tmp_path / "run"), "--out", str(tmp_path / "out"), "--format", "folder"]) == 2
    assert "no state is saved yet; set save.every" in capsys.readouterr().err


def test_a_step_that_was_not_saved_is_named(trained, tmp_path, capsys):
    assert main([str(trained), "--out", str(tmp_path / "out"), "--format", "folder", "--step", "9"]) == 2
    assert "no state of step 9 is saved; there are: 1, 2" in capsys.readouterr().err
