"""Protocols: what a judge is told in each domain, what the prompt hash covers, and the numbers of DLC-Bench."""

import json
import re

import numpy
import pytest

from accessory.eval.judge.__main__ import main
from accessory.eval.judge.cases import Case
from accessory.eval.judge.dlc import DlcObject, DlcProtocol, DlcQuestion, read_objects
from accessory.eval.judge.options import JudgeOptions
from accessory.eval.judge.protocols import FerretProtocol, MdvpProtocol, OspreyProtocol
from accessory.eval.judge.request import Reply
from SPHINX_V import Box, DataError, Point, UsageError
from tests.accessory.eval.judge.judged import KEY, lines_of
from tests.accessory.eval.judge.server import completion, judge_server, prompt_of


def options(**changes):
    return JudgeOptions(model="judge", **changes)


BOX = (Box(1, 1, 5, 5),)


def case(dataset, prompts=BOX, **changes):
    return Case(1, dataset, "a.png", "What?", "true {x}", "said {y}", picture="a.png", prompts=prompts, **changes)


TASKS = {
    "natural_brief_caption_box": ("natural", "photograph"),
    "natural_Inter_Relationship_point": ("natural", "photograph"),
    "multipanel_QA_box": ("multipanel", "panels"),
    "ocr_doc_detailed_caption_point": ("ocr", "text"),
    "ocr_spotting_QA_box": ("ocr", "text"),
    "android_QA_box": ("screenshot", "screenshot"),
    "web_detailed_caption_point": ("screenshot", "screenshot"),
}


@pytest.mark.parametrize("dataset", TASKS)
def test_every_mdvp_task_has_its_domain(dataset):
    domain, word = TASKS[dataset]
    protocol = MdvpProtocol(options())
    assert protocol.domain(dataset) == domain
    (request,) = protocol.requests(case(dataset))
    assert word in request.text.splitlines()[0]


def test_a_task_of_no_domain_is_refused():
    with pytest.raises(DataError, match="'LVIS_box' is no task of MDVP-Bench"):
        MdvpProtocol(options()).requests(case("LVIS_box"))


def test_boxes_points_and_no_marks_are_told_apart():
    texts = {}
    for name, prompts in {"box": BOX, "point": (Point(1, 1),), "none": ()}.items():
        (request,) = OspreyProtocol(options()).requests(case("osprey", prompts))
        texts[name] = request.text
        assert "true {x}" in request.text
        assert "said {y}" in request.text
    assert '"Region n"' in texts["box"]
    assert '"Mark n"' in texts["point"]
    assert "numbered" not in texts["none"]


def test_without_a_picture_the_context_takes_its_place():
    protocol = FerretProtocol(options(picture=False))
    (request,) = protocol.requests(case("ferret", context="A dog at [0.1, 0.2, 0.3, 0.4]."))
    assert request.picture is None
    assert "A dog at [0.1, 0.2, 0.3, 0.4]." in request.text
    assert request.messages()[-1]["content"] == request.text
    with pytest.raises(UsageError, match="--context"):
        protocol.requests(case("ferret"))


def test_the_prompt_hash_covers_words_and_settings_but_not_the_judge():
    first = MdvpProtocol(options()).prompt_hash
    assert re.fullmatch(r"[0-9a-f]{64}", first)
    same = [options(), options(base_url="http://127.0.0.1:1/v1", concurrency=1, retries=0), JudgeOptions(model="other")]
    assert {MdvpProtocol(one).prompt_hash for one in same} == {first}
    others = [
        MdvpProtocol(options(request={"temperature": 1})),
        MdvpProtocol(options(max_side=512)),
        OspreyProtocol(options()),
        OspreyProtocol(options(picture=False)),
        FerretProtocol(options()),
        DlcProtocol(options(), {}),
    ]
    assert len({first, *(one.prompt_hash for one in others)}) == 7


# DLC-Bench, by hand. Values: what the choices earn.
POSITIVE = DlcQuestion("positive", "Which of these fits?", ("not told", "wrong", "right"), (0.0, -1.0, 1.0))
NEGATIVE = DlcQuestion("negative", "Is a boat told?", ("no boat", "a boat"), (1.0, -1.0))


def said(*letters):
    return [Reply(str(n), letter, "stop", "judge", 1, 1) for n, letter in enumerate(letters)]


def dlc_case(key="5"):
    return Case(key, "DLC-Bench", "", "", "kite", "A red kite.")


@pytest.mark.parametrize(
    "letters, scores, unparsable",
    [
        ("ACCA", {"positive": 1.0, "negative": 1.0}, 0),
        ("AABB", {"positive": -0.5, "negative": -1.0}, 0),
        ("BCCA", {"positive": 0.0, "negative": 0.0}, 0),  # not recognised: nothing earns more than 0
        ("BBCA", {"positive": -0.5, "negative": 0.0}, 0),
        ("AC?A", {"positive": 1.0, "negative": 1.0}, 1),  # left out, not counted as 0
        ("ACC?", {"positive": 1.0}, 1),
        ("?CCA", None, 1),
        ("A??A", None, 2),
    ],
)
def test_dlc_values_are_those_of_the_choices(letters, scores, unparsable):
    protocol = DlcProtocol(options(), {"5": DlcObject("kite", (POSITIVE, POSITIVE, NEGATIVE))})
    verdict = protocol.verdict(dlc_case(), said(*letters))
    assert (verdict.scores, verdict.unparsable) == (scores, unparsable)


def test_dlc_averages_over_the_objects_that_have_questions_of_the_kind():
    values = {"positive": numpy.array([1.0, 0.0, 0.5, 0.5]), "negative": numpy.array([1.0, numpy.nan, 0.5, numpy.nan])}
    columns = DlcProtocol.compute(values)
    assert {name: float(value) for name, value in columns.items()} == {
        "average": 62.5,
        "positive": 50.0,
        "negative": 75.0,
    }


QA = {
    "101": [
        {
            "type": "positive",
            "question": "The colour?",
            "choices": [["not told", 0], ["told, not red", -1], ["red", 1]],
        },
        {"type": "negative", "question": "A boat?", "choices": [["no boat is told", 1], ["a boat is told", -1]]},
    ],
    "102": [{"type": "positive", "question": "The shape?", "choices": [["not told", 0], ["round", 1]]}],
}


def test_dlc_from_its_files_over_http(tmp_path, monkeypatch, capsys):
    pytest.importorskip("openai", reason='the judge needs: pip install -e ".[judge]"')
    monkeypatch.setenv(KEY, "none")
    (tmp_path / "qa.json").write_text(json.dumps(QA))
    (tmp_path / "names.json").write_text(json.dumps({"101": "kite", "102": "ball"}))
    captions = {101: "A red kite.", 102: "Something."}
    lines = [
        {"image_name": f"{key}.jpg", "question_id": key, "question": "Describe.", "prediction": text, "answer": ""}
        for key, text in captions.items()
    ]
    (tmp_path / "pred.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))

    def answers(request):
        text = prompt_of(request)
        assert isinstance(request["messages"][-1]["content"], str)
        if "kind: " in text:
            return completion("A. Yes")
        if "A red kite." in text:
            return completion("(C)" if "The colour?" in text else "no boat is told")
        return completion("A")

    with judge_server(answers) as server:
        judge = ["--model", "llama", "--base_url", server.base_url, "--key_env", KEY]
        files = ["--items", str(tmp_path / "qa.json"), "--class_names", str(tmp_path / "names.json")]
        assert main([str(tmp_path / "pred.jsonl"), "--protocol", "dlc", *files, *judge]) == 0
    assert len(server.requests) == 5
    assert [line["scores"] for line in lines_of(tmp_path / "pred.judged.jsonl")] == [
        {"positive": 1.0, "negative": 1.0},
        {"positive": 0.0},
    ]
    # positive (1 + 0) / 2, negative 1 / 1; a draw of the ball alone has no negative mean and no say in the interval
    assert "| DLC-Bench | 75.0 | 75.0 … 100.0 | 50.00 | 100.00 | 2 | 2 | 0 | 0 |" in capsys.readouterr().out


WRONG = [
    ({"1": [{**QA["101"][0], "type": "other"}]}, "object 1, question 0: needs type"),
    ({"1": [{**QA["101"][0], "choices": [["a"]]}]}, "a choice is"),
    ({"1": [QA["101"][1]]}, "no positive question"),
    ({"1": 3}, "not a list of questions"),
    ({"2": QA["102"]}, "no name for object 2"),
    ([], "no mapping"),
]


@pytest.mark.parametrize("values, expected", WRONG)
def test_wrong_dlc_files_are_refused(tmp_path, values, expected):
    (tmp_path / "qa.json").write_text(json.dumps(values))
    (tmp_path / "names.json").write_text('{"1": "kite"}')
    with pytest.raises(DataError, match=expected):
        read_objects(tmp_path / "qa.json", tmp_path / "names.json")
