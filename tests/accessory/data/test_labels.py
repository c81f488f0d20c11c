"""The wording of questions and answers, and labels read back from answers."""

import pytest

from accessory.data.labels import answer, parse_labels, parse_relations, question, task_of

WORDING = {
    "labels": "Please identify the labels of each marked region in the image.",
    "ocr": "Please provide the ocr results of each marked region in the image.",
    "brief": "Please provide a brief description of each marked region in the image.",
    "detailed": "Please provide a detailed description of each marked region in the image.",
    "summary": "Please provide a summarized description based on all the marked regions in the image.",
    "relation": "Please analyze the relationship between all marked regions in the image.",
}


@pytest.mark.parametrize("task", WORDING)
def test_questions_have_the_wording_of_the_training_data(task):
    assert question(task, points=False) == WORDING[task]
    assert question(task, points=True) == WORDING[task].replace("region", "point")


def test_answers_name_regions_and_marks():
    assert answer(["cat", "red box"], points=False) == "<Region 1>: cat\n<Region 2>: red box"
    assert answer(["cat", "red box"], points=True) == "<Mark 1>: cat\n<Mark 2>: red box"


@pytest.mark.parametrize(
    "text, labels",
    [
        ("<Region 1>: cat\n<Region 2>: red box", {1: "cat", 2: "red box"}),
        ("Region 1: cat\nRegion 10: dog", {1: "cat", 10: "dog"}),
        ("<Mark 2>: a cat, sitting: happy", {2: "a cat, sitting: happy"}),
        ("  <Region 1> :  cat  ", {1: "cat"}),
        ("<Region 1>: cat\n<Region 1>: dog", {1: "cat"}),
        ("<Region 1>:\n<Region 2>: dog", {2: "dog"}),
        ("<Region 1> is a cat.", {}),
        ("The <Region 1>: cat", {}),
        ("", {}),
    ],
)
def test_labels_read_back(text, labels):
    assert parse_labels(text) == labels


@pytest.mark.parametrize(
    "text, said",
    [
        ("<Region 1> is left of <Region 2>.", {2: "left of"}),
        ("<Mark 3> is above <Mark 1>.\n<Mark 1> is holding <Mark 2>.", {3: "above", 2: "holding"}),
        ("<Region 1> is red and <Region 2> is blue.", {}),
        ("<Region 1> is near <Region 1>.", {}),
        ("<Region 1>: is left of it", {}),
    ],
)
def test_a_relation_is_said_by_its_later_mark(text, said):
    assert parse_relations(text) == said


@pytest.mark.parametrize("points", [False, True])
def test_what_is_written_is_read(points):
    labels = ["cat", "dining table-merged", "EXIT"]
    assert parse_labels(answer(labels, points)) == dict(enumerate(labels, start=1))


@pytest.mark.parametrize("points", [True, False])
@pytest.mark.parametrize("task", ["labels", "ocr", "brief", "detailed", "summary", "relation"])
def test_a_question_is_recognised_by_its_wording(task, points):
    assert task_of(question(task, points)) == (task, points)
    assert task_of(f"<image>\n{question(task, points)} ") == (task, points)
    assert task_of(f"{question(task, points)} Briefly.") is None
