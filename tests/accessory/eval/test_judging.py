"""Suites with their judge: a run over real HTTP, its replay, controls, and judges that do not mix."""

import json
import re

import pytest
import yaml

from accessory.eval.__main__ import main
from tests.accessory.eval.judge.judged import KEY
from tests.accessory.eval.judge.server import completion, judge_server, picture_of, problem, prompt_of
from tests.accessory.eval.small_items import picture_at
from tests.golden_model import GOLDEN
from tests.house.repo import ROOT

MDVP = ROOT.parent / "shared" / "data" / "mdvp_bench"
SUITES = ("natural_QA_box", "android_QA_box")


@pytest.fixture(autouse=True)
def _key(monkeypatch):
    pytest.importorskip("openai", reason='the judge needs: pip install -e ".[judge]"')
    monkeypatch.setenv(KEY, "none")


def by_the_question(request):
    """Grades the reference 8, and the answer 2, 4, 6 to questions 1, 2, 3; question 4 gets no grades."""
    number = int(re.search(r"Question (\d)", prompt_of(request))[1])
    return completion("Lovely." if number == 4 else f"8 {2 * number}\nBecause.")


@pytest.fixture
def setting(tmp_path):
    """A run of two small tasks of MDVP-Bench on pictures of our own; one has an item that cannot be asked."""
    data = tmp_path / "data"
    data.mkdir()
    suites = {}
    for suite in SUITES:
        for n in range(1, 6):
            picture_at(data / f"{n}.png", (60 + n, 50), "grey")
        items = [
            {
                "image_name": f"{n}.png",
                "question": f"Question {n}: what is <Region 1>?",
                "question_id": n,
                "dataset_name": suite,
                "gt_answers": f"The answer to {n}.",
                "bbox": [[n, 5, 0 if n == 5 else 20, 10]],
            }
            for n in range(1, 6)
        ]
        (data / f"{suite}.json").write_text(json.dumps(items), "utf-8")
        entry = {"kind": "judged", "protocol": "mdvp", "file": f"{suite}.json", "max_new_tokens": 4}
        suites[suite] = {**entry, "on_bad_item": "unanswered"}
    registry = tmp_path / "registry.yaml"
    registry.write_text(yaml.safe_dump({"suites": suites}), "utf-8")
    return {
        "output": str(tmp_path / "run"),
        "checkpoint": str(GOLDEN),
        "data_root": str(data),
        "registry": [str(registry)],
        "suites": list(SUITES),
        "device": "cpu",
        "judge": {"model": "test-judge", "key_env": KEY, "retries": 0},
    }


def run(setting, tmp_path, base_url, **more):
    config = tmp_path / "run.yaml"
    values = {**setting, **more, "judge": {**setting["judge"], "base_url": base_url}}
    config.write_text(yaml.safe_dump(values), "utf-8")
    return main(["run", str(config)])


def scores_of(tmp_path, suite, control="none"):
    results = json.loads((tmp_path / "run" / "results.json").read_text("utf-8"))
    value = results["suites"][suite][control]
    return {one["name"]: one["value"] for one in value["scores"]}, value["counts"], results


def test_a_run_is_judged_and_replayed_without_the_judge(setting, tmp_path, capsys):
    with judge_server(by_the_question) as server:
        assert run(setting, tmp_path, server.base_url) == 0
        assert len(server.requests) == 8
        assert all(picture_of(request) for request in server.requests)
    numbers, counts, results = scores_of(tmp_path, "natural_QA_box")
    assert numbers == {
        "judge": pytest.approx(100 * 4 / 8),
        # Of five questions one was not asked and one had a reply without grades.
        "judge strict": pytest.approx(100 * 4 / 8 * 3 / 5),
        "mean grade": pytest.approx(4.0),
        "mean grade of the reference": pytest.approx(8.0),
    }
    assert (counts["unjudged"], len(counts["faults"]), counts["unanswered"]) == (2, 1, 1)
    means = {(one["group"], one["name"]): one["value"] for one in results["averages"]}
    assert means["MDVP", "judge"] == pytest.approx(50.0)
    before = (tmp_path / "run" / "results.json").read_text("utf-8")
    capsys.readouterr()
    assert run(setting, tmp_path, "http://127.0.0.1:9/v1") == 0, "nobody listens there, and nobody is asked"
    assert (tmp_path / "run" / "results.json").read_text("utf-8") == before
    files = [str(tmp_path / "run" / "predictions" / f"{suite}.jsonl") for suite in SUITES]
    assert main(["score", *files, "--registry", *setting["registry"]]) == 0
    assert "| natural_QA_box | judge | 50.0 |" in capsys.readouterr().out, "score finds the judgements by itself"


def test_the_judge_of_a_control_sees_the_marks_that_were_asked_about(setting, tmp_path):
    with judge_server(by_the_question) as server:
        assert run(setting, tmp_path, server.base_url, suites=[SUITES[0]], controls=["no_marks"]) == 0
        pictures = [picture_of(request) for request in server.requests]
    assert len(set(pictures)) == 4, "the same painted pictures, with and without marks for the model"
    assert scores_of(tmp_path, SUITES[0], "no_marks")[0]["judge"] == pytest.approx(50.0)
    names = sorted(path.name for path in (tmp_path / "run" / "judgements").glob("*.judged.jsonl"))
    assert names == ["natural_QA_box.judged.jsonl", "natural_QA_box.no_marks.judged.jsonl"]


def test_judgements_of_two_judges_make_no_report(setting, tmp_path, capsys):
    with judge_server(by_the_question) as server:
        assert run(setting, tmp_path, server.base_url) == 0
    judged = tmp_path / "run" / "judgements" / "android_QA_box.judged.jsonl"
    judged.write_text(judged.read_text("utf-8").replace('"judge": "test-judge"', '"judge": "another"'), "utf-8")
    files = [str(tmp_path / "run" / "predictions" / f"{suite}.jsonl") for suite in SUITES]
    capsys.readouterr()
    assert main(["score", *files, "--registry", *setting["registry"]]) == 2
    assert re.search("judgements of .*another.* do not mix|test-judge.*another", capsys.readouterr().err)


def test_a_judge_that_refuses_its_key_ends_the_run_by_name_and_loses_nothing(setting, tmp_path, capsys):
    with judge_server(lambda request: problem(401, "wrong key")) as server:
        assert run(setting, tmp_path, server.base_url) == 2
    assert "refuses: HTTP 401" in capsys.readouterr().err
    assert len((tmp_path / "run" / "predictions" / "natural_QA_box.jsonl").read_text("utf-8").splitlines()) == 5


def test_dlc_bench_is_judged_by_its_own_questions(setting, tmp_path):
    data = tmp_path / "data"
    objects = {"images": [{"id": 1, "file_name": "1.png"}]}
    objects["annotations"] = [{"id": n, "image_id": 1, "bbox": [n, 5, 20, 10]} for n in (7, 8)]
    positive = {"type": "positive", "question": "Is it red?", "choices": [["Yes", 1], ["No", -1], ["Unsaid", 0]]}
    negative = {"type": "negative", "question": "Has it wheels?", "choices": [["Yes", -1], ["No", 1], ["Unsaid", 0.5]]}
    files = {"dlc": objects, "qa": {"7": [positive, negative], "8": [positive]}, "names": {"7": "car", "8": "dog"}}
    for name, value in files.items():
        (data / f"{name}.json").write_text(json.dumps(value), "utf-8")
    entry = {"kind": "judged", "protocol": "dlc", "form": "dlc", "file": "dlc.json", "max_new_tokens": 4}
    entry |= {"questions": "qa.json", "names": "names.json"}
    (tmp_path / "registry.yaml").write_text(yaml.safe_dump({"suites": {"dlc": entry}}), "utf-8")

    def answers(request):
        return completion("C" if "wheels" in prompt_of(request) else "A")

    with judge_server(answers) as server:
        assert run(setting, tmp_path, server.base_url, suites=["dlc"]) == 0
        # Is it recognised, and each question; both descriptions are the same, so one question is asked once for both.
        assert len(server.requests) == 4
        assert not any(picture_of(request) for request in server.requests)
    numbers, _, _ = scores_of(tmp_path, "dlc")
    # Positive: 1 and 1; negative: 0.5 of the one object that has such a question.
    assert numbers == {"average": 75.0, "average strict": 75.0, "positive": 100.0, "negative": 50.0}


@pytest.mark.slow
@pytest.mark.skipif(not MDVP.is_dir(), reason="../shared/data/mdvp_bench is not here")
def test_all_real_questions_are_answered_parsed_counted_and_judged(setting, tmp_path):
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "MDVP-bench").symlink_to(MDVP)
    names = sorted(path.stem for path in MDVP.glob("*/*.json"))
    with judge_server(lambda request: completion("10 3")) as server:
        real = {"suites": names, "data_root": str(tmp_path / "root"), "registry": []}
        assert run(setting, tmp_path, server.base_url, **real) == 0
        assert len(server.requests) == 99
    results = json.loads((tmp_path / "run" / "results.json").read_text("utf-8"))["suites"]
    counts = [results[name]["none"]["counts"] for name in names]
    assert sum(one["items"] for one in counts) == 100
    assert [fault for one in counts for fault in one["faults"]] == [
        "question 4: mark 6: Box.from_xywh(87, 250, 0, 22) has no area: width and height must be above 0."
    ]
    # Questions about all marks have one place; brief captions a place for each of their marks.
    assert {n: one["regions"] for n, one in zip(names, counts) if one["regions"] != 10} == {
        "natural_brief_caption_box": 60,
        "natural_brief_caption_point": 57,
    }
    for name in names:
        lines = (tmp_path / "run" / "predictions" / f"{name}.jsonl").read_text("utf-8").splitlines()
        assert len(lines) == 10
        values = {one["name"]: one["value"] for one in results[name]["none"]["scores"]}
        assert values["judge"] == pytest.approx(30.0)
