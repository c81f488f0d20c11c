"""A dry run knows what the run will do, and fails where the run would."""

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image

from accessory.config import LoraOptions, RunOptions, load_options
from accessory.train.checks import check_losses
from accessory.train.dry_run import dry_run
from accessory.train.estimate import count_parts, estimate
from accessory.train.freeze import freeze
from accessory.train.lora import add_adapters
from accessory.train.meta_model import meta_model
from SPHINX_V.config import sphinx_v_13b
from SPHINX_V.errors import ConfigError, SphinxVError
from tests.accessory.runs import FREEZE, MIXED, run, talk, write_data, write_run
from tests.golden_model import GOLDEN
from tests.house.repo import ROOT
from tests.weights.small import small_config


def written(folder, items=MIXED, data=None, **train):
    return write_run(folder, write_data(folder, items), preset=True, data=data, **{"batch_size": 2, **train})


def estimated(config, *overrides, processes=1):
    options = load_options(RunOptions, config, overrides)
    return estimate(options, processes, Path(options.output) / "checkpoint")


def refused(config, *overrides, processes=1):
    with pytest.raises(SphinxVError) as caught:
        estimated(config, *overrides, processes=processes)
    return f"{type(caught.value).__name__}: {caught.value}"


def test_steps_and_tokens_are_those_of_the_run(tmp_path):
    config = written(tmp_path, freeze=["vision"])
    found = estimated(config)
    assert list(tmp_path.glob("out*")) == [], "nothing is written"
    metrics = run(config)
    assert (found.work.total_steps, found.work.steps_per_epoch, found.work.step_size) == (4, 4, 2)
    assert len(metrics) == 4
    assert found.work.text_tokens == sum(line["tokens"] for line in metrics)
    assert found.work.visual_tokens == 6 * 127
    assert found.work.items == 8


def test_more_processes_take_more_items_a_step(tmp_path):
    found = estimated(written(tmp_path), "train.max_steps=5", "parallel.tensor=2", processes=4)
    assert (found.work.step_size, found.work.steps_per_epoch, found.work.total_steps) == (4, 3, 5)


def test_the_largest_micro_batch_is_the_one_with_most_tokens(tmp_path):
    long_text = talk("Tell me.", "word " * 300)
    pictured = [talk("What?", "A dot.", image="image.png") for _ in range(2)]
    found = estimated(written(tmp_path, [*pictured, long_text, MIXED[6]], data={"max_words": 4000})).work.largest
    assert (found.rows, found.picture) == (2, False)
    assert found.text_length > 300 + 127
    short = estimated(written(tmp_path, [*pictured, MIXED[6]])).work.largest
    assert (short.rows, short.picture) == (2, True)
    # "A dot.", the stop string and EOS, twice.
    assert 2 * 4 < short.targets < 2 * short.text_length


def test_packing_needs_memory_for_tokens_without_padding(tmp_path):
    config = written(tmp_path, [MIXED[6], talk("Tell me.", "word " * 300)], data={"max_words": 4000})
    padded, packed = estimated(config), estimated(config, "train.packing=true", "train.packing_multiple=64")
    assert padded.work.largest.packed is None
    assert packed.work.largest.packed == -(-padded.work.text_tokens // 64) * 64
    share = packed.work.largest.packed / (2 * padded.work.largest.text_length)
    assert 0.5 < share < 0.7
    # What is kept for each token, and the embeddings with their padding.
    assert packed.memory.activations / padded.memory.activations == pytest.approx(share, abs=0.05)


@pytest.mark.skipif(find_spec("flash_attn") is not None, reason="flash-attn is installed")
def test_a_missing_attention_kernel_is_told_before(tmp_path):
    overrides = ["train.packing=true", "parallel.attention=flash"]
    assert "pip install 'sphinx-v[flash]'" in refused(written(tmp_path), *overrides)
    assert estimated(written(tmp_path), overrides[1]).parts


def test_parts_of_the_13b_are_counted_as_released():
    model = meta_model(sphinx_v_13b(), [])
    freeze(model, FREEZE[1])
    parts = {part.name: (part.trained, part.frozen) for part in count_parts(model)}
    assert parts["llm.layers"] == (0, 40 * (4 * 5120**2 + 3 * 5120 * 13824 + 2 * 5120))
    assert parts["llm.output"] == parts["llm.tok_embeddings"] == (32000 * 5120, 0)
    assert parts["visual_proj"] == (5632 * 5120 + 3 * 5120, 0)
    assert parts["tags"] == (4 * 5120, 0)
    assert parts["vision.clip"][0] == 0
    assert sum(map(sum, parts.values())) == sum(parameter.numel() for parameter in model.parameters())


def test_the_text_has_the_numbers(tmp_path):
    heldout = write_data(tmp_path / "heldout", [talk("What else?", "A tree.", image="image.png")])
    config = written(tmp_path, freeze=["vision"], data={"heldout": str(heldout), "heldout_every": 50})
    options = load_options(RunOptions, config, ["parallel.recompute=full", "parallel.dtype=bfloat16"])
    text = dry_run(options, 2, tmp_path / "out" / "checkpoint")
    lines = [line.split() for line in text.splitlines()]
    assert "dry run of 2 processes: data 2 × tensor 1, ddp, recompute full, bfloat16" in text
    assert ["vision.convnext", "0", "92,480"] in lines
    assert [line[-1] for line in lines if line[:1] == ["gradients"]] == ["MiB"]
    assert "steps: 3 per epoch, 3 in all (1.00 epochs), of 4 items each" in text
    assert f"held out: 1 items of {heldout}, every 50 steps" in text
    assert "1 of 1 pictures are also trained on" in text


def test_items_that_would_be_left_out_are_named(tmp_path):
    config = written(
        tmp_path, [*MIXED, {**MIXED[0], "bbox": [[1, 2, -3, 4]]}], data={"on_bad_sample": "skip", "max_bad_rate": 0.5}
    )
    options = load_options(RunOptions, config)
    text = dry_run(options, 1, tmp_path / "out" / "checkpoint")
    assert "1 bad items left out:" in text
    assert "item 8: bbox[0]" in text


def test_adapters_are_counted_as_trained_and_what_they_stand_beside_as_frozen():
    model = meta_model(sphinx_v_13b(), [])
    lora = LoraOptions(rank=16)
    freeze(model, ["vision", "llm"], lora)
    add_adapters(model, lora)
    parts = {part.name: (part.trained, part.frozen) for part in count_parts(model)}
    adapters = 40 * 16 * (4 * (5120 + 5120) + 3 * (5120 + 13824))
    assert parts["llm.layers"] == (adapters, 40 * (4 * 5120**2 + 3 * 5120 * 13824 + 2 * 5120))
    assert parts["llm.output"] == (0, 32000 * 5120)
    assert parts["visual_proj"] == (5632 * 5120 + 3 * 5120, 0)


def test_a_run_with_adapters_is_estimated(tmp_path):
    config = write_run(tmp_path, write_data(tmp_path, MIXED), freeze=["vision", "llm"])
    whole, with_lora = estimated(config, "train.freeze=[vision]"), estimated(config, "train.lora={rank: 4}")
    before, after = (next(part for part in one.parts if part.name == "llm.layers") for one in (whole, with_lora))
    assert after.frozen == before.trained
    assert 0 < after.trained < after.frozen / 4
    assert with_lora.memory.optimizer == 2 * with_lora.memory.masters < whole.memory.optimizer
    eight = estimated(config, "train.freeze=[vision]", "train.optimizer=adamw8bit")
    assert eight.memory.optimizer < 0.4 * whole.memory.optimizer
    assert eight.memory.masters == whole.memory.masters


@pytest.mark.parametrize("other", ["train.lora={rank: 4}", "train.optimizer=adamw8bit"])
def test_muon_goes_with_neither_adapters_nor_eight_bits(tmp_path, other):
    told = refused(written(tmp_path), "train.muon_lr=1e-3", other)
    assert told.startswith(f"ConfigError: {other.partition('={')[0].replace('=', ' ')} does not go together with")
    assert "leave one of the two out" in told


def test_what_cannot_be_laid_out_is_refused(tmp_path):
    config = written(tmp_path)
    assert "parallel.tensor is 3, which does not divide the 4 processes" in refused(
        config, "parallel.tensor=3", processes=4
    )
    assert "parallel.tensor 3 does not divide n_heads 4" in refused(config, "parallel.tensor=3", processes=3)
    told = refused(config, "train.muon_lr=1e-3", "parallel.mode=sdp", processes=2)
    assert told.startswith("ConfigError: train.muon_lr needs whole matrices")
    assert estimated(config, "train.muon_lr=1e-3", "parallel.mode=sdp").processes == 1


@pytest.mark.parametrize(
    "override, told",
    [
        ("model.checkpoint=no/folder", "CheckpointError: no/folder: does not exist"),
        ("model.tokenizer=no.model", "no.model: no such tokenizer"),
        ("data.config=no.yaml", "ConfigError: no.yaml: no such configuration file"),
        ("data.heldout=held.yaml", "ConfigError: held.yaml: no such configuration file"),
        ("train.freeze=[visoin]", "'visoin' matches no parameter"),
        ("data.max_words=20", "of which a picture takes 127"),
    ],
)
def test_what_is_missing_or_wrong_is_told(tmp_path, override, told):
    assert told in refused(written(tmp_path), override)


def test_a_missing_sam_file_and_a_wrong_one_are_told(tmp_path):
    config = write_run(tmp_path, write_data(tmp_path, MIXED))  # from the golden checkpoint
    assert "sam.pth" in refused(config, f"model.sam={tmp_path / 'sam.pth'}")
    torch.save({"model": torch.zeros(1)}, tmp_path / "sam.pth")
    assert "is it a file of SAM" in refused(config, f"model.sam={tmp_path / 'sam.pth'}")
    assert estimated(config, "train.freeze=[vision]").parts


def test_missing_annotations_and_pictures_are_told(tmp_path):
    config = written(tmp_path)
    (tmp_path / "image.png").unlink()
    assert f"{tmp_path / 'image.png'}" in refused(config)
    Image.new("RGB", (644, 362)).save(tmp_path / "image.png")
    estimated(config)
    (tmp_path / "items0.json").unlink()
    assert refused(config).startswith(f"DataError: {tmp_path / 'items0.json'}: no such annotation file")


def test_an_item_that_is_held_out_and_trained_on_is_refused(tmp_path):
    heldout = write_data(tmp_path / "heldout", MIXED[:1])
    assert "is also trained on" in refused(written(tmp_path), f"data.heldout={heldout}")


@pytest.mark.parametrize(
    "taken, told", [("out", "is a file"), ("out/checkpoint/mine", "is no checkpoint"), ("out/checkpoint", "is a file")]
)
def test_an_output_that_cannot_be_written_is_told(tmp_path, taken, told):
    config = written(tmp_path)
    (tmp_path / taken).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / taken).write_text("mine", encoding="utf-8")
    assert told in refused(config)
    assert (tmp_path / taken).read_text(encoding="utf-8") == "mine"


def test_a_loss_without_a_place_is_refused(tmp_path):
    options = load_options(RunOptions, written(tmp_path, mark_loss=1.0))
    check_losses(options, meta_model(small_config(), []))
    with pytest.raises(ConfigError, match="this model has one layer"):
        check_losses(options, meta_model(small_config(n_layers=1), []))


@pytest.mark.parametrize("stage", ["stage1_pretrain", "stage2_finetune"])
def test_a_published_recipe_is_estimated_from_the_golden_checkpoint(tmp_path, stage):
    data = write_data(tmp_path, MIXED)
    overrides = [f"output={tmp_path / 'out'}", f"model.checkpoint={GOLDEN}", f"data.config={data}", "model.sam=null"]
    recipe = ROOT / "accessory" / "configs" / f"{stage}.yaml"
    found = estimated(recipe, *overrides, "parallel.tensor=2", "parallel.mode=sdp", processes=8)
    values = yaml.safe_load(recipe.read_text(encoding="utf-8"))["train"]
    assert found.work.step_size == 4 * values["batch_size"] * values["accumulation"]
    assert found.parts
