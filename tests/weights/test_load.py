"""Loading: what may be missing and what not, types, overrides, filling an existing model, single parts."""

import pytest
import torch

from SPHINX_V.config import tiny
from SPHINX_V.errors import CheckpointError, ConfigError, UsageError
from SPHINX_V.weights.convert import convert
from SPHINX_V.weights.folder import save_folder
from SPHINX_V.weights.load import build_random, load_model, load_state, load_tensors
from SPHINX_V.weights.names import PROMPT_PARTS, to_released
from tests.weights import small


@pytest.fixture
def without_prompts(state, tmp_path):
    """SPHINX-v2-1k's form: the same names without the prompt parts."""
    kept = {name: tensor for name, tensor in state.items() if not name.startswith(PROMPT_PARTS)}
    return small.write_released(tmp_path / "v2", small.small_config(), small.released_state(kept), shards=2)


def test_missing_prompts_are_refused_by_default(without_prompts, state):
    count = sum(name.startswith(PROMPT_PARTS) for name in state)
    with pytest.raises(CheckpointError, match=rf"lacks {count} of .*: llma\.start_vp, .*initialise_missing='prompts'"):
        load_model(without_prompts)


@pytest.mark.parametrize("how", ["prompts", "all"])
def test_missing_prompts_are_drawn_when_asked(how, without_prompts, state):
    loaded = load_model(without_prompts, initialise_missing=how, seed=5)
    fresh = small.random_state(small.small_config(), seed=5)
    expected = {n: fresh[n] if n.startswith(PROMPT_PARTS) else tensor for n, tensor in state.items()}
    small.assert_same_bits(dict(loaded.model.state_dict()), expected)
    assert set(loaded.report.initialised) == {name for name in state if name.startswith(PROMPT_PARTS)}
    assert loaded.report.missing == loaded.report.initialised
    assert loaded.report.loaded == len(state) - len(loaded.report.missing)
    again = load_model(without_prompts, initialise_missing=how, seed=6)
    assert not torch.equal(again.model.vp_proj[0].weight, loaded.model.vp_proj[0].weight)


def test_the_prompts_option_covers_nothing_else(state, tmp_path):
    kept = {name: t for name, t in state.items() if name not in ("start_vp", "vision.clip.norm.bias")}
    folder = small.write_released(tmp_path / "in", small.small_config(), small.released_state(kept))
    with pytest.raises(
        CheckpointError, match=r"lacks 1 of .*: llma\.clip\.visual\.ln_post\.bias\. .*initialise_missing='all'"
    ):
        load_model(folder, initialise_missing="prompts")
    with pytest.raises(UsageError, match="initialise_missing is 'yes'; give 'none', 'prompts' or 'all'"):
        load_model(folder, initialise_missing="yes")


def test_dtype_is_the_file_s_or_the_one_asked_for(tmp_path):
    config = small.small_config()
    halved = small.random_state(config, torch.bfloat16)
    folder = small.write_released(tmp_path / "in", config, small.released_state(halved))
    loaded = load_model(folder)
    assert loaded.report.dtype == torch.bfloat16
    assert {parameter.dtype for parameter in loaded.model.parameters()} == {torch.bfloat16}
    wide = load_model(folder, dtype=torch.float32).model.state_dict()
    small.assert_same_bits(dict(wide), {name: tensor.float() for name, tensor in halved.items()})


def test_frequencies_stay_in_float32(two_shards, state):
    """Half precision would move every mark by pixels, even where the arithmetic is float32."""
    model = load_model(two_shards, dtype=torch.bfloat16).model
    assert model.start_vp.dtype == torch.bfloat16
    assert torch.equal(model.prompt_encoder.frequencies, state["prompt_encoder.frequencies"])


def test_overrides(two_shards):
    changed = {"llm.max_seq_len": 77, "vision.clip.hidden_act": "quick_gelu"}
    loaded = load_model(two_shards, overrides=changed)
    assert loaded.model.config is loaded.config
    assert (loaded.config.llm.max_seq_len, loaded.config.vision.clip.hidden_act) == (77, "quick_gelu")
    with pytest.raises(ConfigError, match=r"llm\.max_len"):
        load_model(two_shards, overrides={"llm.max_len": 3})
    with pytest.raises(ConfigError, match=r"no field 'lm\.dim'"):
        load_model(two_shards, overrides={"lm.dim": 3})


def test_tokenizer_from_elsewhere(two_shards, tmp_path):
    (two_shards / "tokenizer.model").unlink()
    with pytest.raises(CheckpointError, match=r"has no tokenizer\.model"):
        load_model(two_shards)
    other = tmp_path / "other.model"
    other.write_bytes(b"abc")
    assert load_model(two_shards, tokenizer_file=other).tokenizer_bytes == b"abc"
    with pytest.raises(CheckpointError, match="no such tokenizer"):
        load_model(two_shards, tokenizer_file=tmp_path / "none.model")


def test_the_model_does_not_share_memory_with_the_file(two_shards, state):
    model = load_model(two_shards).model
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    small.assert_same_bits(dict(load_model(two_shards).model.state_dict()), state)


def test_filling_an_existing_model(two_shards, state):
    model = build_random(small.small_config(), seed=9)
    weight = model.llm.output.weight
    report = load_state(model, two_shards)
    assert model.llm.output.weight is weight
    small.assert_same_bits(dict(model.state_dict()), state)
    assert report.loaded == len(state)


def test_a_model_of_other_sizes_stays_as_it_was(two_shards):
    model = build_random(small.small_config(vocab_size=60), seed=9)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(CheckpointError, match=r"consolidated\.00-of-02.*tok_embeddings.*\[52, 48\].*\[60, 48\]"):
        load_state(model, two_shards)
    small.assert_same_bits(dict(model.state_dict()), before)


def test_random_models_depend_on_the_seed_alone():
    config = small.small_config()
    one, two, other = (build_random(config, seed=seed) for seed in (1, 1, 2))
    small.assert_same_bits(dict(one.state_dict()), dict(two.state_dict()))
    small.assert_same_bits(dict(one.state_dict()), small.random_state(config, seed=1))
    assert not torch.equal(one.start_img, other.start_img)
    halved = build_random(config, seed=1, dtype=torch.bfloat16)
    assert halved.start_img.dtype == torch.bfloat16
    assert halved.prompt_encoder.frequencies.dtype == torch.float32


def test_single_parts(state):
    model = build_random(small.small_config(), seed=4)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    part = {name: tensor for name, tensor in state.items() if name.startswith("vision.clip.")}
    load_tensors(model, part, "clip.pt", ["vision.clip."])
    small.assert_same_bits(dict(model.state_dict()), {**before, **part})
    del part["vision.clip.norm.bias"]
    with pytest.raises(CheckpointError, match=r"clip\.pt: lacks 1 tensors of the part: vision\.clip\.norm\.bias"):
        load_tensors(model, part, "clip.pt", ["vision.clip."])
    with pytest.raises(CheckpointError, match=r"clip\.pt: tensor clop has no place"):
        load_tensors(model, {"clop": torch.zeros(3)}, "clip.pt")
    with pytest.raises(CheckpointError, match=r"clip\.pt: tensor end_vp has the shape \[3\], the model's \[1, 1, 48\]"):
        load_tensors(model, {"start_vp": torch.zeros(1, 1, 48), "end_vp": torch.zeros(3)}, "clip.pt")
    assert model.start_vp.abs().max() > 0


def test_extra_parts_of_small_recipes_survive_both_forms(tmp_path):
    config = tiny()
    state = small.random_state(config)
    extra = [name for name in state if "llma.extra." in to_released(name).name]
    assert "vision.clip.stem_norm.weight" in extra
    save_folder(tmp_path / "folder", state, config, small.TOKENIZER)
    convert(tmp_path / "folder", tmp_path / "released", "released", shards=4)
    loaded = load_model(tmp_path / "released")
    assert (loaded.config, loaded.report.unknown) == (config, ())
    small.assert_same_bits(dict(loaded.model.state_dict()), state)
