"""Adapters: what is trained, what a run begins with, equality over layouts and resumes, checkpoints without them."""

from contextlib import contextmanager

import pytest
import torch

from accessory.config import RunOptions, load_options
from accessory.main import launch
from accessory.runtime.distributed import World
from accessory.tools.export import main as export
from accessory.train import lora
from accessory.train.build import build
from accessory.train.export import export_folder, export_released
from accessory.train.lora import adapters, split_of
from SPHINX_V.errors import ConfigError
from SPHINX_V.inputs import ModelInputs
from SPHINX_V.weights.checkpoint import open_checkpoint
from SPHINX_V.weights.load import load_model
from SPHINX_V.weights.local_part import local_tensor
from tests.accessory.runs import MIXED, write_data, write_run
from tests.accessory.train.test_meshes import check_layouts
from tests.accessory.train.test_resume import assert_resumed_alike
from tests.golden_model import GOLDEN

ALONE = World(0, 1, torch.device("cpu"))
TOKENIZER = (GOLDEN / "tokenizer.model").read_bytes()
SMALL = {"rank": 4, "alpha": 8}
RANK, DIM, KEYS, FEED = 4, 64, 32, 192  # of the golden model, which has two layers


def written(folder, **train):
    """A run from the golden checkpoint; besides adapters it trains projections, prompts and norms."""
    settings = {"freeze": ["vision", "llm.tok_embeddings"], "lora": SMALL, "lr": 1e-3, "warmup_epochs": 0.0, **train}
    return write_run(folder, write_data(folder, MIXED), **settings)


def built(folder, *overrides, **train):
    return build(load_options(RunOptions, written(folder, **train), overrides), ALONE).model


@contextmanager
def in_bfloat16(folder, **train):
    """The model and the world that it was built in."""
    options = load_options(RunOptions, written(folder, **train), ["parallel.dtype=bfloat16"])
    with launch(options.parallel) as this:
        yield build(options, this).model, this


def texts():
    generator = torch.Generator().manual_seed(0)
    return ModelInputs(torch.randint(3, 700, (2, 12), generator=generator), torch.tensor([12, 12]))


def trained(model):
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def test_a_run_begins_with_the_model_that_it_was_given(tmp_path, golden_model):
    with torch.no_grad():
        assert torch.equal(built(tmp_path)(texts()), golden_model(texts()))


def test_adapters_are_trained_in_float32_and_what_they_stand_beside_is_frozen(tmp_path):
    with in_bfloat16(tmp_path, freeze=["vision"]) as (model, _):
        check_types(model)


def check_types(model):
    names = trained(model)
    ours = {name: parameter for name, parameter in names.items() if ".lora_" in name}
    assert len(adapters(model)) == 2 * 7
    assert len(ours) == 2 * len(adapters(model))
    assert {parameter.dtype for parameter in names.values()} == {torch.float32}
    # In and out of wq, wo; wk, wv; w1, w2, w3.
    width = 2 * (DIM + DIM) + 2 * (DIM + KEYS) + 3 * (DIM + FEED)
    assert sum(parameter.numel() for parameter in ours.values()) == 2 * RANK * width
    projections = {name: p.dtype for name, p in model.named_parameters() if name.endswith(".base_layer.weight")}
    assert len(projections) == 2 * 7
    assert set(projections.values()) == {torch.bfloat16}
    assert not set(projections) & set(names)
    assert {"llm.norm.weight", "llm.layers.0.ffn_norm.weight", "llm.output.weight", "vp_proj.0.weight"} <= set(names)


def test_with_all_else_frozen_adapters_alone_are_trained(tmp_path):
    parts = ["vision", "llm", "prompt_encoder", "visual_proj", "qformer_proj", "vp_proj"]
    model = built(tmp_path, freeze=[*parts, "start_img", "end_img", "start_vp", "end_vp"], lora={"targets": ["wq"]})
    assert sorted(trained(model)) == [
        f"llm.layers.{layer}.attention.wq.lora_{matrix}.default.weight" for layer in range(2) for matrix in "AB"
    ]


def test_an_adapter_starts_by_seed_and_name_alone(tmp_path):
    model = built(tmp_path)
    few, other = built(tmp_path, lora={**SMALL, "targets": ["w2"]}), built(tmp_path, "train.seed=1")
    states = [one.state_dict() for one in (model, few, other)]
    downs = [adapter.down for adapter in adapters(few)]
    assert downs == [f"llm.layers.{layer}.feed_forward.w2.lora_A.default.weight" for layer in range(2)]
    for name in downs:
        assert torch.equal(states[0][name], states[1][name])
        assert not torch.equal(states[0][name], states[2][name])
        assert 0.9 < states[0][name].abs().max() * FEED**0.5 <= 1
    assert not torch.equal(*(states[0][name] for name in downs))


def test_a_preset_gets_adapters_too(tmp_path):
    config = write_run(tmp_path, write_data(tmp_path, MIXED), preset=True, lora=SMALL)
    model = build(load_options(RunOptions, config), ALONE).model
    with_none = write_run(tmp_path, write_data(tmp_path, MIXED), preset=True)
    plain = build(load_options(RunOptions, with_none), ALONE).model.state_dict()
    state = model.state_dict()
    assert all(torch.equal(state[name], plain[name]) for name in plain)
    assert len(state) == len(plain) + 2 * 4 * 7


def set_adapters(model):
    """Gives the adapters an effect, of a tenth or so."""
    parameters = dict(model.named_parameters())
    generator = torch.Generator().manual_seed(0)
    for adapter in adapters(model):
        up = local_tensor(parameters[adapter.up].detach())
        up.normal_(std=0.1, generator=generator)


def by_hand(model, adapter):
    """The merged weight in float64; alpha / rank is 2."""
    parts = {name: local_tensor(tensor).double() for name, tensor in model.state_dict().items()}
    return parts[adapter.weight] + 2 * parts[adapter.up] @ parts[adapter.down]


def test_a_checkpoint_is_plain_and_answers_as_model_and_adapters_together(tmp_path, golden_model):
    model = built(tmp_path, lora={**SMALL, "targets": ["wq", "wo", "w2"]})
    set_adapters(model)
    export_folder(tmp_path / "folder", model, ALONE, TOKENIZER)
    export_released(tmp_path / "released", model, ALONE, TOKENIZER, shards=2)
    start = golden_model.state_dict()
    for folder in ("folder", "released"):
        loaded = load_model(tmp_path / folder)
        assert (loaded.report.missing, loaded.report.unknown) == ((), ())
        state = loaded.model.state_dict()
        assert list(state) == list(start)
        changed = {name for name in state if not torch.equal(state[name], start[name])}
        assert changed == {adapter.weight for adapter in adapters(model)}
        for adapter in adapters(model):
            assert torch.allclose(state[adapter.weight].double(), by_hand(model, adapter), rtol=0, atol=1e-6)
        with torch.no_grad():
            ours, theirs = model(texts()), loaded.model(texts())
            assert (ours - golden_model(texts())).abs().max() > 0.1, "else the adapters would do nothing"
            assert (ours - theirs).abs().max() < 1e-5


def test_what_is_merged_into_bfloat16_weights_is_written_in_float32(tmp_path):
    """Most of what an adapter adds is smaller than a step of bfloat16."""
    with in_bfloat16(tmp_path, lora={**SMALL, "targets": ["wq", "wo", "w2"]}) as (model, this):
        set_adapters(model)
        export_folder(tmp_path / "folder", model, this, TOKENIZER)
        expected = {adapter.weight: by_hand(model, adapter) for adapter in adapters(model)}
    written = open_checkpoint(tmp_path / "folder")
    assert written.read("llm.tok_embeddings.weight").dtype == torch.bfloat16, "it is frozen"
    for name, tensor in expected.items():
        assert written.read(name).dtype == torch.float32
        assert torch.allclose(written.read(name).double(), tensor, rtol=0, atol=1e-6)


def test_training_changes_what_it_should_and_a_resumed_run_ends_the_same(tmp_path, golden_model):
    config = written(tmp_path, max_steps=4, lora={**SMALL, "targets": ["wq", "w1"]}, freeze=["vision", "llm"])
    assert_resumed_alike(config, tmp_path, steps=(1, 3))
    state, start = load_model(tmp_path / "out" / "checkpoint").model.state_dict(), golden_model.state_dict()
    changed = {name for name in state if not torch.equal(state[name], start[name])}
    assert {name for name in changed if name.startswith("llm.")} == {
        f"llm.layers.{layer}.{name}.weight" for layer in range(2) for name in ("attention.wq", "feed_forward.w1")
    }
    assert "vp_proj.0.weight" in changed
    third = tmp_path / "third"
    assert export([str(tmp_path / "out"), "--out", str(third), "--format", "folder", "--step", "3"]) == 0
    before = load_model(third).model.state_dict()
    assert {name for name in state if not torch.equal(state[name], before[name])} == changed


LAYOUTS = {
    "ddp": ["parallel.mode=ddp", "train.batch_size=2"],
    "sdp": ["parallel.mode=sdp", "train.batch_size=2"],
    "fsdp": ["parallel.mode=fsdp", "train.batch_size=1", "train.accumulation=2"],
    "tensor": ["parallel.tensor=2", "parallel.recompute=selective"],
    "bfloat16": ["parallel.mode=fsdp", "parallel.dtype=bfloat16", "train.batch_size=2"],
}


@pytest.mark.slow
def test_two_processes_equal_one(tmp_path, golden_model):
    config = written(tmp_path, batch_size=4, max_steps=5, lr=1e-2)
    check_layouts(config, tmp_path, 2, LAYOUTS)
    checkpoints = {name: load_model(tmp_path / name / "checkpoint").model.state_dict() for name in ("out", *LAYOUTS)}
    expected = checkpoints.pop("out")
    for name, state in checkpoints.items():
        for key in ("attention.wk", "attention.wo", "feed_forward.w2"):
            weight = f"llm.layers.1.{key}.weight"
            moved = expected[weight] - golden_model.get_parameter(weight)
            difference = state[weight] - expected[weight]
            # AdamW's first steps go by the signs of gradients, also of those that rounding makes.
            assert difference.norm() < (0.5 if name == "bfloat16" else 1e-3) * moved.norm(), (name, weight)


def test_of_an_adapter_the_matrix_at_the_split_side_is_split():
    names = {"attention.wk": (0, None, 0), "attention.wo": (1, 1, None), "feed_forward.w2": (1, 1, None)}
    for name, expected in names.items():
        ours = f"llm.layers.3.{name}"
        found = [f"{ours}.base_layer.weight", f"{ours}.lora_A.default.weight", f"{ours}.lora_B.default.weight"]
        assert tuple(split_of(one) for one in found) == expected
    assert [split_of(name) for name in ("llm.output.weight", "llm.norm.weight", "vp_proj.0.weight")] == [0, None, None]


def test_a_missing_peft_is_told_with_the_line_that_installs_it(tmp_path, monkeypatch):
    monkeypatch.setattr(lora, "find_spec", lambda name: None)
    with pytest.raises(ConfigError) as caught:
        built(tmp_path)
    assert "pip install 'sphinx-v[lora]'" in str(caught.value)
