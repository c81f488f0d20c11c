"""Prediction files: our lines, older files, cut files, files of another suite."""

import json

import pytest

from accessory.eval.predictions import (
    Prediction,
    answered,
    join,
    part_of,
    parts_of,
    read_predictions,
    write_part,
)
from SPHINX_V.errors import DataError, UsageError
from SPHINX_V.prompts import Box, Point
from tests.accessory.eval.small_items import item

OLD = {
    "image_name": "a.jpg",
    "question_id": 1,
    "question": "What?",
    "prediction": "Region 1: é",
    "answer": "Region 1: e",
}
FULL = Prediction(
    "folder/a.jpg",
    "q:1",
    "What is <Region 1>?",
    "a dog",
    "a cat",
    dataset_name="LVIS_box",
    marks=(Box(0.1, 2, 3.3, 4), Box(5, 6, 7, 8)),
    finish="eos",
    category="reason",
    choices=("one", "two"),
    likelihoods=((-1.5, 3), (-2.25, 4)),
    history=(("What is <Region 2>?", "a cow"), ("And this?", "a hat")),
)


def test_a_line_is_read_back_as_it_was(tmp_path):
    others = [Prediction("b.jpg", 2, "?", "", "b", marks=(Point(1, 2.5),), fault="mark 1"), Prediction(**OLD)]
    path = tmp_path / "small.jsonl"
    path.write_text("".join(f"{one.line()}\n" for one in [FULL, *others]), "utf-8")
    read = read_predictions(path).predictions
    assert read[0].marks[0].bounds() == pytest.approx((0.1, 2, 3.3, 4))
    assert [vars(one) | {"marks": ()} for one in read] == [vars(one) | {"marks": ()} for one in [FULL, *others]]
    assert read[1].marks == (Point(1, 2.5),)


def test_fields_that_say_nothing_are_not_written():
    assert json.loads(Prediction(**OLD).line()) == {**OLD, "dataset_name": ""}


def test_older_files_are_read_as_they_are(tmp_path):
    path = tmp_path / "old.json"
    path.write_text(json.dumps([OLD]), "utf-8")
    assert read_predictions(path).predictions == (Prediction(**OLD),)
    osprey = {"question_id": 0, "image": "c.jpg", "categroy": "description", "text": "<Region 1>: A chair."}
    path.write_text(json.dumps([osprey]), "utf-8")
    (one,) = read_predictions(path).predictions
    assert (one.image_name, one.prediction, one.answer) == ("c.jpg", "<Region 1>: A chair.", "")
    path.write_text(json.dumps({"prediction": ["a", "b"], "answer": ["x", "y"]}), "utf-8")
    assert [(one.question_id, one.answer) for one in read_predictions(path).predictions] == [(0, "x"), (1, "y")]


def test_half_a_line_at_the_end_is_left_out_and_told(tmp_path):
    path = tmp_path / "small.jsonl"
    path.write_text(f"{FULL.line()}\n{Prediction(**OLD).line()[:30]}", "utf-8")
    read = read_predictions(path)
    assert (len(read.predictions), read.cut) == (1, True)


WRONG = [
    ("a.jsonl", '{"a": 1\n' + json.dumps(OLD) + "\n", "line 1: not valid JSON"),
    ("a.jsonl", json.dumps({**OLD, "prediction": 7}) + "\n", "prediction is 7"),
    ("a.jsonl", json.dumps({**OLD, "question_id": None}) + "\n", "question_id is None"),
    ("a.jsonl", json.dumps(OLD) + "\n" + json.dumps(OLD) + "\n", "question 1 is answered twice"),
    ("a.jsonl", "", "holds no prediction"),
    ("a.jsonl", json.dumps({**OLD, "bbox": [[1, 2, 0, 4]]}) + "\n", "has no area"),
    ("a.json", "{}", "holds a dict"),
    ("a.json", '{"prediction": ["a"], "answer": []}', "differ in length"),
    ("a.json", "[7]", "item 0: is a int"),
]


@pytest.mark.parametrize("name, text, expected", WRONG)
def test_what_is_wrong_is_named_with_its_place(tmp_path, name, text, expected):
    (tmp_path / name).write_text(text, "utf-8")
    with pytest.raises(DataError, match=expected) as caught:
        read_predictions(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DataError, match=r"absent\.jsonl: cannot be read"):
        read_predictions(tmp_path / "absent.jsonl")


def test_answers_of_all_parts_and_of_the_finished_file_are_found(tmp_path):
    path = tmp_path / "small.jsonl"
    write_part(path, 0, [Prediction(**OLD)])
    write_part(path, 3, [FULL])
    with part_of(path, 3).open("a") as file:
        file.write('{"image_name": "half')
    path.write_text(Prediction(**{**OLD, "question_id": 9}).line() + "\n", "utf-8")
    assert [one.name for one in parts_of(path)] == ["small.part-000.jsonl", "small.part-003.jsonl"]
    assert set(answered(path)) == {1, "q:1", 9}


def test_parts_of_a_control_are_not_those_of_the_suite(tmp_path):
    write_part(tmp_path / "small.swap_marks.jsonl", 0, [FULL])
    assert parts_of(tmp_path / "small.jsonl") == []


def test_predictions_take_truth_and_marks_from_the_items_in_their_order(tmp_path):
    items = [item(tmp_path / "a.jpg", (Point(n, 1),), n, truth=f"Region 1: {n}") for n in (1, 2, 3)]
    given = [Prediction("", 3, "", "three", ""), Prediction("", 1, "", "one", "Region 1: 1\n")]
    first, last = join(given, items, tmp_path / "p.json")
    assert (first.question_id, first.prediction, first.answer, first.marks) == (1, "one", "Region 1: 1", (Point(1, 1),))
    assert last.answer == "Region 1: 3"


def test_predictions_of_another_suite_are_refused(tmp_path):
    items = [item(tmp_path / "a.jpg", (), 1, truth="cat")]
    with pytest.raises(UsageError, match="question 7, which the suite has not"):
        join([Prediction("", 7, "", "x", "")], items, tmp_path / "p.json")
    with pytest.raises(DataError, match="truth 'dog', the suite's file 'cat'"):
        join([Prediction("", 1, "", "x", "dog")], items, tmp_path / "p.json")
