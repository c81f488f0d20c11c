"""Our own folder and the released form turn into each other without the loss of a bit."""

import json

import pytest
import torch
from safetensors.torch import load_file

from SPHINX_V.errors import CheckpointError, ConfigError, UsageError
from SPHINX_V.weights.checkpoint import open_checkpoint
from SPHINX_V.weights.convert import convert
from SPHINX_V.weights.entries import Entry
from SPHINX_V.weights.folder import save_folder
from SPHINX_V.weights.load import load_model
from SPHINX_V.weights.publish import new_folder
from SPHINX_V.weights.tensor_files import TensorInfo
from tests.weights import small


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shards, files", [(1, 1), (2, 3), (4, None)])
def test_released_to_folder_to_released(dtype, shards, files, tmp_path):
    config = small.small_config()
    state, unused = small.random_state(config, dtype), small.unused_tensors(dtype)
    state["vision.clip.norm.bias"][0] = float("nan")
    state["vision.clip.norm.bias"][1] = -0.0
    source = small.write_released(tmp_path / "source", config, small.released_state(state, unused), shards)

    to_folder = convert(source, tmp_path / "folder", "folder", shards=files)
    assert (to_folder.tensors, set(to_folder.carried)) == (len(state) + len(unused), set(unused))
    stored = {}
    for file in (tmp_path / "folder").glob("*.safetensors"):
        stored |= load_file(file)
    small.assert_same_bits(stored, {**state, **{f"unused.{name}": tensor for name, tensor in unused.items()}})

    convert(tmp_path / "folder", tmp_path / "back", "released", shards=shards)
    for one, two in zip(small.read_shards(source), small.read_shards(tmp_path / "back"), strict=True):
        small.assert_same_bits(one, two)
    assert open_checkpoint(tmp_path / "back").config == open_checkpoint(source).config == config
    assert (tmp_path / "back" / "tokenizer.model").read_bytes() == small.TOKENIZER


def test_golden_round_trip_and_resharding(golden, tmp_path):
    convert(golden, tmp_path / "folder", "folder")
    convert(tmp_path / "folder", tmp_path / "back", "released", shards=2)
    convert(golden, tmp_path / "one", "released", shards=1)
    convert(tmp_path / "one", tmp_path / "two", "released", shards=2)
    # More shards than heads, of which the golden has 4, and 2 for keys and values.
    for count in (4, 8):
        convert(golden, tmp_path / f"{count}", "released", shards=count)
        assert len(list((tmp_path / f"{count}").glob("*.pth"))) == count
        convert(tmp_path / f"{count}", tmp_path / f"from {count}", "released", shards=2)
    for result in ("back", "two", "from 4", "from 8"):
        for one, two in zip(small.read_shards(golden), small.read_shards(tmp_path / result), strict=True):
            small.assert_same_bits(one, two)


@pytest.mark.parametrize("before, after", [(1, 4), (2, 4), (4, 2), (4, 1)])
def test_resharding_cuts_across_shards(before, after, state, tmp_path):
    released = small.released_state(state, small.unused_tensors())
    source = small.write_released(tmp_path / "source", small.small_config(), released, before)
    convert(source, tmp_path / "out", "released", shards=after)
    for index, shard in enumerate(small.read_shards(tmp_path / "out")):
        small.assert_same_bits(shard, {n: small.cut(n, t, index, after) for n, t in released.items()})


def test_dtype_is_converted_when_asked(two_shards, state, tmp_path):
    convert(two_shards, tmp_path / "half", "folder", dtype=torch.bfloat16)
    checkpoint = open_checkpoint(tmp_path / "half")
    halved = {name: tensor.bfloat16() for name, tensor in state.items()}
    small.assert_same_bits({name: checkpoint.read(name) for name in checkpoint.shapes()}, halved)


@pytest.mark.parametrize(
    "arguments, count", [({"shards": 3}, 3), ({"shards": 7}, 7), ({"shard_bytes": 40_000}, None), ({}, 1)]
)
def test_several_files(arguments, count, state, tmp_path):
    save_folder(tmp_path / "out", state, small.small_config(), small.TOKENIZER, **arguments)
    files = sorted((tmp_path / "out").glob("*.safetensors"))
    count = count or len(files)
    assert [file.name for file in files] == [f"model-{i:05d}-of-{count:05d}.safetensors" for i in range(1, count + 1)]
    if "shard_bytes" in arguments:
        assert count > 2
        contents = [load_file(file) for file in files]
        assert all(len(held) == 1 or sum(t.nbytes for t in held.values()) <= 40_000 for held in contents)
    else:
        sizes = [file.stat().st_size for file in files]
        assert max(sizes) < sum(sizes) / count + 1.1 * max(tensor.nbytes for tensor in state.values())
    # The format asks for data at a multiple of 8; readers that map the file depend on it.
    assert all(int.from_bytes(file.read_bytes()[:8], "little") % 8 == 0 for file in files)
    index = tmp_path / "out" / "model.safetensors.index.json"
    assert index.exists() == (count > 1)
    if count > 1:
        table = json.loads(index.read_text())
        assert table["metadata"]["total_size"] == sum(tensor.nbytes for tensor in state.values())
        assert table["weight_map"] == {name: file.name for file in files for name in load_file(file)}
    loaded = load_model(tmp_path / "out")
    assert (loaded.config, loaded.tokenizer_bytes, loaded.report.kind) == (
        small.small_config(),
        small.TOKENIZER,
        "folder",
    )
    small.assert_same_bits(dict(loaded.model.state_dict()), state)


@pytest.mark.parametrize("shards", [0, 10_000])
def test_impossible_number_of_files(shards, state, tmp_path):
    with pytest.raises(UsageError, match=rf"shards is {shards}; give 1 to {len(state)}"):
        save_folder(tmp_path / "out", state, small.small_config(), small.TOKENIZER, shards=shards)


def test_configuration_is_readable_and_versioned(state, tmp_path):
    save_folder(tmp_path / "out", state, small.small_config(), small.TOKENIZER)
    file = tmp_path / "out" / "config.json"
    values = json.loads(file.read_text())
    assert (values["format"], values["version"], values["model"]["llm"]["dim"]) == ("sphinx_v", 1, 48)
    file.write_text(json.dumps({**values, "version": 2}))
    with pytest.raises(ConfigError, match=r"config\.json: version is 2; this program reads 1"):
        load_model(tmp_path / "out")
    values["model"]["llm"]["dims"] = 3
    file.write_text(json.dumps(values))
    with pytest.raises(ConfigError, match=r"config\.json: llm\.dims"):
        load_model(tmp_path / "out")


def test_nothing_is_left_after_a_failure(state, tmp_path):
    def fails():
        raise OSError("the disk is full")

    bad = Entry("norm.weight", TensorInfo((3,), torch.float32), fails)
    good = Entry("first", TensorInfo((3,), torch.float32), lambda: torch.zeros(3))
    with pytest.raises(OSError, match="disk is full"):
        save_folder(tmp_path / "out", [good, bad], small.small_config(), small.TOKENIZER)
    assert list(tmp_path.iterdir()) == []


def test_an_entry_must_keep_its_word(tmp_path):
    liar = Entry("x", TensorInfo((3,), torch.float32), lambda: torch.zeros(4))
    with pytest.raises(CheckpointError, match=r"tensor x was announced as \[3\].*but is \[4\]"):
        save_folder(tmp_path / "out", [liar], small.small_config(), small.TOKENIZER)
    assert list(tmp_path.iterdir()) == []


def test_overwriting_is_asked_for_and_only_checkpoints_are_replaced(state, tmp_path):
    out = tmp_path / "out"
    save_folder(out, state, small.small_config(), small.TOKENIZER)
    with pytest.raises(UsageError, match="is not empty"):
        save_folder(out, state, small.small_config(), small.TOKENIZER)
    zeros = {name: torch.zeros_like(tensor) for name, tensor in state.items()}
    save_folder(out, zeros, small.small_config(), small.TOKENIZER, overwrite=True)
    assert load_file(out / "model-00001-of-00001.safetensors")["end_vp"].abs().max() == 0
    assert [path.name for path in tmp_path.iterdir()] == ["out"]

    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "cat.png").write_bytes(b"")
    with pytest.raises(UsageError, match="is no checkpoint, so it is not overwritten"):
        save_folder(photos, state, small.small_config(), small.TOKENIZER, overwrite=True)
    with pytest.raises(UsageError, match="is a file"):
        save_folder(photos / "cat.png", state, small.small_config(), small.TOKENIZER)
    assert [path.name for path in photos.iterdir()] == ["cat.png"]


def test_the_old_folder_stays_when_writing_fails(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "config.json").write_text("{}")

    def write_half():
        with new_folder(out, overwrite=True) as folder:
            (folder / "config.json").write_text("half")
            raise RuntimeError("power failed")

    with pytest.raises(RuntimeError, match="power failed"):
        write_half()
    assert (out / "config.json").read_text() == "{}"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
