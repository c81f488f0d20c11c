"""Benchmark files: what is read, and what is refused with file, item and field."""

import json

import pytest

from accessory.eval.items import read_items
from SPHINX_V.errors import DataError
from SPHINX_V.processing.conversation import Turn
from SPHINX_V.prompts import Box, Point
from tests.accessory.eval.small_items import picture_at

GOOD = {
    "image_name": "a.png",
    "question": "Please identify the labels of each marked region in the image.",
    "question_id": 490182,
    "dataset_name": "LVIS_box",
    "gt_answers": "Region 1: baseball_base\nRegion 2: baseball_glove",
    "bbox": [[2.5, 3, 9, 4], [40, 36, 8, 6]],
}


@pytest.fixture
def write(tmp_path):
    picture_at(tmp_path / "a.png")

    def writes(values):
        path = tmp_path / "items.json"
        path.write_text(values if isinstance(values, str) else json.dumps(values), encoding="utf-8")
        return path

    return writes


def test_boxes_are_read_as_xywh(write, tmp_path):
    (item,) = read_items(write([GOOD]), tmp_path)
    assert item.prompts == (Box(2.5, 3, 11.5, 7), Box(40, 36, 48, 42))
    assert (item.question_id, item.dataset, item.truth) == (490182, "LVIS_box", GOOD["gt_answers"])
    assert item.picture == tmp_path / "a.png"
    assert not item.points


def test_points_are_read_and_empty_boxes_beside_them_do_not_matter(write, tmp_path):
    (item,) = read_items(write([{**GOOD, "bbox": [], "points": [[7, 9.5]]}]), tmp_path)
    assert item.prompts == (Point(7, 9.5),)
    assert item.points


def test_an_item_without_marks_is_read(write, tmp_path):
    (item,) = read_items(write([{key: value for key, value in GOOD.items() if key != "bbox"}]), tmp_path)
    assert item.prompts == ()


def test_the_turns_before_a_question_are_read(write, tmp_path):
    before = [["What is <Region 1>?", "A base."], ["And <Region 2>?", "A glove."]]
    first, second = read_items(write([GOOD, {**GOOD, "question_id": 2, "history": before}]), tmp_path)
    assert first.turns == (Turn(GOOD["question"]),)
    assert second.turns == (*(Turn(*turn) for turn in before), Turn(GOOD["question"], None))


def test_the_order_of_the_file_is_kept(write, tmp_path):
    items = read_items(write([{**GOOD, "question_id": number} for number in (3, 1, "two")]), tmp_path)
    assert [item.question_id for item in items] == [3, 1, "two"]


@pytest.mark.parametrize("field", ["image_name", "question", "question_id", "dataset_name", "gt_answers"])
def test_a_missing_field_is_named_with_its_item(write, tmp_path, field):
    bad = {key: value for key, value in GOOD.items() if key != field}
    with pytest.raises(DataError, match=rf"items\.json, item 1: {field} is None"):
        read_items(write([GOOD, bad]), tmp_path)


WRONG = [
    ({**GOOD, "question": 7}, "question is 7"),
    ({**GOOD, "bbox": [[1, 2]]}, "bbox holds"),
    ({**GOOD, "bbox": [], "points": [[1, 2, 3, 4]]}, "points hold"),
    ({**GOOD, "bbox": [[1, 2, 0, 4]]}, "mark 1"),
    ({**GOOD, "bbox": [[1, 2, 3, 4], ["x", 2, 3, 4]]}, "mark 2"),
    ({**GOOD, "image_name": "absent.png"}, "does not exist"),
    ({**GOOD, "points": [[1, 2]]}, "has bbox and points"),
    ({**GOOD, "bbox": 5}, "the marks are 5"),
    ({**GOOD, "bbox": [[float("nan"), 2, 3, 4]]}, "mark 1"),
    ({**GOOD, "history": "What is it?"}, "history is 'What is it?'"),
    ({**GOOD, "history": [["What is it?", "A base."], ["And this?"]]}, "[question, answer]"),
    ({**GOOD, "history": [["What is it?", ""]]}, "history is"),
    ([], "is a list, not an object"),
]


@pytest.mark.parametrize("value, expected", WRONG)
def test_a_wrong_item_is_refused_with_its_place(write, tmp_path, value, expected):
    with pytest.raises(DataError, match="item 0") as caught:
        read_items(write([value]), tmp_path)
    assert expected in str(caught.value)


@pytest.mark.parametrize("text, expected", [("[", "not valid JSON"), ("{}", "at least one"), ("[]", "at least one")])
def test_a_file_of_another_form_is_refused(write, tmp_path, text, expected):
    with pytest.raises(DataError, match=expected):
        read_items(write(text), tmp_path)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DataError, match=r"absent\.json: no such"):
        read_items(tmp_path / "absent.json", tmp_path)


def test_an_id_given_twice_is_refused(write, tmp_path):
    with pytest.raises(DataError, match="490182 stands twice"):
        read_items(write([GOOD, GOOD]), tmp_path)


FLAT = {**GOOD, "question_id": "flat", "bbox": [[1, 2, 3, 4], [87, 25, 0, 22]]}
FAULTS = [
    (FLAT, "mark 2: Box.from_xywh(87, 25, 0, 22) has no area"),
    ({**GOOD, "bbox": [[500, 2, 3, 4]]}, "lies wholly outside the picture of 100×50 pixels"),
    ({**GOOD, "image_name": "absent.png"}, "does not exist"),
    ({**GOOD, "image_name": "broken.png"}, "broken.png"),
]


@pytest.mark.parametrize("bad, expected", FAULTS)
def test_an_item_that_cannot_be_asked_is_refused_or_kept_with_its_fault(write, tmp_path, bad, expected):
    (tmp_path / "broken.png").write_bytes(b"\x89PNG no more")
    path = write([{**GOOD, "question_id": "good"}, bad])
    with pytest.raises(DataError, match="item 1") as caught:
        read_items(path, tmp_path)
    assert expected in str(caught.value)
    assert "set on_bad_item to unanswered" in str(caught.value)
    good, kept = read_items(path, tmp_path, "unanswered")
    assert (good.fault, len(good.prompts)) == ("", 2)
    assert expected in kept.fault
    assert kept.prompts == ()
    assert str(tmp_path / "items.json") not in kept.fault, "the fault is the same wherever the files lie"


def test_what_is_no_item_is_refused_whatever_the_option_says(write, tmp_path):
    with pytest.raises(DataError, match="question is 7"):
        read_items(write([{**GOOD, "question": 7}]), tmp_path, "unanswered")
