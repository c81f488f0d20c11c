"""Released folders of any size and number of shards come out as the tensors that went in."""

import json

import pytest
import torch

from SPHINX_V.config import full_vision, sphinx_v_13b
from SPHINX_V.errors import UsageError
from SPHINX_V.weights import names
from SPHINX_V.weights.checkpoint import model_shapes, open_checkpoint
from SPHINX_V.weights.load import load_model
from SPHINX_V.weights.released_write import save_released
from tests.weights import small


@pytest.mark.parametrize("kind, prompts", [("boxes", "boxes_xywh_px"), ("points", "points_px"), ("text_only", None)])
def test_golden_logits(kind, prompts, golden, golden_tensors, golden_facts, golden_processor):
    loaded = load_model(golden)
    picture = None if prompts is None else golden / "image.png"
    marks = None if prompts is None else golden_facts[prompts]
    inputs = golden_processor(picture, marks, [[golden_facts["question"], None]])
    with torch.no_grad():
        logits = loaded.model(inputs)[0]
    assert (logits - golden_tensors[f"logits_{kind}"]).abs().max() < 1e-5


def test_golden_report(golden):
    loaded = load_model(golden)
    assert loaded.tokenizer_bytes == (golden / "tokenizer.model").read_bytes()
    assert loaded.config.llm.max_seq_len == 2048
    assert loaded.config.vision.dinov2.pretrain_grid == 37
    report = loaded.report
    assert (report.kind, report.loaded, report.dtype) == ("released", len(loaded.model.state_dict()), torch.float32)
    assert (report.missing, report.initialised, report.unknown) == ((), (), ())
    assert "llma.clip.text_projection" in report.unused
    assert "llma.dinov2_vitg14.mask_token" in report.unused


def test_every_name_and_shape_of_the_released_13b():
    released = json.loads((small.DATA / "released_checkpoint_13b.json").read_text(encoding="utf-8"))
    ours = model_shapes(sphinx_v_13b())
    mapped = {}
    for name, shape in ours.items():
        there = names.to_released(name)
        back = names.to_ours(there.name)
        assert back is not None
        assert (back.name, back.lead) == (name, there.lead)
        mapped[there.name] = {"shape": [1] * there.lead + list(shape)}
        if names.split_dimension(name) is not None:
            mapped[there.name]["tp_dim"] = names.split_dimension(name)
    without_use = {name for name in released if name not in mapped}
    assert {name: released[name] for name in mapped} == mapped
    assert all(names.is_unused(name) and names.to_ours(name) is None for name in without_use)
    assert not any(names.is_unused(name) for name in mapped)
    # The specification: 16.46 B in the file, 39 M of them without use.
    sizes = {name: torch.Size(entry["shape"]).numel() for name, entry in released.items()}
    assert (sum(sizes.values()), sum(sizes[name] for name in without_use)) == (16_465_009_537, 39_383_809)


@pytest.mark.parametrize("shards", [1, 2, 4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_other_sizes_and_shard_counts(shards, dtype, tmp_path):
    config = small.small_config()
    state = small.random_state(config, dtype)
    unused = small.unused_tensors(dtype)
    folder = small.write_released(tmp_path / "in", config, small.released_state(state, unused), shards)
    checkpoint = open_checkpoint(folder)
    assert checkpoint.kind == "released"
    assert checkpoint.config == config
    assert checkpoint.dtype == dtype
    assert checkpoint.tokenizer_bytes == small.TOKENIZER
    assert set(checkpoint.unused) == set(unused)
    assert checkpoint.shapes() == {name: tuple(tensor.shape) for name, tensor in state.items()}
    small.assert_same_bits({name: checkpoint.read(name) for name in checkpoint.shapes()}, state)


@pytest.mark.parametrize("shards", [1, 2, 4])
def test_written_shards_are_what_torch_reads(shards, state, tmp_path):
    config = small.small_config()
    save_released(tmp_path / "out", state, config, small.TOKENIZER, shards=shards)
    read = small.read_shards(tmp_path / "out")
    released = small.released_state(state)
    assert len(read) == shards
    for index, shard in enumerate(read):
        small.assert_same_bits(shard, {n: small.cut(n, t, index, shards) for n, t in released.items()})
        assert all(tensor.is_contiguous() for tensor in shard.values())
    # A view would have dragged its whole storage into the file.
    sizes = [path.stat().st_size for path in (tmp_path / "out").glob("*.pth")]
    assert max(sizes) < sum(t.nbytes for t in read[0].values()) + 2000 * len(released)
    stored = json.loads((tmp_path / "out" / "meta.json").read_text(encoding="utf-8"))
    assert stored == {"llama_type": "llama_ens5_vp"}


@pytest.mark.parametrize(
    "shards, what", [(8, "dimension 0 of llm.output.weight, which is 52"), (5, "which is 48"), (0, "at least 1")]
)
def test_shards_must_divide(shards, what, state, tmp_path):
    with pytest.raises(UsageError, match=what):
        save_released(tmp_path / "out", state, small.small_config(), small.TOKENIZER, shards=shards)
    assert list(tmp_path.iterdir()) == []


def test_shards_must_divide_the_vocabulary(tmp_path):
    config = small.small_config(vocab_size=54)
    with pytest.raises(UsageError, match=r"dimension 0 of llm.output.weight, which is 54"):
        save_released(tmp_path / "out", small.random_state(config), config, small.TOKENIZER, shards=4)


def test_vocabulary_of_minus_one_is_read_off_the_embedding(two_shards):
    values = json.loads((two_shards / "config.json").read_text())
    (two_shards / "config.json").write_text(json.dumps({**values, "vocab_size": -1}))
    assert open_checkpoint(two_shards).config.llm.vocab_size == 52


def test_meta_llama_folder(state, tmp_path):
    config = small.small_config()
    llm = {name.removeprefix("llm."): tensor for name, tensor in state.items() if name.startswith("llm.")}
    llm["rope.freqs"] = torch.arange(3.0)
    folder = tmp_path / "llama" / "llama-2-tiny"
    folder.mkdir(parents=True)
    for index in range(2):
        piece = {n: small.cut("llma." + n, t, index, 2) for n, t in llm.items()}
        torch.save(piece, folder / f"consolidated.{index:02d}.pth")
    params = {"dim": 48, "n_layers": 3, "n_heads": 8, "n_kv_heads": 4, "multiple_of": 4, "ffn_dim_multiplier": 1.3}
    (folder / "params.json").write_text(json.dumps({**params, "norm_eps": 1e-5, "vocab_size": -1}))
    (folder.parent / "tokenizer.model").write_bytes(small.TOKENIZER)

    alone = open_checkpoint(folder)
    assert alone.kind == "meta_llama"
    assert alone.config.vision == full_vision()
    assert alone.config.llm == config.llm.model_copy(update={"max_seq_len": 4096})
    assert alone.unused == ("llma.rope.freqs",)
    assert alone.tokenizer_bytes == small.TOKENIZER

    loaded = load_model(folder, config=config, initialise_missing="all", seed=3)
    fresh = small.random_state(config, seed=3)
    for name, tensor in loaded.model.state_dict().items():
        assert torch.equal(tensor, state[name] if name.startswith("llm.") else fresh[name]), name
    assert set(loaded.report.initialised) == {name for name in state if not name.startswith("llm.")}
