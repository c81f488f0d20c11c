"""The released form of a configuration says all that ours says, and refuses what it does not know."""

import json

import pytest

from SPHINX_V.config import PromptConfig, full_vision, parse_config, sphinx_v_13b, tiny
from SPHINX_V.errors import ConfigError
from SPHINX_V.weights.released_config import from_released, to_released
from tests.golden_model import golden_config
from tests.weights.small import released_config, small_config


def changed(config, **fields):
    """`config` with dotted fields (`__` for the dot) changed, validated again."""
    values = config.model_dump()
    for dotted, value in fields.items():
        *parents, leaf = dotted.split("__")
        level = values
        for part in parents:
            level = level[part]
        level[leaf] = value
    return parse_config(values, "test")


def test_golden_file_gives_the_golden_sizes(golden):
    assert from_released(json.loads((golden / "config.json").read_text()), "config.json") == golden_config()


def test_golden_sizes_give_the_golden_file(golden):
    stored = json.loads((golden / "config.json").read_text())
    written = json.loads(json.dumps(to_released(golden_config())))
    assert written["vision"]["dinov2"]["pretrain_size"] == 518
    assert written == {key: value for key, value in stored.items() if key in written}
    assert stored.keys() - written.keys() == {"max_batch_size", "load_pretrained_visual_encoder"}


def test_without_vision_the_full_encoders_hold():
    values = to_released(sphinx_v_13b())
    assert "vision" not in values
    assert from_released(values, "config.json") == sphinx_v_13b()
    params = {"dim": 5120, "multiple_of": 256, "n_heads": 40, "n_layers": 40, "norm_eps": 1e-5, "vocab_size": -1}
    assert from_released(params, "params.json", vocab_size=32000) == sphinx_v_13b()


@pytest.mark.parametrize(
    "config",
    [
        small_config(),
        tiny(),
        tiny(vocab_size=900),
        changed(sphinx_v_13b(), prompts__num_slots=4, prompts__frequencies=32),
        changed(sphinx_v_13b(), norm_eps=1e-6),
        changed(sphinx_v_13b(), vision__clip__hidden_act="quick_gelu", llm__rope_theta=500000.0),
        changed(small_config(), vision__dinov2__mlp_width=11, vision__dinov2__hidden_act="gelu"),
        changed(small_config(), vision__dinov2__layer_scale=False, vision__blip2_vit__norm_eps=1e-5),
        changed(small_config(), vision__clip__pre_norm=False, vision__clip__patch_bias=True),
        changed(small_config(), vision__qformer__norm_eps=1e-6, vision__position_features=True),
    ],
    ids=range(10),
)
def test_round_trip(config):
    assert from_released(json.loads(json.dumps(to_released(config))), "config.json") == config


def test_hand_written_file():
    assert from_released(released_config(small_config()), "config.json") == small_config()


@pytest.mark.parametrize(
    "path, value, message",
    [
        (("n_head",), 8, r"here\.json: unknown key 'n_head'; the nearest known one is 'n_heads'"),
        (("vision", "dino"), {}, r"here\.json: vision: unknown key 'dino'; .* 'dinov2'"),
        (("vision", "clip", "widht"), 3, r"vision\.clip: unknown key 'widht'; .* 'width'"),
        (("vision", "convnext", "dim"), 3, r"vision\.convnext: unknown key 'dim'; .* 'dims'"),
        (("vision", "qformer", "head"), 3, r"vision\.qformer: unknown key 'head'; .* 'heads'"),
        (("vision", "prompts"), {"slots": 3}, r"vision\.prompts: unknown key 'slots'; .* 'num_slots'"),
        (("rope_scaling",), 4.0, r"here\.json: rope_scaling is 4\.0"),
        (("vision", "clip"), None, r"vision\.clip is missing"),
        (("vision",), [1], r"vision is a list"),
        (("vision", "view_size"), "28", r"view_size is '28'"),
        (("vision", "clip", "width"), "15", r"vision\.clip\.width is '15'"),
        (("vision", "dinov2", "pretrain_size"), 36, r"patch_size 7 does not divide pretrain_size 36"),
        (("dim",), 50, r"here\.json: llm: .*dim 50"),
        (("vocab_size",), 0, r"here\.json: llm\.vocab_size"),
    ],
)
def test_faults_name_file_and_key(path, value, message):
    values = released_config(small_config())
    level = values
    for part in path[:-1]:
        level = level[part]
    level[path[-1]] = value
    with pytest.raises(ConfigError, match=message):
        from_released(values, "here.json")


def test_full_vision_is_not_written_when_something_else_differs():
    written = to_released(changed(sphinx_v_13b(), prompts__num_slots=3))
    assert written["vision"]["prompts"] == {**PromptConfig().model_dump(), "num_slots": 3}
    assert from_released(written, "x").vision == full_vision()
