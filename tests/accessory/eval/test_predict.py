"""Inference with the golden model: nothing is asked twice, and neither cuts nor shards change an answer."""

import json
from dataclasses import replace

import pytest

from accessory.eval.items import read_items
from accessory.eval.load import load_items, oddities
from accessory.eval.predict import Asking, Shard, batches, predict, prediction_path
from accessory.eval.predictions import part_of, parts_of, read_predictions
from accessory.eval.record import record_of
from accessory.eval.registry import Roots, read_registry
from SPHINX_V.errors import DataError, UsageError
from SPHINX_V.sphinx_v import SPHINX_V_Model
from tests.accessory.eval.small_suites import values, write_suite


@pytest.fixture(scope="module")
def model(golden_model, golden_tokenizer):
    return SPHINX_V_Model(golden_model, golden_tokenizer)


@pytest.fixture
def suite(tmp_path):
    """The suite's entry and its items."""

    def makes(items=None, **entry):
        registry, root = write_suite(tmp_path, items, **entry)
        found = read_registry([registry]).suites["small"]
        return found, load_items("small", found, Roots(root, root))

    return makes


def asked(model, suite, path, **asking):
    entry, items = suite
    return predict(model, entry, items, path, Asking("hash", batch_size=2, **asking))


def test_answers_are_those_that_each_question_gets_alone(model, suite, tmp_path):
    entry, items = suite()
    path = tmp_path / "out" / "small.jsonl"
    predictions = asked(model, (entry, items), path)
    alone = [
        model.generate_response([[item.question, None]], item.prompts, item.picture, entry.max_new_tokens, 0.0)
        for item in items
    ]
    assert [one.prediction for one in predictions] == alone
    assert tuple(predictions) == read_predictions(path).predictions
    line = json.loads(path.read_text("utf-8").splitlines()[1])
    assert {name: line[name] for name in ("image_name", "question_id", "answer", "dataset_name", "finish")} == {
        "image_name": "a.png",
        "question_id": 2,
        "answer": "Region 1: label 1\nRegion 2: label 2",
        "dataset_name": "small",
        "finish": "length",
    }
    assert line["bbox"] == [[2, 4, 15, 12], [22, 4, 15, 12]]
    assert sorted(file.name for file in path.parent.iterdir()) == ["small.jsonl", "small.record.json"]


def test_a_question_is_asked_and_its_choices_weighed_after_the_turns_before_it(model, suite, tmp_path):
    before = (("What is it?", "A cap."),)
    entry, [item, *_] = suite()
    item = replace(item, choices=("yes", "no"), stem="Is it red?")
    alone, told = (
        asked(model, (entry, [one]), tmp_path / f"{number}.jsonl")[0]
        for number, one in enumerate((item, replace(item, history=before)))
    )
    weighed = model.score([*before, ["Is it red?", None]], item.choices, item.prompts, item.picture)
    # What is kept of an earlier prompt is computed in other portions, so float32's last digits differ.
    expected = pytest.approx([one.total for one in weighed], abs=1e-4)
    assert [total for total, _ in told.likelihoods] == expected
    assert [total for total, _ in alone.likelihoods] != expected
    assert told.history == before
    # The golden model says the same whatever it is asked, but it cannot be asked after so much.
    with pytest.raises(DataError, match="question 1"):
        asked(model, (entry, [replace(item, history=(("word " * 5000, "yes"),))]), tmp_path / "long.jsonl")


def test_like_lengths_share_a_batch_and_the_longest_come_first(model, suite):
    _, items = suite()
    order = [[item.question_id for item in batch] for batch in batches(model, items, 2)]
    # Questions 4, 3, 2 say please three, two and one times; 5 and 1 never, and 5 has two marks.
    assert order == [[4, 3], [2, 5], [1]]


def test_an_interrupted_run_goes_on_and_asks_nothing_twice(model, suite, tmp_path):
    made = suite()
    whole = tmp_path / "whole" / "small.jsonl"
    asked(model, made, whole)
    lines = whole.read_bytes().splitlines(keepends=True)
    path = tmp_path / "cut" / "small.jsonl"
    path.parent.mkdir()
    record_of(path).write_bytes(record_of(whole).read_bytes())
    # Killed in the middle of a line, after two answers that another model could not have given.
    kept = [json.loads(line) | {"prediction": f"kept {n}"} for n, line in enumerate(lines[:2])]
    part_of(path, 0).write_bytes("".join(json.dumps(one) + "\n" for one in kept).encode() + lines[2][:40])
    predictions = asked(model, made, path)
    assert [one.prediction for one in predictions[:2]] == ["kept 0", "kept 1"]
    assert path.read_bytes().splitlines(keepends=True)[2:] == lines[2:]
    assert parts_of(path) == []


def test_a_finished_suite_is_not_asked_again(suite, tmp_path, model):
    made = suite()
    path = tmp_path / "small.jsonl"
    first = asked(model, made, path)
    before = path.stat().st_mtime_ns
    # Asked anything, this one would fail.
    deaf = SPHINX_V_Model(model.model, model.tokenizer)
    deaf.answer_batch = None
    assert asked(deaf, made, path) == first
    assert path.stat().st_mtime_ns == before


@pytest.mark.parametrize("size", [2, 3, 5])
def test_any_number_of_shards_gives_the_same_file(model, suite, tmp_path, size):
    made = suite()
    whole, path = tmp_path / "whole" / "small.jsonl", tmp_path / "shards" / "small.jsonl"
    asked(model, made, whole)
    # In this process one after the other; the last to finish writes the file.
    results = [asked(model, made, path, shard=Shard(rank, size)) for rank in reversed(range(size))]
    assert all(result is None for result in results[: min(size, 3) - 1])
    assert results[-1] is not None
    assert path.read_bytes() == whole.read_bytes()
    assert parts_of(path) == []


def test_a_run_goes_on_in_another_number_of_shards(model, suite, tmp_path):
    made = suite()
    whole, path = tmp_path / "whole" / "small.jsonl", tmp_path / "shards" / "small.jsonl"
    asked(model, made, whole)
    assert asked(model, made, path, shard=Shard(2, 3)) is None
    assert asked(model, made, path) is not None
    assert path.read_bytes() == whole.read_bytes()


def test_answers_of_another_model_or_setting_are_not_mixed_in(model, suite, tmp_path):
    entry, items = suite()
    path = tmp_path / "small.jsonl"
    asked(model, (entry, items), path)
    with pytest.raises(UsageError, match="checkpoint_sha256: 'hash', now 'other'"):
        predict(model, entry, items, path, Asking("other", batch_size=2))
    with pytest.raises(UsageError, match="max_new_tokens: 4, now 5"):
        asked(model, (entry.model_copy(update={"max_new_tokens": 5}), items), path)
    with pytest.raises(UsageError, match="items_sha256"):
        asked(model, (entry, [replace(items[0], question="Why?"), *items[1:]]), path)
    assert predict(model, entry, items, path, Asking("other", batch_size=2, restart=True)) is not None


def test_several_processes_do_not_restart(model, suite, tmp_path):
    with pytest.raises(UsageError, match="remove each other's answers"):
        asked(model, suite(), tmp_path / "small.jsonl", restart=True, shard=Shard(0, 2))


def test_a_process_that_only_lends_its_device_writes_nothing(model, suite, tmp_path):
    assert asked(model, suite(), tmp_path / "small.jsonl", shard=Shard(writes=False)) is None
    assert list(tmp_path.glob("small*")) == []


BAD = [*values(2), {**values(1)[0], "question_id": "flat", "bbox": [[87, 25, 0, 22]]}]


def test_an_item_that_cannot_be_asked_has_a_line_with_its_fault(model, suite, tmp_path):
    predictions = asked(model, suite(BAD, on_bad_item="unanswered"), tmp_path / "small.jsonl")
    assert [bool(one.fault) for one in predictions] == [False, False, True]
    assert predictions[2].prediction == ""
    assert "has no area" in json.loads((tmp_path / "small.jsonl").read_text("utf-8").splitlines()[2])["fault"]


def test_more_marks_than_the_model_has_slots_are_met_while_asking(model, suite, tmp_path):
    crowd = {**values(1)[0], "question_id": "crowd", "bbox": [[1 + n, 1, 5, 5] for n in range(11)]}
    with pytest.raises(DataError, match="small, question crowd: 11 prompts given"):
        asked(model, suite([*values(2), crowd]), tmp_path / "refused.jsonl")
    predictions = asked(model, suite([*values(2), crowd], on_bad_item="unanswered"), tmp_path / "kept.jsonl")
    assert [bool(one.prediction) or bool(one.fault) for one in predictions] == [True, True, True]
    assert "11 prompts given" in predictions[2].fault


def test_a_damaged_picture_is_named_with_its_question(model, suite, tmp_path):
    made = suite([{**one, "image_name": "b.png" if n else "a.png"} for n, one in enumerate(values(2))])
    picture = tmp_path / "data" / "b.png"
    picture.write_bytes(picture.read_bytes()[:60])  # the header is there, the pixels are not
    with pytest.raises(DataError, match=r"small, question 2: .*b\.png"):
        asked(model, made, tmp_path / "small.jsonl")


@pytest.mark.parametrize("control, marks", [("swap_marks", 2), ("no_marks", 0)])
def test_controls_ask_with_other_marks_and_keep_the_truth(model, suite, tmp_path, control, marks):
    two = [{**one, "image_name": name} for one, name in zip(values(6), ["a.png"] * 3 + ["b.png"] * 3)]
    path = prediction_path(tmp_path, "small", control)
    predictions = asked(model, suite(two), path, control=control)
    assert len(predictions[1].marks) == marks
    assert predictions[1].answer == "Region 1: label 1\nRegion 2: label 2"
    assert path.name == f"small.{control}.jsonl"
    assert json.loads(record_of(path).read_text("utf-8"))["control"] == control


def test_a_control_of_questions_without_marks_is_refused(model, suite, tmp_path):
    without = [{key: value for key, value in one.items() if key != "bbox"} for one in values(2)]
    with pytest.raises(UsageError, match="no item has a mark"):
        asked(model, suite(without), tmp_path / "small.jsonl", control="no_marks")


def test_choices_come_with_their_likelihoods(model, suite, tmp_path):
    entry, items = suite()
    with_choices = [replace(item, choices=("yes", "no, never"), stem="Is it?") for item in items[:2]]
    predictions = predict(model, entry, with_choices, tmp_path / "small.jsonl", Asking("hash", batch_size=2))
    for one in predictions:
        assert [tokens for _, tokens in one.likelihoods] == sorted(tokens for _, tokens in one.likelihoods)
        assert all(total < 0 for total, _ in one.likelihoods)
    assert read_predictions(tmp_path / "small.jsonl").predictions == tuple(predictions)


def test_what_is_odd_is_told_once_and_asked_as_it_is(model, suite, tmp_path):
    reaching = {**values(1)[0], "bbox": [[90, 3, 15, 12]]}
    naming = {**values(1)[0], "question_id": 2, "question": "What is <Region 4>?"}
    entry, items = suite([reaching, naming])
    first, second = oddities(items)
    assert first.startswith("question 1: prompt 1 Box")
    assert second.startswith("question 2: the question names <Region 4>")
    assert asked(model, (entry, items), tmp_path / "small.jsonl") is not None


def test_a_suite_puts_its_questions_in_its_own_words(suite, tmp_path):
    _, items = suite(prompt="{question} Answer briefly.")
    plain = read_items(tmp_path / "data" / "small.json", tmp_path / "data")
    assert [item.question for item in items] == [f"{item.question} Answer briefly." for item in plain]
    assert {item.dataset for item in items} == {"small"}
