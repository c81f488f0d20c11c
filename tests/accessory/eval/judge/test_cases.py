"""Predictions and items → cases: what is read, what is matched, and what is refused by name."""

import json

import pytest

from accessory.eval.items import read_items
from accessory.eval.judge.cases import cases_of, cases_without_items, read_contexts, read_predictions
from accessory.eval.predictions import Prediction
from SPHINX_V import Box, DataError
from tests.accessory.eval.judge.judged import write_suite

ONE = {"image_name": "train/a.png", "question_id": 7, "question": "q", "prediction": "p", "answer": "a"}


@pytest.fixture
def suite(tmp_path):
    items, predictions = write_suite(tmp_path, "natural_QA_box", [("8", "4"), ("9", "5")])
    return read_items(items, tmp_path), read_predictions(predictions), predictions


def write(tmp_path, text):
    path = tmp_path / "pred.jsonl"
    path.write_text(text, encoding="utf-8")
    return path


def test_lines_and_lists_are_read_alike(tmp_path):
    two = [ONE, {**ONE, "question_id": "b", "extra": 1}]
    expected = [Prediction("train/a.png", key, "q", "p", "a") for key in (7, "b")]
    assert read_predictions(write(tmp_path, "\n".join(map(json.dumps, two)) + "\n\n")) == expected
    assert read_predictions(write(tmp_path, " " + json.dumps(two, indent=1))) == expected


@pytest.mark.parametrize(
    "text, said",
    [
        ("", "holds no prediction"),
        ("[]", "holds no prediction"),
        ("[{]", "not valid JSON"),
        (json.dumps(ONE) + '\n{"image_na', r"half a line stands at its end; .*let it resume"),
        (json.dumps(ONE) + "\n7", "line 2: is a int"),
        (json.dumps({**ONE, "prediction": None}), "line 1: prediction is None"),
        (json.dumps({**ONE, "question_id": 1.5}), "line 1: question_id is 1.5"),
        (json.dumps(ONE) + "\n" + json.dumps({**ONE, "question_id": "7"}), "question 7 is answered twice"),
    ],
)
def test_a_file_of_another_form_is_refused(tmp_path, text, said):
    with pytest.raises(DataError, match=rf"pred\.jsonl.*{said}"):
        read_predictions(write(tmp_path, text))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"absent\.jsonl"):
        read_predictions(tmp_path / "absent.jsonl")


def test_cases_follow_the_items_and_take_the_answers_by_id(suite):
    items, predictions, path = suite
    cases = cases_of(items, predictions[::-1], str(path))
    assert [(case.question_id, case.reference, case.answer) for case in cases] == [
        (1, "grade 8", "grade 4"),
        (2, "grade 9", "grade 5"),
    ]
    assert cases[0].prompts == (Box(5, 5, 25, 15),)
    assert cases[0].picture == items[0].picture


def test_a_prediction_may_name_its_picture_with_a_folder(suite):
    items, predictions, path = suite
    moved = [Prediction(**{**vars(one), "image_name": f"train2017/{one.image_name}"}) for one in predictions]
    assert len(cases_of(items, moved, str(path))) == 2


@pytest.mark.parametrize("field", ["image_name", "question", "answer"])
def test_predictions_of_another_suite_are_refused(suite, field):
    items, predictions, path = suite
    foreign = [Prediction(**{**vars(predictions[0]), field: "other"}), predictions[1]]
    with pytest.raises(DataError, match=rf"question 1: {field} is 'other'.*another suite than natural_QA_box"):
        cases_of(items, foreign, str(path))


def test_half_a_suite_and_answers_to_nothing_are_refused(suite):
    items, predictions, path = suite
    with pytest.raises(DataError, match=r"1 of 2 items have no prediction \(2\)"):
        cases_of(items, predictions[:1], str(path))
    with pytest.raises(DataError, match=r"1 predictions no item \(2\)"):
        cases_of(items[:1], predictions, str(path))


def test_contexts_come_from_lists_and_lines(tmp_path, suite):
    items, predictions, path = suite
    names = [item.picture.name for item in items]
    lists = tmp_path / "prompt.json"
    lists.write_text(json.dumps([{"image": name, "prompt": f"about {name}"} for name in names]))
    lines = tmp_path / "context.jsonl"
    lines.write_text("".join(json.dumps({"image": f"d/{name}", "text": f"about {name}"}) + "\n" for name in names))
    for file in (lists, lines):
        contexts = read_contexts(file)
        assert [case.context for case in cases_of(items, predictions, str(path), contexts)] == [
            f"about {name}" for name in names
        ]
        cases = cases_without_items(predictions, "osprey", str(path), contexts)
        assert [(case.dataset, case.context, case.picture) for case in cases] == [
            ("osprey", f"about {name}", None) for name in names
        ]
    with pytest.raises(DataError, match=r"question 2: no context for the picture natural_QA_box_2\.png"):
        cases_of(items, predictions, str(path), {names[0]: "x"})
    lists.write_text('[{"image": "a"}]')
    with pytest.raises(DataError, match=r"prompt\.json, item 0"):
        read_contexts(lists)
