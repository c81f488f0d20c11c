"""Tables and results.json: published numbers beside ours, controls, averages, notes."""

import json

import pytest

from accessory.eval.published import OURS, read_published
from accessory.eval.registry import SuiteEntry
from accessory.eval.results import averages, markdown, notes_of, rows_of, to_json
from accessory.eval.scores import Score, SuiteScores, Tally
from accessory.eval.scoring import Outcome

LVIS = SuiteEntry(kind="labels", file="LVIS_box.json", published="LVIS")
PLAIN = SuiteEntry(kind="exact_regions", file="x.json")


def outcome(suite, scores, entry=PLAIN, control="none", notes=(), **counts):
    return Outcome(suite, entry, (), control, None, notes, {}, scores=SuiteScores(tuple(scores), (), Tally(**counts)))


@pytest.fixture(scope="module")
def published():
    return read_published()


def test_published_numbers_are_those_of_the_papers(published):
    assert [(n.model, n.value) for n in published.of("LVIS", "SSim")] == [
        (OURS, 87.1),
        ("PixelRefer-7B", 90.5),
        ("DAM-8B", 89.0),
        ("PAM-3B", 88.6),
        ("Osprey", 65.2),
    ]
    assert [n.value for n in published.of("PACO", "S-IoU")] == [55.0, 85.3, 74.9, 73.2]
    assert published.of("", "SSim") == ()
    for number in published.numbers:
        assert 0 < number.value < 200


def test_a_row_has_ours_the_papers_and_the_controls(published):
    rows = rows_of(
        [
            outcome("LVIS_box", [Score("SSim", 86.04, (85.0, 87.06)), Score("SSim strict", 80.0)], LVIS),
            outcome("LVIS_box", [Score("SSim", 20.0)], LVIS, "swap_marks"),
        ],
        published,
    )
    assert [row.score.name for row in rows] == ["SSim", "SSim strict"]
    assert rows[0].ours_published.value == 87.1
    assert rows[0].best_published.model == "PixelRefer-7B"
    assert rows[0].controls["swap_marks"].value == 20.0
    assert (rows[1].ours_published, rows[1].controls) == (None, {})


def test_the_table_in_markdown(published):
    text = markdown(
        [
            outcome("LVIS_box", [Score("SSim", 86.04, (85.0, 87.06))], LVIS, items=3, regions=7, unparsable=2),
            outcome("LVIS_box", [Score("SSim", 20.0)], LVIS, "swap_marks", items=3, regions=7),
        ],
        [],
        published,
    )
    lines = text.splitlines()
    assert lines[:3] == [
        "| suite | number | ours | 95 % | marks swapped | SPHINX-V 13B | best published |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
        "| LVIS_box | SSim | 86.0 | 85.0 to 87.1 | 20.0 | 87.1 | 90.5 (PixelRefer-7B) |",
    ]
    assert "| LVIS_box, marks swapped | 3 | 7 | 0 | 0 | 0 | 0 | 0 | 0 | 0 |" in lines
    assert lines[-1].startswith("Published numbers: papers' tables")


def test_averages_count_every_suite_the_same():
    means = averages(
        [
            outcome("a", [Score("judge", 60.0), Score("only here", 1.0)]),
            outcome("b", [Score("judge", 80.0)]),
            outcome("c", [Score("judge", None, note="not judged")]),
            outcome("a", [Score("judge", 5.0)], control="no_marks"),
        ],
        {"all": ["a", "b", "c", "d"], "alone": ["a"]},
    )
    assert [(m.group, m.name, m.value, m.suites, m.of) for m in means] == [("all", "judge", 70.0, 2, 4)]


def test_notes_are_said_once_for_all_suites_that_share_them():
    notes = notes_of(
        [
            outcome("a", [Score("x", None, note="no Java"), Score("y", None, note="no Java")]),
            outcome("b", [Score("x", None, note="no Java")], notes=("half a line",)),
            outcome("c", [Score("x", 1.0)], faults=["question 4: no area"]),
        ]
    )
    assert notes == ["a, b (x, y): no Java", "b: half a line", "c: not asked: question 4: no area"]


def test_results_json_holds_every_number_with_its_sources(published):
    both = [
        outcome("LVIS_box", [Score("SSim", 86.0, (85.0, 87.0))], LVIS, items=3),
        outcome("x", [], control="no_marks"),
    ]
    value = json.loads(to_json(both, [], published))
    suite = value["suites"]["LVIS_box"]["none"]
    assert suite["scores"][0]["interval"] == [85.0, 87.0]
    assert suite["counts"]["items"] == 3
    assert {one["model"] for one in suite["published"]} >= {OURS, "PAM-3B"}
    assert "arXiv 2403.20271" in value["sources"]
    assert set(value["suites"]["x"]) == {"no_marks"}
