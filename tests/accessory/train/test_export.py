"""Checkpoints from a model that is split over two processes, and from a whole one, hold every weight to the bit."""

import pytest
import torch

from accessory.runtime.distributed import World
from accessory.train.export import export_folder, export_released, full_state
from SPHINX_V.errors import UsageError
from SPHINX_V.weights.checkpoint import open_checkpoint
from SPHINX_V.weights.load import load_model
from SPHINX_V.weights.names import is_unused
from tests.golden_model import GOLDEN

ALONE = World(0, 1, torch.device("cpu"))
TOKENIZER = (GOLDEN / "tokenizer.model").read_bytes()


def read_shard(folder, index):
    return torch.load(folder / f"consolidated.0{index}-of-02.model.pth", weights_only=True)["model"]


def assert_folder(path, golden_model):
    loaded = load_model(path)
    state = golden_model.state_dict()
    assert loaded.tokenizer_bytes == TOKENIZER
    assert loaded.config == golden_model.config
    assert list(loaded.model.state_dict()) == list(state)
    assert all(torch.equal(tensor, state[name]) for name, tensor in loaded.model.state_dict().items())


def test_the_whole_state_comes_to_the_first_process_alone(shared):
    first, second = (seen["export"] for seen in shared[1])
    assert first["split"] == second["split"] > 10, "else nothing had to be put together"
    assert first["full"] == first["names"]
    assert second["full"] == [None] * len(second["names"])


def test_two_processes_write_our_folder(shared, golden_model):
    assert_folder(shared[0] / "export" / "folder", golden_model)


@pytest.mark.parametrize("index", range(2))
def test_two_processes_write_the_released_files(shared, index):
    """The golden's own shards were written by the reference."""
    reference = {name: tensor for name, tensor in read_shard(GOLDEN, index).items() if not is_unused(name)}
    written = read_shard(shared[0] / "export" / "released", index)
    assert set(written) == set(reference)
    for name, tensor in reference.items():
        assert written[name].shape == tensor.shape, name
        assert torch.equal(written[name], tensor), name


def test_a_path_that_is_taken_stops_both(shared):
    path = shared[0] / "export" / "folder"
    first, second = (seen["export"]["taken"] for seen in shared[1])
    assert first.startswith(f"UsageError: {path}: is not empty; name another folder")
    assert second == f"CheckpointError: {path}: the first process could not write it; its message says why."


def test_shards_that_do_not_divide_are_refused_on_both_before_anything_is_written(shared):
    for seen in shared[1]:
        assert seen["export"]["uneven"].startswith("UsageError: 3 shards do not divide dimension ")
    assert not (shared[0] / "export" / "thirds").exists()


def test_one_process_writes_both_forms(tmp_path, golden_model):
    export_folder(tmp_path / "folder", golden_model, ALONE, TOKENIZER)
    assert_folder(tmp_path / "folder", golden_model)
    export_released(tmp_path / "released", golden_model, ALONE, TOKENIZER)
    written = open_checkpoint(tmp_path / "released")
    for name, tensor in full_state(golden_model, ALONE):
        assert torch.equal(written.read(name), tensor), name
    with pytest.raises(UsageError, match="is not empty"):
        export_folder(tmp_path / "folder", golden_model, ALONE, TOKENIZER)


def test_weights_are_converted_where_asked(tmp_path, golden_model):
    export_folder(tmp_path / "half", golden_model, ALONE, TOKENIZER, dtype=torch.bfloat16)
    written = open_checkpoint(tmp_path / "half")
    for name, tensor in golden_model.state_dict().items():
        assert torch.equal(written.read(name), tensor.bfloat16()), name
