"""From prediction files to scores: whose they are, whether they are whole, and what is refused."""

import json

import pytest

from accessory.eval.predictions import Prediction, write_part
from accessory.eval.record import keep_record
from accessory.eval.registry import Roots, read_registry
from accessory.eval.scoring import read_answered, score
from accessory.eval.suites.base import Resources
from SPHINX_V.errors import DataError, UsageError
from SPHINX_V.prompts import Box
from tests.accessory.eval.small_suites import numbers, values, write_suite


@pytest.fixture
def setting(tmp_path):
    """The registry with the suite `small`, its roots, and predictions in which every first region is right."""
    registry_file, root = write_suite(tmp_path)
    predictions = [
        Prediction("a.png", one["question_id"], one["question"], "Region 1: label 1", one["gt_answers"], "small")
        for one in values()
    ]
    return read_registry([registry_file]), Roots(root, root), predictions


def write(path, predictions, record=None):
    if record is not None:
        keep_record(path, {"suite": "small", "control": "none", "items": 5, **record}, restart=False)
    path.write_text("".join(f"{one.line()}\n" for one in predictions), "utf-8")
    return path


def read(path, setting, roots=False, suite=None, partial=False):
    registry, both, _ = setting
    return read_answered(path, registry, both if roots else None, suite, partial)


def test_a_file_is_scored_with_what_it_holds(setting, tmp_path):
    answered = read(write(tmp_path / "small.jsonl", setting[2]), setting)
    # Five items with 1, 2, 3, 1, 2 regions.
    assert numbers(score(answered, Resources()).scores) == {"accuracy": pytest.approx(100 * 5 / 9)}
    assert (answered.suite, answered.control, answered.picture_root) == ("small", "none", None)


def test_with_the_roots_marks_and_pictures_are_known(setting, tmp_path):
    answered = read(write(tmp_path / "small.jsonl", setting[2]), setting, roots=True)
    assert answered.predictions[0].marks == (Box(2, 3, 17, 15),)
    assert answered.picture_root == setting[1].images


def test_an_old_file_without_its_suite_is_scored_by_name_or_flag(setting, tmp_path):
    old = [{**json.loads(one.line())} for one in setting[2]]
    for one in old:
        del one["dataset_name"]
    for name, suite in (("small_results.json", None), ("whatever.json", "small")):
        path = tmp_path / name
        path.write_text(json.dumps(old), "utf-8")
        assert read(path, setting, suite=suite).suite == "small"
    with pytest.raises(UsageError, match="does not say which suite"):
        read(path, setting)


def test_answers_without_truths_take_them_from_the_suite(setting, tmp_path):
    bare = [{"question_id": one.question_id, "text": one.prediction} for one in setting[2]]
    path = tmp_path / "bare.json"
    path.write_text(json.dumps(bare), "utf-8")
    with pytest.raises(UsageError, match="holds no true answers"):
        read(path, setting, suite="small")
    answered = read(path, setting, roots=True, suite="small")
    assert numbers(score(answered, Resources()).scores) == {"accuracy": pytest.approx(100 * 5 / 9)}


def test_a_part_of_a_suite_is_refused_unless_it_is_wanted(setting, tmp_path):
    for roots, record in ((True, None), (False, {})):
        path = write(tmp_path / f"{roots}.jsonl", setting[2][:3], record)
        with pytest.raises(UsageError, match=r"answers 3 of the suite's 5 questions.*--partial"):
            read(path, setting, roots=roots)
        assert read(path, setting, roots=roots, partial=True).notes == ("only 3 of 5 questions are answered",)


def test_a_suite_in_the_making_is_not_scored(setting, tmp_path):
    write_part(tmp_path / "small.jsonl", 0, setting[2][:2])
    with pytest.raises(UsageError, match="only its parts are there; run infer again"):
        read(tmp_path / "small.jsonl", setting)


def test_half_a_line_is_told(setting, tmp_path):
    path = write(tmp_path / "small.jsonl", setting[2])
    path.write_bytes(path.read_bytes()[:-10])
    assert read(path, setting).notes == ("small.jsonl: half a line at its end was left out",)


def test_files_of_another_suite_are_refused(setting, tmp_path):
    path = write(tmp_path / "small.jsonl", setting[2])
    with pytest.raises(UsageError, match="holds answers to small, not to LVIS_box"):
        read(path, setting, suite="LVIS_box")
    mixed = [*setting[2], Prediction("a.png", 9, "?", "x", "y", "LVIS_box")]
    with pytest.raises(DataError, match="answers of several suites"):
        read(write(tmp_path / "mixed.jsonl", mixed), setting)
    foreign = [Prediction("a.png", 99, "?", "x", "y", "small")]
    with pytest.raises(UsageError, match="prediction file of another suite"):
        read(write(tmp_path / "foreign.jsonl", foreign), setting, roots=True)


def test_the_control_is_in_the_record_or_in_the_name(setting, tmp_path):
    assert read(write(tmp_path / "small.no_marks.jsonl", setting[2]), setting).control == "no_marks"
    path = write(tmp_path / "renamed.jsonl", setting[2], {"control": "swap_marks"})
    assert read(path, setting).control == "swap_marks"


def test_a_missing_benchmark_file_is_noted_where_the_truths_are_there(setting, tmp_path):
    registry, _, predictions = setting
    empty = Roots(tmp_path / "pictures", tmp_path / "pictures")
    (tmp_path / "pictures").mkdir()
    answered = read_answered(write(tmp_path / "small.jsonl", predictions), registry, empty, None, False)
    assert answered.notes == (
        "small.json is not under the data root: questions and truths are those of the predictions",
    )
