"""Predictions: order, form of the file, greedy requests; with a stand-in for the model."""

import json

import pytest

from accessory.eval.predict import predict
from SPHINX_V.prompts import Point
from tests.accessory.eval.small_items import item, picture_at


class Echo:
    """Answers with the x of the first mark, and keeps what it was asked."""

    def __init__(self, fails_at=None):
        self.batches = []
        self.fails_at = fails_at

    def generate_batch(self, requests, max_rows):
        if len(self.batches) == self.fails_at:
            raise RuntimeError("the machine is on fire")
        self.batches.append((list(requests), max_rows))
        return [f"x is {request.prompts[0].x:g} é" for request in requests]


@pytest.fixture
def items(tmp_path):
    picture = picture_at(tmp_path / "a.png")
    return [item(picture, (Point(n, 1),), number=f"q{n}", truth=f"true {n}") for n in range(5)]


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_every_item_is_answered_in_its_place(items, tmp_path):
    out = tmp_path / "new folder" / "answers.jsonl"
    predictions = predict(Echo(), items, out, max_new_tokens=7, batch_size=2)
    assert [one.prediction for one in predictions] == [f"x is {n} é" for n in range(5)]
    assert lines(out)[3] == {
        "image_name": "a.png",
        "question_id": "q3",
        "question": items[3].question,
        "prediction": "x is 3 é",
        "answer": "true 3",
    }
    assert len(lines(out)) == 5


def test_requests_are_greedy_and_of_the_wanted_length_and_size(items, tmp_path):
    model = Echo()
    predict(model, items, tmp_path / "a.jsonl", max_new_tokens=7, batch_size=2)
    assert [len(requests) for requests, _ in model.batches] == [2, 2, 1]
    assert {max_rows for _, max_rows in model.batches} == {2}
    for requests, _ in model.batches:
        assert {(request.temperature, request.max_gen_len) for request in requests} == {(0.0, 7)}
        assert all(request.turns == [[items[0].question, None]] for request in requests)


def test_what_was_answered_before_a_failure_is_on_disk(items, tmp_path):
    with pytest.raises(RuntimeError, match="on fire"):
        predict(Echo(fails_at=1), items, tmp_path / "a.jsonl", max_new_tokens=7, batch_size=2)
    assert [one["question_id"] for one in lines(tmp_path / "a.jsonl")] == ["q0", "q1"]
