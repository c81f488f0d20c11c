"""Every way in which files can be wrong ends in an error that names file, tensor and shapes; nothing is half-loaded."""

import errno
import json
import os
from pathlib import Path

import pytest
import torch

from SPHINX_V.errors import CheckpointError, ConfigError
from SPHINX_V.weights.checkpoint import open_checkpoint
from SPHINX_V.weights.convert import convert
from SPHINX_V.weights.load import load_model
from SPHINX_V.weights.released import same_bits
from tests.weights import small

FIRST, SECOND = "consolidated.00-of-02.model.pth", "consolidated.01-of-02.model.pth"
EMBEDDING = "llma.tok_embeddings.weight"


def edit(folder, change, file=SECOND):
    """Applies `change` to the dict of one shard."""
    stored = torch.load(folder / file, weights_only=True)
    change(stored["model"])
    torch.save(stored, folder / file)


def edit_both(folder, change):
    edit(folder, change, FIRST)
    edit(folder, change, SECOND)


def refused(folder, *words):
    with pytest.raises(CheckpointError) as caught:
        load_model(folder)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message, message


def test_missing_folder_and_file_for_folder(two_shards):
    refused(two_shards / "nowhere", "nowhere", "does not exist")
    refused(two_shards / FIRST, FIRST, "is a file")


def test_folder_without_a_checkpoint(tmp_path):
    (tmp_path / "notes.txt").write_text("nothing here")
    refused(tmp_path, str(tmp_path), "holds no checkpoint", "consolidated.XX-of-YY.model.pth")


def test_two_kinds_in_one_folder(two_shards):
    torch.save({}, two_shards / "consolidated.00.pth")
    refused(two_shards, "released and meta_llama")


def test_missing_shard(two_shards):
    (two_shards / FIRST).unlink()
    refused(two_shards, "of 2 shards 1 are missing: number 00")


def test_a_shard_beyond_the_last(two_shards):
    (two_shards / SECOND).with_name("consolidated.02-of-02.model.pth").write_bytes(b"")
    refused(two_shards, "holds consolidated.02-of-02.model.pth, but of 2 shards the last has the number 01")
    for name in (FIRST, SECOND):
        (two_shards / name).unlink()
    refused(two_shards, "holds consolidated.02-of-02.model.pth")


def test_gap_in_meta_shards(tmp_path):
    torch.save({}, tmp_path / "consolidated.01.pth")
    refused(tmp_path, "number 00")


def test_shards_of_two_sets(two_shards):
    (two_shards / "consolidated.00-of-04.model.pth").write_bytes(b"")
    refused(two_shards, "shards of 2 and of 4")


@pytest.mark.parametrize("keep", [0.0, 0.001, 0.5, 0.999])
def test_truncated_shard(keep, two_shards):
    content = (two_shards / SECOND).read_bytes()
    (two_shards / SECOND).write_bytes(content[: int(len(content) * keep)])
    refused(two_shards, SECOND)


def test_garbage(two_shards):
    (two_shards / SECOND).write_bytes(b"<!DOCTYPE html><html>please log in</html>" * 100)
    refused(two_shards, SECOND, "not readable as weights (it holds damaged data or an object, which is no tensor")


class Harmless:
    """Stands for any object in a pickle; weights_only must not build it."""


class Command:
    """Stands for code in a pickle."""

    def __reduce__(self):
        return os.system, ("touch ran",)


@pytest.mark.parametrize(
    "content, name", [(Harmless(), "test_damaged.Harmless, which"), (Command(), "posix.system, wh")]
)
@pytest.mark.parametrize("new_form", [True, False])
def test_foreign_objects_are_not_unpickled(content, name, new_form, two_shards, tmp_path, monkeypatch):
    """PyTorch's own message advises to load them after all."""
    monkeypatch.chdir(tmp_path)
    torch.save({"model": {"x": content}}, two_shards / SECOND, _use_new_zipfile_serialization=new_form)
    with pytest.raises(CheckpointError) as caught:
        load_model(two_shards)
    message = str(caught.value)
    assert f"{SECOND}: not readable as weights (it holds " in message
    assert f"{name}" in message
    assert "is no tensor and is never built); copy it again." in message
    assert "weights_only" not in message
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", [FIRST, "config.json", "tokenizer.model"])
def test_files_that_may_not_be_read(name, two_shards, monkeypatch):
    """As the system refuses them; the tests may run as root, whom it refuses nothing."""
    opened = Path.open

    def refuse(self, *arguments, **options):
        if self.name == name:
            raise PermissionError(errno.EACCES, "Permission denied", str(self))
        return opened(self, *arguments, **options)

    monkeypatch.setattr(Path, "open", refuse)
    monkeypatch.setattr(Path, "read_bytes", lambda self: self.open("rb").read())
    monkeypatch.setattr(Path, "read_text", lambda self, encoding=None: self.open("r", encoding=encoding).read())
    refused(two_shards, f"{two_shards / name}: cannot be read (Permission denied); give this process the right")


def test_a_folder_that_may_not_be_read(two_shards, monkeypatch):
    def refuse(self):
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(Path, "iterdir", refuse)
    refused(two_shards, f"{two_shards}: cannot be read (Permission denied)")


@pytest.mark.parametrize("content, words", [([1, 2], "a list"), ({"model": {"x": 3}}, "'x' is a int, not a tensor")])
def test_no_tensors(content, words, two_shards):
    torch.save(content, two_shards / SECOND)
    refused(two_shards, SECOND, words)


def test_sparse_and_integer_tensors(two_shards):
    edit_both(two_shards, lambda model: model.update({"llma.norm.weight": torch.ones(48, dtype=torch.int8)}))
    refused(two_shards, "llma.norm.weight", "[48] int8", "floating")
    edit(two_shards, lambda model: model.update({"llma.norm.weight": torch.ones(48).to_sparse()}))
    refused(two_shards, SECOND, "llma.norm.weight is sparse")


def test_tensor_missing_in_one_shard(two_shards):
    edit(two_shards, lambda model: model.pop("llma.norm.weight"))
    refused(two_shards, SECOND, "llma.norm.weight", FIRST)


def test_tensor_missing_in_all_shards(two_shards):
    edit_both(two_shards, lambda model: model.pop("llma.norm.weight"))
    refused(two_shards, f"{FIRST}, {SECOND}: lacks 1 of", ": llma.norm.weight.", "initialise_missing='all'")


def test_shards_of_other_shapes(two_shards):
    edit(two_shards, lambda model: model.update({EMBEDDING: torch.zeros(52, 23)}))
    refused(two_shards, FIRST, SECOND, EMBEDDING, "[52, 24]", "[52, 23]")


def test_shards_of_other_types(two_shards):
    edit(two_shards, lambda model: model.update({EMBEDDING: torch.zeros(52, 24, dtype=torch.bfloat16)}))
    refused(two_shards, EMBEDDING, "float32", "bfloat16")


def test_shards_of_two_trainings(two_shards, tmp_path):
    edit(two_shards, lambda model: model["llma.norm.weight"].mul_(1.5))
    refused(two_shards, FIRST, "llma.norm.weight", "replicas first")
    assert load_model(two_shards, replicas="first").report.missing == ()
    with pytest.raises(CheckpointError, match=r"llma\.norm\.weight"):
        convert(two_shards, tmp_path / "out", "folder")
    assert not (tmp_path / "out").exists()
    convert(two_shards, tmp_path / "out", "folder", replicas="first")


def test_shapes_that_the_configuration_does_not_ask_for(two_shards):
    edit_both(two_shards, lambda model: model.update({"llma.clip.visual.ln_post.bias": torch.zeros(16)}))
    refused(two_shards, FIRST, "llma.clip.visual.ln_post.bias", "[16]", "[15]")


@pytest.mark.parametrize(
    "key, value, words",
    [
        (
            "vocab_size",
            51,
            ["llma.tok_embeddings.weight", "[52, 24] in each of 2", "[51, 24] in each of 2", "[51, 48]"],
        ),
        ("dim", 64, ["llma.start_img", "[1, 1, 48]", "[1, 1, 64]"]),
        ("n_kv_heads", 2, ["attention.wk.weight", "[12, 48] in each", "[24, 48]", "[6, 48] in each", "[12, 48]"]),
        ("n_layers", 2, ["llma.layers.2.", "no place in the model"]),
        ("n_layers", 4, ["lacks 9 of", "llma.layers.3."]),
    ],
)
def test_configuration_of_another_model(key, value, words, two_shards):
    values = json.loads((two_shards / "config.json").read_text())
    (two_shards / "config.json").write_text(json.dumps({**values, key: value}))
    refused(two_shards, *words)


def test_leading_dimensions_must_be_single(two_shards):
    name = "llma.vp_encoder.point_embeddings.0.weight"
    edit_both(two_shards, lambda model: model.update({name: torch.zeros(2, 256)}))
    refused(two_shards, FIRST, name, "shape [2, 256]", "form [1, …]")
    edit_both(two_shards, lambda model: model.update({name: torch.zeros(())}))
    refused(two_shards, FIRST, name, "shape []", "form [1, …]")


def test_split_tensors_need_the_dimension_that_is_split(two_shards):
    edit_both(two_shards, lambda model: model.update({EMBEDDING: torch.zeros(52)}))
    refused(two_shards, FIRST, EMBEDDING, "shape [52]", "form [n, n, …]")


def test_expected_shapes_that_shards_cannot_have(two_shards):
    edit_both(two_shards, lambda model: model.update({"llma.output.weight": torch.zeros(20, 48)}))
    refused(two_shards, "llma.output.weight", "[20, 48] in each of 2 shards, [40, 48] together", "[26, 48] in each")
    values = json.loads((two_shards / "config.json").read_text())
    (two_shards / "config.json").write_text(json.dumps({**values, "vocab_size": 53}))
    edit_both(two_shards, lambda model: model.update({EMBEDDING: torch.zeros(53, 24)}))
    refused(two_shards, "llma.output.weight", "asks for [53/2, 48] in each of 2 shards, [53, 48] together")


def test_missing_tensors_have_the_names_of_the_files(two_shards, tmp_path):
    """Meta's have no prefix, and our own folders have our names."""
    (tmp_path / "meta").mkdir()
    llm = {"norm.weight": torch.ones(48)}
    torch.save(llm, tmp_path / "meta" / "consolidated.00.pth")
    sizes = {"dim": 48, "n_layers": 1, "n_heads": 8, "vocab_size": 52}
    (tmp_path / "meta" / "params.json").write_text(json.dumps(sizes))
    (tmp_path / "tokenizer.model").write_bytes(small.TOKENIZER)
    refused(tmp_path / "meta", "meta: consolidated.00.pth: lacks", "initialise_missing='all'")
    checkpoint = open_checkpoint(tmp_path / "meta")
    assert checkpoint.source.stored_name("llm.layers.0.ffn_norm.weight") == "layers.0.ffn_norm.weight"

    edit_both(two_shards, lambda model: model.pop("llma.norm.weight"))
    convert(two_shards, tmp_path / "ours", "folder")
    refused(tmp_path / "ours", "ours: model-00001-of-00001.safetensors: lacks 1 of", ": llm.norm.weight.")


def test_the_same_tensor_under_two_names(two_shards):
    edit_both(two_shards, lambda model: model.update({"norm.weight": torch.ones(48)}))
    refused(two_shards, "norm.weight and llma.norm.weight are the same")


def test_unknown_tensors_are_reported_and_carried(two_shards, tmp_path):
    edit_both(two_shards, lambda model: model.update({"llma.lora.a": torch.arange(6.0).reshape(2, 3)}))
    report = load_model(two_shards).report
    assert report.unknown == ("llma.lora.a",)
    assert "llma.lora.a" not in report.unused
    convert(two_shards, tmp_path / "folder", "folder")
    convert(tmp_path / "folder", tmp_path / "back", "released", shards=2)
    small.assert_same_bits(small.read_shards(two_shards)[1], small.read_shards(tmp_path / "back")[1])


UNUSED, UNKNOWN = "llma.clip.logit_scale", "llma.lora.a"


@pytest.mark.parametrize("name", [UNUSED, UNKNOWN])
@pytest.mark.parametrize("file", [FIRST, SECOND])
def test_tensors_without_use_may_be_in_one_shard_only(name, file, two_shards, tmp_path):
    edit_both(two_shards, lambda model: model.pop(name, None))
    edit(two_shards, lambda model: model.update({name: torch.tensor([7])}), file)
    report = load_model(two_shards).report
    assert name in (report.unused if name == UNUSED else report.unknown)
    with pytest.raises(CheckpointError, match=rf"{file}: tensor {name} has no use, .*replicas first"):
        convert(two_shards, tmp_path / "out", "folder")
    convert(two_shards, tmp_path / "out", "folder", replicas="first")
    assert open_checkpoint(tmp_path / "out").read(name).tolist() == [7]


def test_tensors_without_use_of_a_type_that_safetensors_has_not(two_shards, tmp_path):
    edit_both(two_shards, lambda model: model.update({UNKNOWN: torch.ones(2, dtype=torch.complex64)}))
    assert load_model(two_shards).report.unknown == (UNKNOWN,)
    with pytest.raises(
        CheckpointError, match=rf"tensor unused\.{UNKNOWN} is complex64, .*convert to the released form"
    ):
        convert(two_shards, tmp_path / "out", "folder")
    assert not (tmp_path / "out").exists()
    convert(two_shards, tmp_path / "out", "released", shards=2)
    small.assert_same_bits(small.read_shards(two_shards)[1], small.read_shards(tmp_path / "out")[1])


@pytest.mark.parametrize("other", [torch.zeros(3), torch.zeros(2, 3, dtype=torch.int8), torch.zeros(2, 3), None])
def test_tensors_without_use_may_differ_among_shards(other, two_shards, tmp_path):
    """An adapter's part, split over the shards by a rule that we do not know, or the same name with another prefix."""
    edit_both(two_shards, lambda model: model.update({UNKNOWN: torch.ones(2, 3)}))
    changed = {"lora.a": torch.zeros(2, 3)} if other is None else {UNKNOWN: other}
    edit(two_shards, lambda model: model.update(changed))
    assert load_model(two_shards).report.unknown == (UNKNOWN,)
    with pytest.raises(CheckpointError, match="has no use"):
        convert(two_shards, tmp_path / "out", "released", shards=2)
    convert(two_shards, tmp_path / "out", "released", shards=2, replicas="first")
    assert all(torch.equal(shard[UNKNOWN], torch.ones(2, 3)) for shard in small.read_shards(tmp_path / "out"))


@pytest.mark.parametrize("text, error, words", [("{", CheckpointError, "no JSON"), ("[]", CheckpointError, "a list")])
def test_broken_configuration(text, error, words, two_shards):
    (two_shards / "config.json").write_text(text)
    with pytest.raises(error, match=words):
        open_checkpoint(two_shards)


def test_missing_configuration(two_shards):
    (two_shards / "config.json").unlink()
    refused(two_shards, "neither config.json nor params.json")


def test_unknown_key_names_the_file(two_shards):
    values = json.loads((two_shards / "config.json").read_text())
    (two_shards / "config.json").write_text(json.dumps({**values, "n_layer": 3}))
    with pytest.raises(ConfigError, match=r"two_shards/config\.json: unknown key 'n_layer'; .*'n_layers'"):
        load_model(two_shards)


@pytest.fixture
def folder(two_shards, tmp_path):
    """One of our folders, of three files."""
    convert(two_shards, tmp_path / "folder", "folder", shards=3)
    return tmp_path / "folder"


def test_folder_without_weights(folder):
    for file in folder.glob("*.safetensors*"):
        file.unlink()
    refused(folder, "holds no model*.safetensors")


def test_folder_without_a_file(folder):
    (folder / "model-00002-of-00003.safetensors").unlink()
    refused(folder, "model-00002-of-00003.safetensors", "no such file")


def test_folder_without_its_index(folder):
    (folder / "model.safetensors.index.json").unlink()
    refused(folder, "no model.safetensors.index.json")
    for number in (2, 3):
        (folder / f"model-0000{number}-of-00003.safetensors").unlink()
    refused(folder, "no model.safetensors.index.json")


@pytest.mark.parametrize("keep", [0.0, 0.01, 0.5, 0.999])
def test_folder_with_a_truncated_file(keep, folder):
    file = folder / "model-00002-of-00003.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * keep)])
    refused(folder, file.name, "truncated")


def test_folder_whose_index_is_wrong(folder):
    index = folder / "model.safetensors.index.json"
    table = json.loads(index.read_text())
    table["weight_map"]["invented"] = "model-00002-of-00003.safetensors"
    index.write_text(json.dumps(table))
    refused(folder, "model-00002-of-00003.safetensors", "invented")
    index.write_text("{}")
    refused(folder, "weight_map")


def test_folder_of_other_sizes(folder):
    values = json.loads((folder / "config.json").read_text())
    values["model"]["llm"]["vocab_size"] = 53
    (folder / "config.json").write_text(json.dumps(values))
    refused(folder, "model-0000", "llm.tok_embeddings.weight", "[52, 48]", "[53, 48]")


def test_bits_are_compared_as_bits():
    nan, zero = torch.tensor([float("nan")]), torch.tensor([0.0])
    assert same_bits(nan, nan.clone())
    assert not same_bits(zero, -zero)
    assert not same_bits(zero, zero.bfloat16())
    assert not same_bits(zero, torch.zeros(2))
