"""The command line: infer, score and run as a user calls them, with the golden checkpoint; errors in one line."""

import json

import pytest
import yaml

from accessory.eval.__main__ import main
from accessory.eval.registry import read_registry
from tests.accessory.eval.small_items import picture_at
from tests.accessory.eval.small_suites import values, write_suite
from tests.golden_model import GOLDEN


@pytest.fixture
def setting(tmp_path):
    """Arguments of infer for the suite `small` of two pictures, and the folder of predictions."""
    two = [{**one, "image_name": name} for one, name in zip(values(4), ["a.png", "a.png", "b.png", "b.png"])]
    registry, root = write_suite(tmp_path, two)
    common = ["--data_root", str(root), "--registry", str(registry)]
    out = tmp_path / "predictions"
    infer = ["infer", "--checkpoint", str(GOLDEN), "--suite", "small", "--device", "cpu", "--out", str(out), *common]
    return infer, out, common


def test_infer_then_score(setting, tmp_path, capsys):
    infer, out, common = setting
    assert main(infer) == 0
    assert main([*infer, "--control", "no_marks", "--batch_size", "3"]) == 0
    said = capsys.readouterr()
    assert f"{out / 'small.jsonl'}: 4 questions" in said.err
    assert len((out / "small.jsonl").read_text("utf-8").splitlines()) == 4
    report = tmp_path / "report"
    files = [str(out / "small.jsonl"), str(out / "small.no_marks.jsonl")]
    assert main(["score", *files, *common, "--out", str(report)]) == 0
    table = capsys.readouterr().out
    assert table.startswith("| suite | number | ours | 95 % | without marks |")
    assert table.strip() == (report / "table.md").read_text("utf-8").strip()
    results = json.loads((report / "results.json").read_text("utf-8"))
    assert results["suites"]["small"]["none"]["counts"]["items"] == 4
    assert results["suites"]["small"]["none"]["record"]["suite"] == "small"
    assert main(["score", *files, *common[2:]]) == 0
    assert capsys.readouterr().out.startswith("| suite | number | ours | 95 % | without marks |")


def test_run_does_all_of_it(setting, tmp_path, capsys):
    _, _, common = setting
    values = {
        "output": str(tmp_path / "run"),
        "checkpoint": str(GOLDEN),
        "data_root": common[1],
        "registry": [common[3]],
        "suites": ["small"],
        "controls": ["swap_marks"],
        "device": "cpu",
        "report": {"title": "Small", "best": 1, "worst": 1, "random": 0},
    }
    config = tmp_path / "run.yaml"
    config.write_text(yaml.safe_dump(values), "utf-8")
    assert main(["run", str(config), "batch_size=3"]) == 0
    assert "| small | accuracy |" in capsys.readouterr().out
    run = tmp_path / "run"
    names = sorted(path.name for path in (run / "predictions").iterdir())
    assert names == ["small.jsonl", "small.record.json", "small.swap_marks.jsonl", "small.swap_marks.record.json"]
    page = (run / "report.html").read_text("utf-8")
    assert "<title>Small</title>" in page
    assert page.count("<article") == 2
    before = (run / "predictions" / "small.jsonl").stat().st_mtime_ns
    assert main(["run", str(config), "batch_size=3"]) == 0
    assert (run / "predictions" / "small.jsonl").stat().st_mtime_ns == before


def test_suites_are_listed(setting, capsys):
    assert main(["suites", *setting[2][2:]]) == 0
    said = capsys.readouterr().out
    for name in (*read_registry().suites, "small", "MDVP"):
        assert name in said


FAULTS = [
    (["--suite", "smal"], "ConfigError: there is no suite smal; did you mean small"),
    (["--data_root", "absent"], "has neither small.json"),
    (["--image_root", "absent"], "image root absent: no such folder"),
    (["--checkpoint", "absent"], "CheckpointError: absent: no such checkpoint folder"),
    (["--tensor_parallel", "2"], "tensor_parallel is 2, but 1 process runs"),
    (["--device", "nowhere"], "device is 'nowhere'"),
]


@pytest.mark.parametrize("change, expected", FAULTS)
def test_what_a_user_can_mend_is_one_line_and_exit_code_2(setting, capsys, change, expected):
    assert main([*setting[0], *change]) == 2
    said = capsys.readouterr().err
    assert expected in said
    assert len(said.strip().splitlines()) == 1


def test_a_bad_item_is_refused_by_name_and_counted_where_that_is_wanted(tmp_path, capsys):
    flat = {**values(1)[0], "question_id": "flat", "bbox": [[87, 25, 0, 22]]}
    registry, root = write_suite(tmp_path, [*values(1), flat])
    infer = ["infer", "--checkpoint", str(GOLDEN), "--suite", "small", "--device", "cpu", "--data_root", str(root)]
    infer += ["--registry", str(registry), "--out", str(tmp_path / "out")]
    assert main(infer) == 2
    assert "item 1: mark 1: Box.from_xywh(87, 25, 0, 22) has no area" in capsys.readouterr().err
    assert main([*infer, "--on_bad_item", "unanswered"]) == 0
    assert main(["score", str(tmp_path / "out" / "small.jsonl")]) == 2
    assert "answers the suite small, which is in no registry file" in capsys.readouterr().err
    assert main(["score", str(tmp_path / "out" / "small.jsonl"), "--registry", str(registry)]) == 0
    said = capsys.readouterr().out
    assert "| small | 2 | 2 |" in said
    assert "small: not asked: question flat: mark 1: Box.from_xywh(87, 25, 0, 22) has no area" in said


def test_a_missing_picture_and_a_control_without_donors_end_in_a_line(setting, tmp_path, capsys):
    assert main([*setting[0], "--control", "swap_marks"]) == 0
    (tmp_path / "data" / "b.png").unlink()
    assert main(setting[0]) == 2
    assert "b.png does not exist; check the image root" in capsys.readouterr().err
    picture_at(tmp_path / "data" / "b.png")
    registry, _ = write_suite(tmp_path, values(2))
    assert main([*setting[0], "--registry", str(registry), "--control", "swap_marks", "--restart"]) == 2
    assert "no other pictures have 1 marks to swap with" in capsys.readouterr().err


POPE = [{"question_id": n, "image": "a.png", "text": f"Is there a {n}?", "label": "no"} for n in (1, 2)]


def test_controls_of_a_suite_without_marks_are_left_out_of_a_run_and_refused_alone(tmp_path, capsys):
    registry, root = write_suite(tmp_path, POPE, kind="yes_no", form="pope")
    config = tmp_path / "run.yaml"
    values = {"output": str(tmp_path / "run"), "checkpoint": str(GOLDEN), "data_root": str(root), "suites": ["small"]}
    config.write_text(yaml.safe_dump({**values, "registry": [str(registry)], "controls": ["no_marks"]}), "utf-8")
    assert main(["run", str(config), "device=cpu"]) == 0
    said = capsys.readouterr()
    assert "small: has no marks, so no_marks would ask the same again" in said.err
    assert "| small | yes-ratio |" in said.out
    infer = ["infer", "--checkpoint", str(GOLDEN), "--suite", "small", "--device", "cpu", "--data_root", str(root)]
    infer += ["--registry", str(registry), "--out", str(tmp_path / "out"), "--control", "no_marks"]
    assert main(infer) == 2
    assert "no item has a mark" in capsys.readouterr().err


def test_vcr_is_answered_by_letter_and_by_likelihood(tmp_path, capsys):
    line = {
        "annot_id": "val-0",
        "img_fn": "a.png",
        "metadata_fn": "a.json",
        "objects": ["person"],
        "question": ["Why", "is", [0], "here", "?"],
        "answer_choices": [["One", "."], ["Two", "more", "."], ["Three", "."], ["Four", "."]],
        "answer_label": 2,
        "rationale_choices": [["Five", "."], ["Six", "."], ["Seven", "."], ["Eight", "."]],
        "rationale_label": 3,
    }
    registry, root = write_suite(tmp_path, [line], kind="choices", form="vcr")
    (root / "a.json").write_text(json.dumps({"boxes": [[2, 3, 40, 30, 0.9]]}), "utf-8")
    common = ["--registry", str(registry), "--data_root", str(root)]
    infer = ["infer", "--checkpoint", str(GOLDEN), "--suite", "small", "--device", "cpu", *common]
    assert main([*infer, "--out", str(tmp_path / "out")]) == 0
    lines = [json.loads(text) for text in (tmp_path / "out" / "small.jsonl").read_text("utf-8").splitlines()]
    assert [one["question_id"] for one in lines] == ["val-0:Q-A", "val-0:QA-R"]
    assert [len(one["likelihoods"]) for one in lines] == [4, 4]
    assert main(["score", str(tmp_path / "out" / "small.jsonl"), *common]) == 0
    table = capsys.readouterr().out
    for name in ("Q→A", "Q→AR", "QA→R, likelihood", "Q→AR, likelihood per token"):
        assert f"| small | {name} |" in table


def test_an_unknown_option_of_a_run_is_named_with_its_line(tmp_path, capsys):
    config = tmp_path / "run.yaml"
    config.write_text("output: out\ncheckpoint: c\ndata_root: d\nsuites: [LVIS]\nbatchsize: 3\n", "utf-8")
    assert main(["run", str(config)]) == 2
    assert "line 5: unknown key batchsize; did you mean batch_size?" in capsys.readouterr().err
