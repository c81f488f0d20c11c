"""What users get wrong is told by the entry point in one sentence: what, where, and what to do now."""

import pytest

from accessory.main import main
from tests.accessory.runs import MIXED, run, talk, write_data, write_run

LABELS = "Please identify the labels of each marked region in the image."


def marked(**fields):
    return {**talk(f"<image>\n{LABELS}", "<Region 1>: a cat"), "image": "image.png", **fields}


def written(folder, items, **train):
    return write_run(folder, write_data(folder, items), preset=True, max_steps=1, **train)


def told(capsys, config, *arguments):
    """What a run that is refused says, which is all that it says on standard error; nothing is trained."""
    assert main(["--config", str(config), *arguments]) == 2
    error = capsys.readouterr().err
    assert "Traceback" not in error
    assert not (config.parent / "out" / "checkpoint").exists()
    return error


ITEMS = {
    "a missing picture": (
        marked(image="no.png", bbox=[[1, 2, 30, 40]]),
        "{folder}/no.png: no such picture",
    ),
    "a negative box": (
        marked(bbox=[[1, 2, 30, 40], [5, 6, -7, 8]]),
        "bbox[1]: Box.from_xywh(5, 6, -7, 8) has no area: width and height must be above 0.",
    ),
    "both kinds of marks": (
        marked(bbox=[[1, 2, 30, 40]], points=[[9, 9], [8, 8]]),
        "has both bbox (1) and points (2); their order in the answer would be unknown. Split it into two items.",
    ),
    "eleven marks": (
        marked(bbox=[[1, 2, 30, 40]] * 11),
        "11 marks in bbox, the model has 10 slots; split the item.",
    ),
    "an answer without words": (
        {**marked(bbox=[[1, 2, 30, 40]]), **talk(LABELS, " \n")},
        "conversations[1].value is ' \\n'; an answer needs words.",
    ),
}


@pytest.mark.parametrize("name", ITEMS)
def test_a_bad_item_is_named_with_its_file_and_number(tmp_path, capsys, name):
    item, said = ITEMS[name]
    error = told(capsys, written(tmp_path, [MIXED[0], item]))
    assert error.startswith(f"DataError: {tmp_path / 'items0.json'}, item 1: ")
    assert said.format(folder=tmp_path) in error


def test_an_answer_without_a_target_token_is_left_out_and_counted(tmp_path, capsys):
    # The question takes all the room that data.max_words leaves for text, so that nothing of the answer is learnt.
    long = {**marked(bbox=[[1, 2, 30, 40]]), **talk("Why? " * 2000, "So.")}
    assert len(run(written(tmp_path, [MIXED[0], long]))) == 1
    assert "trained on 1 items" in (out := capsys.readouterr().out)
    assert "1 dropped for having no answer within it" in out
    error = told(capsys, written(tmp_path / "alone", [long]))
    assert "no item is left to train on, of 1; 1 have no answer within data.max_words 2048" in error


def test_an_item_of_text_alone_is_trained_on(tmp_path):
    metrics = run(written(tmp_path, [talk("Two plus two?", "Four.")], batch_size=1))
    assert metrics[0]["samples"] == 1
    assert metrics[0]["targets"] > 0
    assert metrics[0]["loss"] > 0


def test_an_unknown_key_is_named_with_file_line_and_the_nearest_one(tmp_path, capsys):
    config = written(tmp_path, MIXED)
    lines = config.read_text(encoding="utf-8").splitlines()
    number = lines.index("  max_steps: 1") + 1
    lines[number - 1] = "  max_stepz: 1"
    config.write_text("\n".join(lines), encoding="utf-8")
    assert told(capsys, config).startswith(
        f"ConfigError: {config}, line {number}: unknown key train.max_stepz; did you mean max_steps?"
    )


def test_a_missing_annotation_file_is_named(tmp_path, capsys):
    config = written(tmp_path, MIXED)
    (tmp_path / "items0.json").unlink()
    assert told(capsys, config).startswith(
        f"DataError: {tmp_path / 'items0.json'}: no such annotation file; check the data configuration's paths."
    )


def test_an_empty_data_set_is_named(tmp_path, capsys):
    error = told(capsys, written(tmp_path, []))
    assert error.startswith(f"ConfigError: {tmp_path / 'data.yaml'}: no item is left to train on, of 0; ")


def test_processes_that_do_not_make_whole_groups_are_counted(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "4")  # as torchrun sets it
    error = told(capsys, written(tmp_path, MIXED), "parallel.tensor=3")
    assert "parallel.tensor is 3, which does not divide the 4 processes that run" in error
    assert "start a multiple of 3 with torchrun --nproc_per_node, or change parallel.tensor." in error


def test_groups_that_do_not_divide_the_heads_are_told_before_a_run(tmp_path, capsys):
    error = told(capsys, written(tmp_path, MIXED), "parallel.tensor=3", "--dry_run", "--processes", "3")
    assert "parallel.tensor 3 does not divide n_heads 4; choose a number of processes that divides" in error
