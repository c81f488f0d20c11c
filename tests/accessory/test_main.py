"""Training from the command line: bad items, wrong options, and what is told at the end."""

import json
import random

import pytest
import yaml
from PIL import Image

from accessory.main import main
from accessory.tools.tokenizer import train_tokenizer
from tests.accessory.runs import MIXED, golden_items, read_metrics, run, talk, write_data, write_run
from tests.golden_model import GOLDEN
from tests.house.repo import ROOT

BAD = {**MIXED[1], "bbox": [[1, 2, -3, 4]]}


def told(capsys, *arguments):
    """Exit code and what was written to the two streams; the progress bar is dropped."""
    code = main([str(argument) for argument in arguments])
    streams = capsys.readouterr()
    lines = [line for line in streams.err.splitlines() if "step/s" not in line and "s/step" not in line]
    return code, streams.out, "\n".join(lines)


def broken(folder, items):
    """A run on `items`, of which those about `late.png` cannot be decoded, though the file's header is whole."""
    data = {"on_bad_sample": "skip", "max_bad_rate": 1.0}
    config = write_run(folder, write_data(folder, items), preset=True, max_steps=4, data=data, batch_size=2)
    Image.effect_noise((64, 64), 50).save(folder / "whole.png")
    content = (folder / "whole.png").read_bytes()
    (folder / "late.png").write_bytes(content[: len(content) // 2])
    return config


def test_a_bad_item_is_refused_with_file_index_and_reason(tmp_path, capsys):
    config = write_run(tmp_path, write_data(tmp_path, [MIXED[0], BAD]), preset=True, max_steps=1)
    code, _, error = told(capsys, "--config", config)
    assert code == 2
    assert error.startswith(f"DataError: {tmp_path / 'items0.json'}, item 1: bbox[0]: ")
    assert "(1, 2, -3, 4)" in error
    assert not (tmp_path / "out" / "checkpoint").exists()


def test_bad_items_are_counted_and_named_at_the_end(tmp_path, capsys):
    config = write_run(tmp_path, write_data(tmp_path, [MIXED[0], BAD, "text"]), preset=True, max_steps=1)
    code, out, _ = told(capsys, "--config", config, "data.on_bad_sample=skip", "data.max_bad_rate=1")
    assert code == 0
    assert "trained on 1 items" in out
    assert "2 bad items left out:" in out
    assert f"{tmp_path / 'items0.json'}, item 1: bbox[0]" in out
    assert f"{tmp_path / 'items0.json'}, item 2: the item is a str" in out
    assert (tmp_path / "out" / "checkpoint" / "config.json").is_file()


def test_a_picture_that_breaks_on_the_way_is_counted_once(tmp_path, capsys):
    items = [talk("What?", "A dot.", image="late.png"), *MIXED[:3]]
    assert run(broken(tmp_path, items))[0]["samples"] in (1, 2)
    out = capsys.readouterr().out
    assert "1 bad items left out:" in out, "though two epochs met it"
    assert f"{tmp_path / 'items0.json'}, item 0: {tmp_path / 'late.png'}: cannot be decoded" in out
    assert sum(line["samples"] for line in read_metrics(tmp_path / "out")) == 6


def test_a_picture_that_breaks_on_the_way_is_written_down(tmp_path):
    run(broken(tmp_path, [talk("What?", "A dot.", image="late.png"), *MIXED[:3]]))
    (line,) = (tmp_path / "out" / "bad_items.jsonl").read_text(encoding="utf-8").splitlines()
    told = json.loads(line)
    assert (told["file"], told["item"]) == (str(tmp_path / "items0.json"), 0)
    assert told["reason"].startswith(f"{tmp_path / 'late.png'}: cannot be decoded")


def test_a_step_of_nothing_but_bad_items_learns_nothing(tmp_path):
    metrics = run(broken(tmp_path, [talk("What?", "A dot.", image="late.png")]), "train.max_steps=1")
    assert (metrics[0]["loss"], metrics[0]["grad_norm"], metrics[0]["samples"]) == (0.0, 0.0, 0)


def test_a_picture_that_breaks_on_the_way_stops_a_run_that_refuses(tmp_path, capsys):
    config = broken(tmp_path, [talk("What?", "A dot.", image="late.png"), *MIXED[:3]])
    code, _, error = told(capsys, "--config", config, "data.on_bad_sample=refuse", "data.workers=1")
    assert code == 2
    assert f"DataError: {tmp_path / 'items0.json'}, item 0: {tmp_path / 'late.png'}: cannot be decoded" in error
    assert "Traceback" not in error


def test_too_many_bad_items_on_the_way_stop_the_run(tmp_path, capsys):
    config = broken(tmp_path, [talk("What?", "A dot.", image="late.png"), *MIXED[:3]])
    code, _, error = told(capsys, "--config", config, "data.max_bad_rate=0.2")
    assert code == 2
    assert "DataError: 1 of 4 items are bad so far, a rate of 0.25; data.max_bad_rate allows 0.2." in error
    reasons = tmp_path / "out" / "bad_items.jsonl"
    assert str(reasons) in error
    assert json.loads(reasons.read_text(encoding="utf-8"))["item"] == 0
    assert not (tmp_path / "out" / "checkpoint").exists()


@pytest.mark.parametrize(
    "override, part",
    [
        ("train.freeze=[visoin]", "'visoin' matches no parameter; parts are "),
        ("model.tokenizer=no.model", "no.model: no such tokenizer"),
        ("data.max_words=20", "of which"),
        ("save.released_shards=7", "7 shards"),
        ("data.config=no.yaml", "no.yaml: no such configuration file"),
        ("train.lr=0", "override 'train.lr=0': train.lr"),
    ],
)
def test_wrong_options_end_in_one_sentence(tmp_path, capsys, override, part):
    config = write_run(tmp_path, write_data(tmp_path, MIXED), preset=True, max_steps=1)
    code, _, error = told(capsys, "--config", config, override)
    assert code == 2
    assert part in error
    assert "Traceback" not in error


@pytest.mark.parametrize("taken, part", [("out", "cannot be written"), ("out/checkpoint/mine", "is no checkpoint")])
def test_an_output_that_cannot_be_written_is_told_before_training(tmp_path, capsys, taken, part):
    config = write_run(tmp_path, write_data(tmp_path, MIXED), preset=True, max_steps=1)
    (tmp_path / taken).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / taken).write_text("mine", encoding="utf-8")
    code, _, error = told(capsys, "--config", config)
    assert code == 2
    assert part in error
    assert not (tmp_path / "out" / "metrics.jsonl").exists()
    assert (tmp_path / taken).read_text(encoding="utf-8") == "mine"


def test_a_run_that_diverges_stops_with_its_state_and_leaves_no_checkpoint(tmp_path, capsys):
    config = write_run(tmp_path, write_data(tmp_path, MIXED[:2]), preset=True, max_steps=9, lr=1e30, warmup_epochs=0)
    code, _, error = told(capsys, "--config", config, "train.max_skipped=2")
    assert code == 2
    assert "DivergedError: step 4" in error, "the first step ruins the weights, two may be left out"
    assert "nor by the 2 before it (train.max_skipped is 2). A lower train.lr (1e+30)" in error
    assert f"`python -m accessory.tools.export {tmp_path / 'out'} --format folder --out DIR`" in error
    assert not (tmp_path / "out" / "checkpoint").exists()
    assert [line.get("skipped") for line in read_metrics(tmp_path / "out")] == [None, True, True, True]
    lines = (tmp_path / "out" / "skipped.jsonl").read_text(encoding="utf-8").splitlines()
    skipped = [json.loads(line) for line in lines]
    assert [line["step"] for line in skipped] == [2, 3, 4]
    assert skipped[0]["items"] == [f"{tmp_path / 'items0.json'}, item {number}" for number in (0, 1)]
    assert (tmp_path / "out" / "states" / "step-00000004").is_dir()


def test_a_run_that_diverges_writes_down_the_bad_items_it_met(tmp_path, capsys):
    config = broken(tmp_path, [talk("What?", "A dot.", image="late.png"), *MIXED[:3]])
    overrides = ["train.lr=1e30", "train.warmup_epochs=0", "train.max_skipped=0", "train.max_steps=9"]
    code, _, error = told(capsys, "--config", config, *overrides)
    assert code == 2
    assert "DivergedError: step 2: " in error, "both steps of the first epoch have run, so the item was met"
    (line,) = (tmp_path / "out" / "bad_items.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(line)["reason"].startswith(f"{tmp_path / 'late.png'}: cannot be decoded")


def test_where_reasons_cannot_be_written_the_option_that_places_them_is_named(tmp_path, capsys):
    config = write_run(tmp_path, write_data(tmp_path, [MIXED[0], BAD]), preset=True, max_steps=1)
    skip = ["data.on_bad_sample=skip", "data.max_bad_rate=1"]
    (tmp_path / "out" / "bad_items.jsonl").mkdir(parents=True)
    code, _, error = told(capsys, "--config", config, *skip)
    assert code == 2
    assert error.startswith(f"ConfigError: {tmp_path / 'out' / 'bad_items.jsonl'}: cannot be written (Is a directory)")
    assert "name another folder in output, or" in error
    (tmp_path / ".sphinx_v_index" / "data.yaml.bad_items.jsonl").mkdir()
    code, _, error = told(capsys, "--config", config, "--dry_run", *skip)
    assert code == 2
    assert "name another folder in data.index_dir, or" in error


def test_numbers_are_looked_at_now_and_then_and_are_those_of_every_step(tmp_path):
    config = write_run(tmp_path, write_data(tmp_path, MIXED), max_steps=5, warmup_epochs=0)
    each = run(config)
    now_and_then = run(config, "train.log_every=3")
    assert [line["loss"] for line in now_and_then] == [line["loss"] for line in each]
    assert all(line["step_time"] > 0 for line in now_and_then)


def test_a_tokenizer_of_another_model_is_refused(tmp_path, capsys):
    letters = random.Random(0)
    text = "\n".join("".join(letters.choices("abcdefghijklmnopqrst", k=6)) for _ in range(3000))
    (tmp_path / "corpus.txt").write_text(text, encoding="utf-8")
    (tmp_path / "big.model").write_bytes(train_tokenizer(tmp_path / "corpus.txt", 1024))
    config = write_run(tmp_path, write_data(tmp_path, MIXED), max_steps=1)
    code, _, error = told(capsys, "--config", config, f"model.tokenizer={tmp_path / 'big.model'}")
    assert code == 2
    assert "has 1024 pieces" in error
    assert "768" in error


def test_texts_need_no_room_for_a_picture(tmp_path):
    data = {"max_words": 128, "box_jitter": False}  # the golden's picture alone takes 1467
    assert len(run(write_run(tmp_path, write_data(tmp_path, MIXED[6:]), data=data, max_steps=1))) == 1


@pytest.mark.parametrize("dtype, rounding", [("float32", 1e-6), ("bfloat16", 0.01)])
def test_a_shipped_recipe_takes_the_golden_checkpoint(tmp_path, golden_facts, golden_tensors, dtype, rounding):
    data = write_data(tmp_path, golden_items(golden_facts, "bbox"))
    overrides = {
        "output": tmp_path / "out",
        "model.checkpoint": GOLDEN,
        "data.config": data,
        "data.box_jitter": "false",
        "train.batch_size": golden_facts["texts"]["n_items_boxes"],
        "train.accumulation": 1,
        "train.max_steps": 1,
        "parallel.tensor": 1,
        "data.workers": 0,
        "parallel.dtype": dtype,
    }
    recipe = ROOT / "accessory" / "configs" / "stage2_finetune.yaml"
    assert main(["--config", str(recipe), *(f"{key}={value}" for key, value in overrides.items())]) == 0
    loss = read_metrics(tmp_path / "out")[0]["loss"]
    assert loss == pytest.approx(golden_tensors["loss_boxes_stage2"].item(), rel=rounding)


def test_text_only_trains(tmp_path):
    metrics = run(write_run(tmp_path, write_data(tmp_path, MIXED[6:]), preset=True, max_steps=2))
    assert [line["samples"] for line in metrics] == [2, 2]
    assert metrics[0]["loss"] > 0


def test_a_run_takes_its_epochs_and_learns(tmp_path):
    config = write_run(
        tmp_path, write_data(tmp_path, MIXED[:4]), preset=True, batch_size=2, epochs=6, warmup_epochs=0, lr=1e-3
    )
    metrics = run(config)
    assert len(metrics) == 12
    assert metrics[-1]["loss"] < metrics[0]["loss"] / 1.5


def test_a_later_stage_starts_from_the_checkpoint_of_the_first(tmp_path):
    data = write_data(tmp_path, MIXED)
    first = write_run(tmp_path, data, preset=True, max_steps=2)
    run(first)
    values = yaml.safe_load(first.read_text(encoding="utf-8"))
    values["model"] = {"checkpoint": str(tmp_path / "out" / "checkpoint")}
    values["output"] = str(tmp_path / "second")
    second = tmp_path / "second.yaml"
    second.write_text(json.dumps(values), encoding="utf-8")
    metrics = run(second)
    started = read_metrics(tmp_path / "out")
    assert metrics[0]["loss"] != started[0]["loss"], "the same batch, seen by weights that have learnt"
    assert metrics[0]["tokens"] == started[0]["tokens"]
