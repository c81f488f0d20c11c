"""Benchmarks in the form that their authors publish: small files written by hand, and their bad lines."""

import json

import pytest

from accessory.eval.forms import multiple_choice, read_dlc, read_osprey, read_pope, read_vcr
from SPHINX_V.errors import DataError
from SPHINX_V.prompts import Box
from tests.accessory.eval.small_items import picture_at


@pytest.fixture
def folder(tmp_path):
    picture_at(tmp_path / "a.png")
    return tmp_path


def lines(path, *values):
    path.write_text("".join(json.dumps(value) + "\n" for value in values), "utf-8")
    return path


POPE = {"question_id": 1, "image": "a.png", "text": "Is there a dog in the image?", "label": "no"}


def test_pope_has_no_marks_and_yes_or_no(folder):
    path = lines(folder / "pope.json", POPE, {**POPE, "question_id": 2, "label": "yes"})
    first, second = read_pope(path, folder, "POPE", "refuse")
    assert (first.question, first.truth, first.prompts, first.dataset) == (POPE["text"], "no", (), "POPE")
    assert second.truth == "yes"


def test_pope_lines_that_are_wrong_are_named(folder):
    with pytest.raises(DataError, match="line 2: label is 'maybe'"):
        read_pope(lines(folder / "p.json", POPE, {**POPE, "label": "maybe"}), folder, "POPE", "refuse")
    with pytest.raises(DataError, match="question_id 1 stands twice"):
        read_pope(lines(folder / "p.json", POPE, POPE), folder, "POPE", "refuse")


OSPREY = {
    "question_id": 0,
    "image": "a.png",
    "category": "description",
    "text": "Describe <region> in detail.",
    "annotation": {"bbox": [1, 2, 30, 20], "segmentation": [[1, 2, 31, 2, 31, 22]]},
}


def test_osprey_questions_meet_their_answers_by_id(folder):
    questions, answers = folder / "q.json", folder / "a.json"
    questions.write_text(json.dumps([OSPREY]), "utf-8")
    answers.write_text(json.dumps([{"question_id": 0, "text": "A chair."}]), "utf-8")
    (item,) = read_osprey(questions, answers, folder, "Osprey", "refuse")
    assert item.question == "Describe <Region 1> in detail."
    assert (item.truth, item.category, item.prompts) == ("A chair.", "description", (Box(1, 2, 31, 22),))
    answers.write_text(json.dumps([{"question_id": 5, "text": "A chair."}]), "utf-8")
    with pytest.raises(DataError, match="no answer to question 0"):
        read_osprey(questions, answers, folder, "Osprey", "refuse")
    assert read_osprey(questions, None, folder, "Osprey", "refuse")[0].truth == ""


DLC = {
    "images": [{"id": 7, "file_name": "a.png"}],
    "annotations": [{"id": 1, "image_id": 7, "bbox": [0, 0, 10, 10], "segmentation": {}}],
}


def test_dlc_asks_about_every_annotation(folder):
    path = folder / "dlc.json"
    path.write_text(json.dumps(DLC), "utf-8")
    (item,) = read_dlc(path, folder, "DLC", "refuse")
    assert (item.question_id, item.prompts, item.image_name) == ("1", (Box(0, 0, 10, 10),), "a.png")
    path.write_text(json.dumps({**DLC, "images": []}), "utf-8")
    with pytest.raises(DataError, match="image_id 7 is none"):
        read_dlc(path, folder, "DLC", "refuse")


VCR = {
    "annot_id": "val-0",
    "img_fn": "a.png",
    "metadata_fn": "a.json",
    "objects": ["person", "dog", "person"],
    "question": ["Why", "is", [2], "looking", "at", [1, 2], "?"],
    "answer_choices": [[[2], "is", "n't", "."], ["Because", "."], [[0], "'s", "dog", "."], ["No", "."]],
    "answer_label": 2,
    "rationale_choices": [["One", "."], ["Two", "."], ["Three", "."], [[1], "barks", "."]],
    "rationale_label": 3,
}
BOXES = {"boxes": [[0, 0, 10, 10, 0.9], [10, 10, 30, 30, 0.9], [40, 5, 60, 45, 0.9]]}


def test_vcr_becomes_two_questions_with_the_objects_that_are_named(folder):
    (folder / "a.json").write_text(json.dumps(BOXES), "utf-8")
    answer, reason = read_vcr(lines(folder / "val.jsonl", VCR), folder, "VCR", "refuse")
    # In the order of their first naming: objects 2, 1, 0.
    assert answer.prompts == (Box(40, 5, 60, 45), Box(10, 10, 30, 30), Box(0, 0, 10, 10))
    assert answer.stem == "Why is person <Region 1> looking at dog <Region 2> and person <Region 1>?"
    assert answer.choices[0] == "person <Region 1> isn't."
    assert answer.choices[2] == "person <Region 3>'s dog."
    assert answer.question == multiple_choice(answer.stem, answer.choices)
    assert (answer.truth, reason.truth) == ("C", "D")
    assert (answer.question_id, reason.question_id) == ("val-0:Q-A", "val-0:QA-R")
    assert reason.stem == f"{answer.stem} The answer is: {answer.choices[2]} Why?"


VCR_FAULTS = [
    ({"answer_label": 4}, "answer_label is 4"),
    ({"question": ["Why", [3]]}, "indices below 3"),
    ({"objects": ["person"]}, "has not the 1 boxes"),
    ({"rationale_label": "3"}, "rationale_label is '3'"),
]


@pytest.mark.parametrize("change, expected", VCR_FAULTS)
def test_wrong_lines_of_vcr_are_named(folder, change, expected):
    (folder / "a.json").write_text(json.dumps(BOXES), "utf-8")
    with pytest.raises(DataError, match=expected):
        read_vcr(lines(folder / "val.jsonl", {**VCR, **change}), folder, "VCR", "refuse")


def test_choices_are_lettered():
    assert multiple_choice("Why?", ["one", "two"]).splitlines() == [
        "Why?",
        "A. one",
        "B. two",
        "Answer with the letter of the right choice.",
    ]
