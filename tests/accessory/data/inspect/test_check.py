"""`python -m accessory.data check`: every fault found, named, counted, and told by the exit code."""

import json

import pytest
import yaml
from PIL import Image

from accessory.data.__main__ import main
from accessory.data.labels import question
from tests.accessory.runs import talk
from tests.golden_model import GOLDEN

LABELS = question("labels", points=False)
TOKENIZER = str(GOLDEN / "tokenizer.model")
GOOD = [
    talk(LABELS, "<Region 1>: cat", image="a.png", bbox=[[1, 2, 10, 10]]),
    talk("What is <Mark 1>?", "A dog.", image="a.png", points=[[5, 5]]),
    talk("Two plus two?", "Four."),
]


@pytest.fixture
def check(tmp_path, capsys):
    """Writes sources (lists of items, or texts) and checks them; returns the exit code and the JSON report."""
    Image.new("RGB", (40, 30)).save(tmp_path / "a.png")

    def checked(*sources, arguments=()):
        meta = []
        for number, content in enumerate(sources):
            (tmp_path / f"s{number}.json").write_text(
                content if isinstance(content, str) else json.dumps(content), encoding="utf-8"
            )
            meta.append({"path": f"s{number}.json", "type": "image_text"})
        (tmp_path / "data.yaml").write_text(yaml.safe_dump({"META": meta}))
        code = main(["check", str(tmp_path / "data.yaml"), "--json", *map(str, arguments)])
        printed = capsys.readouterr()
        return code, json.loads(printed.out) if printed.out else printed.err

    checked.folder = tmp_path
    return checked


def test_good_data_has_no_fault(check):
    code, report = check(GOOD)
    assert code == 0
    assert report["good"] is True
    assert (report["files"], report["items"], report["pictures"]) == (1, 3, 1)
    assert (report["counts"], report["faults"]) == ({}, [])
    # Words of questions and answers: 11 + 3, 4 + 2, 3 + 1.
    assert report["lengths"]["unit"] == "words"
    assert [report["lengths"][key] for key in ("count", "min", "median", "max")] == [3, 4, 6, 14]


BAD = [
    ("item", "text", "not an object"),
    ("both-kinds", {**GOOD[0], "points": [[1, 2]]}, "both bbox (1) and points (1)"),
    ("too-many-marks", {**GOOD[0], "bbox": [[1, 2, 3, 4]] * 11}, "11 marks in bbox"),
    ("marks", {**GOOD[0], "bbox": [[1, 2, -3, 4]]}, "has no area"),
    ("image", {**GOOD[1], "image": None}, "marks need a picture"),
    ("conversation", {**GOOD[2], "conversations": GOOD[2]["conversations"][:1]}, "needs one answer"),
    ("missing-picture", {**GOOD[0], "image": "gone.png"}, "gone.png: no such picture"),
    ("unreadable-picture", {**GOOD[0], "image": "s0.json"}, "not a picture of"),
    ("outside", {**GOOD[0], "bbox": [[30, 2, 19, 5]]}, "reaches 9 pixels outside the picture of 40×30"),
    ("mark-names", talk("What is <Mark 2>?", "A cat.", image="a.png", points=[[1, 2]]), "names <Mark 2>"),
    ("answer-lines", {**GOOD[0], "bbox": [[1, 2, 3, 4], [5, 6, 7, 8]]}, "no line for mark 2 of 2"),
    ("duplicate", GOOD[1], "the same picture, marks and conversation as item 1"),
]


@pytest.mark.parametrize("kind, item, reason", BAD, ids=[kind for kind, _, _ in BAD])
def test_a_fault_is_named_with_file_item_and_reason(check, kind, item, reason):
    code, report = check([*GOOD, item])
    assert code == 1
    assert report["good"] is False
    assert report["counts"] == {kind: 1}
    (fault,) = report["faults"]
    assert (fault["kind"], fault["file"], fault["item"]) == (kind, str(check.folder / "s0.json"), 3)
    assert reason in fault["reason"]
    assert report["items"] == 4


def test_one_file_that_cannot_be_read_does_not_hide_the_others(check):
    code, report = check('[{"a": 1}, {', "{}", [GOOD[0], {**GOOD[0], "image": "gone.png"}])
    assert code == 1
    assert report["counts"] == {"annotation-file": 2, "missing-picture": 1}
    assert report["items"] == 2
    faults = [(fault["file"].rsplit("/", 1)[1], fault["item"]) for fault in report["faults"]]
    assert faults == [("s0.json", None), ("s1.json", None), ("s2.json", 1)]


def test_an_item_that_is_no_json_is_one_fault(check):
    broken = json.dumps([GOOD[2], "HERE", GOOD[1]]).replace('"HERE"', '{"a": [1 2]}')
    code, report = check(broken)
    assert (code, report["items"], report["counts"]) == (1, 3, {"item": 1})
    assert report["faults"][0]["item"] == 1
    assert report["faults"][0]["reason"].startswith("not valid JSON: ")


def test_items_that_stand_in_two_files_and_files_listed_twice(check):
    code, report = check(GOOD, [GOOD[2]])
    assert code == 1
    assert report["faults"] == [
        {
            "kind": "duplicate",
            "file": str(check.folder / "s1.json"),
            "item": 0,
            "reason": f"the same picture, marks and conversation as {check.folder / 's0.json'}, item 2",
        }
    ]
    config = check.folder / "twice.yaml"
    config.write_text(yaml.safe_dump({"META": [{"path": "s0.json", "type": "t"}] * 2}))
    assert main(["check", str(config)]) == 1


def test_more_pictures_than_are_looked_at_together(check, monkeypatch):
    monkeypatch.setattr("accessory.data.inspect.walk.BATCH", 2)
    items = [{**GOOD[0], "image": name} for name in ("a.png", "b.png", "a.png", "c.png", "a.png")]
    _, report = check(items)
    assert [fault["item"] for fault in report["faults"] if fault["kind"] == "missing-picture"] == [1, 3]
    assert [fault["item"] for fault in report["faults"] if fault["kind"] == "duplicate"] == [2, 4]
    assert report["pictures"] == 3


def test_only_some_of_the_sources(check):
    bad, good = [{**GOOD[0], "image": "gone.png"}], [*GOOD, GOOD[2]]
    code, report = check(bad, good, arguments=["--only", "s1"])
    assert (code, report["files"], report["counts"]) == (1, 1, {"duplicate": 1})
    assert report["faults"][0]["file"].endswith("s1.json")
    code, error = check(bad, good, arguments=["--only", "s7"])
    assert code == 2
    assert "--only s7: none of the 2 paths in" in error


def test_a_picture_that_is_cut_off_is_found_by_decoding(check):
    whole = check.folder / "whole.png"
    Image.effect_noise((64, 64), 90).save(whole)
    (check.folder / "cut.png").write_bytes(whole.read_bytes()[:1500])
    items = [{**GOOD[0], "image": "cut.png"}]
    assert check(items)[0] == 0
    code, report = check(items, arguments=["--decode"])
    assert code == 1
    assert report["counts"] == {"unreadable-picture": 1}
    assert check(items, arguments=["--skip_pictures", "--decode"])[1]["pictures"] == 0


def test_what_is_allowed_is_reported_and_no_failure(check):
    items = [*GOOD, GOOD[2], {**GOOD[0], "bbox": [[30, 2, 12, 5]]}]
    assert check(items, arguments=["--allow", "duplicate"])[0] == 1
    code, report = check(items, arguments=["--allow", "duplicate", "--tolerance", "2"])
    assert (code, report["good"], report["counts"], report["allowed"]) == (0, True, {"duplicate": 1}, ["duplicate"])


def test_lengths_are_those_of_training_with_a_tokenizer(check):
    two = {**GOOD[1], "conversations": GOOD[1]["conversations"] * 5}
    items = [*GOOD, two]

    def checked(max_words):
        return check(items, arguments=["--tokenizer", TOKENIZER, "--max_words", max_words])

    code, report = checked(2048)
    assert (code, report["truncated"], report["lengths"]["unit"]) == (0, 0, "tokens")
    # With a picture, 1467 of the tokens are its own; room for one token less than the longest conversation has.
    code, report = checked(1467 + report["lengths"]["max"] - 1)
    assert (code, report["truncated"], report["counts"]) == (0, 1, {})
    code, report = checked(1468)
    assert (code, report["counts"]) == (1, {"no-target": 3})
    assert "does not fit into 1468 tokens, of which the picture takes 1467" in report["faults"][0]["reason"]


def test_the_report_for_people(check, capsys):
    check([*GOOD, *([{**GOOD[0], "bbox": [[-5, 2, 8, 8]]}] * 4)])
    assert main(["check", str(check.folder / "data.yaml"), "--show", "2"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{check.folder / 'data.yaml'}: 1 file, 7 items, 1 picture looked at; 7 faults"
    at = next(number for number, line in enumerate(lines) if line.startswith("outside: 4: "))
    assert lines[at + 1].startswith(
        f"  {check.folder / 's0.json'}, item 3: mark 1, Box(-5, 2, 3, 10), reaches 5 pixels"
    )
    assert lines[at + 3] == "  … and 2 more; --show 0 lists all"
    assert any(line.startswith("duplicate: 3: ") for line in lines)
    assert any(line.startswith("text in words") for line in lines)
    main(["check", str(check.folder / "data.yaml"), "--show", "0"])
    assert capsys.readouterr().out.count("reaches 5 pixels") == 4


@pytest.mark.parametrize(
    "arguments, part",
    [
        (["--max_words", "1600"], "--max_words counts tokens; give --tokenizer"),
        (["--max_words", "1467", "--tokenizer", TOKENIZER], "1467, of which a picture takes 1467"),
        (["--tokenizer", "gone.model"], "no such tokenizer"),
        (["--workers", "0"], "--workers is 0"),
    ],
)
def test_a_wrong_call_is_refused(check, arguments, part):
    code, error = check(GOOD, arguments=arguments)
    assert code == 2
    assert part in error


def test_a_missing_configuration_is_refused(capsys, tmp_path):
    assert main(["check", str(tmp_path / "gone.yaml")]) == 2
    assert "no such configuration file" in capsys.readouterr().err
