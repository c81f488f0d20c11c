"""The record beside predictions: what it tells apart, and that nothing is mixed."""

from dataclasses import replace

import pytest

from accessory.eval.predictions import Prediction, parts_of, write_part
from accessory.eval.record import checkpoint_hash, items_hash, keep_record, read_record
from SPHINX_V.errors import CheckpointError, UsageError
from SPHINX_V.prompts import Box, Point
from tests.accessory.eval.small_items import item

RECORD = {"suite": "small", "items": 5, "batch_size": 8}
ANSWER = Prediction("a.png", 1, "?", "x", "y")


def test_a_record_is_kept_and_must_stay_the_same(tmp_path):
    path = tmp_path / "small.jsonl"
    keep_record(path, RECORD, restart=False)
    assert read_record(path) == RECORD
    keep_record(path, RECORD, restart=False)
    with pytest.raises(UsageError, match=r"batch_size: 8, now 4.*--restart"):
        keep_record(path, {**RECORD, "batch_size": 4}, restart=False)


def test_answers_without_a_record_are_not_taken_for_ours(tmp_path):
    path = tmp_path / "small.jsonl"
    write_part(path, 0, [ANSWER])
    with pytest.raises(UsageError, match="without the record"):
        keep_record(path, RECORD, restart=False)


def test_restart_removes_what_was_there(tmp_path):
    path = tmp_path / "small.jsonl"
    path.write_text("old", "utf-8")
    write_part(path, 2, [ANSWER])
    keep_record(path, RECORD, restart=True)
    assert not path.exists()
    assert parts_of(path) == []
    assert read_record(path) == RECORD


def test_a_checkpoint_trained_on_has_another_hash(tmp_path):
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(bytes(3 << 20))
    before = checkpoint_hash(tmp_path)
    assert checkpoint_hash(tmp_path) == before
    for place in (0, (3 << 20) - 1):
        changed = bytearray(3 << 20)
        changed[place] = 1
        weights.write_bytes(changed)
        assert checkpoint_hash(tmp_path) != before
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        checkpoint_hash(tmp_path / "absent")


def test_items_without_turns_before_them_keep_the_hash_of_older_records(tmp_path):
    # sha256 of [1, "a.png", "?", "x", [["Point", 1.0, 2.0, 1.0, 2.0]], [], false] as JSON
    one = replace(item(tmp_path / "a.png", (Point(1, 2),), 1), question="?", truth="x")
    assert items_hash([one]) == "cd6848e6ca68137f9b329bf798fa8a2dcbcd15a3045eb3ce8b187198e3cfb99c"


def test_items_differ_in_all_that_is_asked(tmp_path):
    one = item(tmp_path / "a.png", (Box(1, 2, 3, 4),), 1)
    changes = [
        {"question": "Why?"},
        {"prompts": (Box(1, 2, 3, 5),)},
        {"prompts": (Point(1, 2),)},
        {"truth": "x"},
        {"question_id": 2},
        {"image_name": "b.png"},
        {"fault": "mark 1"},
        {"history": (("What?", "A dog."),)},
        {"history": (("What?", "A cat."),)},
    ]
    hashes = {items_hash([one]), *(items_hash([replace(one, **change)]) for change in changes)}
    assert len(hashes) == len(changes) + 1
    assert items_hash([replace(one, picture=tmp_path / "elsewhere" / "a.png")]) == items_hash([one])
