"""Sizes: derived as the papers' code derives them, and impossible ones refused with the field's name."""

import pytest

from SPHINX_V.config import PRESETS, LlamaConfig, SphinxVConfig, dinov2_mlp_width, parse_config, sphinx_v_13b, tiny
from SPHINX_V.errors import ConfigError


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ({"dim": 4096, "n_heads": 32, "multiple_of": 256}, 11008),  # LLaMA-2-7B
        ({"dim": 5120, "n_heads": 40, "multiple_of": 256}, 13824),  # LLaMA-2-13B
        ({"dim": 8192, "n_heads": 64, "multiple_of": 4096, "ffn_dim_multiplier": 1.3}, 28672),  # LLaMA-2-70B
        ({"dim": 4096, "n_heads": 32, "multiple_of": 1024, "ffn_dim_multiplier": 1.3}, 14336),  # LLaMA-3-8B
    ],
)
def test_swiglu_width_of_published_models(sizes, expected):
    assert LlamaConfig(n_layers=1, vocab_size=32000, **sizes).ffn_dim == expected


@pytest.mark.parametrize(("width", "expected"), [(384, 1024), (768, 2048), (1024, 2736), (1536, 4096)])
def test_swiglu_width_of_dinov2(width, expected):
    assert dinov2_mlp_width(width) == expected


def test_heads_of_keys_default_to_all_heads():
    assert LlamaConfig(dim=64, n_layers=1, n_heads=4, vocab_size=9).kv_heads == 4
    assert LlamaConfig(dim=64, n_layers=1, n_heads=4, vocab_size=9, n_kv_heads=2).kv_heads == 2


@pytest.mark.parametrize("name", PRESETS)
def test_presets_survive_json(name):
    config = PRESETS[name]()
    assert SphinxVConfig.model_validate_json(config.model_dump_json()) == config


def broken(path, value):
    """The 13B preset as plain values with one of them changed."""
    values = sphinx_v_13b().model_dump()
    *parents, last = path.split(".")
    target = values
    for parent in parents:
        target = target[parent]
    target[last] = value
    return values


@pytest.mark.parametrize(
    ("path", "value", "sentence"),
    [
        ("llm.dim", 0, r"llm\.dim: .*greater than 0 \(value: 0\)"),
        ("llm.dim", "wide", r"llm\.dim: .*integer.*\(value: 'wide'\)"),
        ("llm.n_heads", 39, r"llm: .*dim 5120 must divide into n_heads 39"),
        ("llm.n_kv_heads", 7, r"llm: .*n_heads 40 must be a multiple of n_kv_heads 7"),
        ("llm.n_kv_heads", 0, r"llm\.n_kv_heads: .*greater than 0 \(value: 0\)"),
        ("llm.rope_theta", 0.0, r"llm\.rope_theta: .*greater than 0"),
        ("llm.rope_theta", float("inf"), r"llm\.rope_theta: .*finite"),
        ("llm.norm_eps", -1e-5, r"llm\.norm_eps: .*greater than 0"),
        ("llm.ffn_dim_multiplier", 0, r"llm\.ffn_dim_multiplier: .*greater than 0"),
        ("llm.ffn_dim_multiplier", 1e-9, r"llm: .*ffn_dim_multiplier 1e-09 leaves no feed-forward width"),
        ("llm.tied", True, r"llm\.tied: .*not permitted.*\(value: True\)"),
        ("vision.clip.heads", 7, r"vision\.clip: .*width 1024 must be a multiple of heads 7"),
        ("vision.clip.hidden_act", "relu", r"vision\.clip\.hidden_act: .*'gelu'.*\(value: 'relu'\)"),
        ("vision.qformer.heads", 7, r"vision\.qformer: .*multiple of heads 7"),
        ("vision.view_size", 225, r"vision: .*clip\.patch_size 14 does not divide view_size 225"),
        ("vision.dinov2.patch_size", 16, r"vision: .*must have one grid.*16 patches"),
        ("vision.view_size", 210, r"vision: .*15 patches per side.*must be even"),
        ("vision.clip.pretrain_grid", 24, r"vision: .*clip\.pretrain_grid 24: only dinov2's"),
    ],
)
def test_impossible_sizes_are_refused_with_their_field(path, value, sentence):
    with pytest.raises(ConfigError, match=f"^my/config.json: {sentence}"):
        parse_config(broken(path, value), "my/config.json")


def test_every_fault_is_named_at_once():
    values = broken("llm.dim", -1)
    values["prompts"] = {"num_slots": 0}
    with pytest.raises(ConfigError, match=r"llm\.dim: .*; prompts\.num_slots: "):
        parse_config(values, "here")


def test_a_configuration_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        tiny().norm_eps = 1.0  # type: ignore[misc]
