"""The command line against a local judge over real HTTP: scores, replays, failures, refusals, and what is paid for."""

import re
import sys
import threading

import pytest
from PIL import Image

from accessory.eval.judge.__main__ import main
from accessory.eval.judge.run import MOST_FAILURES_IN_A_ROW
from tests.accessory.eval.judge.judged import KEY, by_the_answers, command, lines_of, write_suite
from tests.accessory.eval.judge.server import Answer, completion, judge_server, picture_of, problem, prompt_of

pytest.importorskip("openai", reason='the judge needs: pip install -e ".[judge]"')

GRADES = [("8", "4"), ("8", "8"), ("10", "5"), ("10", "10")]
NOWHERE = "http://127.0.0.1:9/v1"  # nobody answers there


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv(KEY, "none")


@pytest.fixture
def suite(tmp_path):
    return write_suite(tmp_path, "natural_QA_box", GRADES)


def judged(predictions):
    return predictions.with_name(f"{predictions.stem}.judged.jsonl")


def test_scores_are_the_ratio_of_the_means(suite, capsys):
    items, predictions = suite
    with judge_server(by_the_answers) as server:
        assert main(command(items, predictions, server.base_url)) == 0
    lines = lines_of(judged(predictions))
    assert [line["question_id"] for line in lines] == [1, 2, 3, 4]
    assert [line["scores"] for line in lines] == [{"reference": float(a), "model": float(b)} for a, b in GRADES]
    assert {(line["judge"], line["protocol"], line["domain"]) for line in lines} == {("test-judge", "mdvp", "natural")}
    assert len({line["prompt_hash"] for line in lines}) == 1
    said = capsys.readouterr().out
    # 4 + 8 + 5 + 10 of 8 + 8 + 10 + 10
    assert "| natural_QA_box | 75.0 |" in said
    assert "| 6.75 | 9.00 | 4 | 4 | 0 | 0 |" in said
    assert f"judge test-judge, prompt {lines[0]['prompt_hash'][:12]}" in said
    assert "judge-2026-01-01 (4)" in said
    assert "asked 4 times; 4,000 tokens sent, 200 received" in said


def test_the_judge_sees_question_answers_domain_and_picture(suite):
    items, predictions = suite
    with judge_server(by_the_answers) as server:
        main(command(items, predictions, server.base_url, "--set", "temperature=0.5", "--concurrency", "1"))
    request = server.requests[1]
    text = prompt_of(request)
    for part in (
        "What is <Region 1> of picture 2?",
        "Answer A:\ngrade 8",
        "Answer B:\ngrade 8",
        "photograph",
        "Region n",
    ):
        assert part in text
    assert picture_of(request).startswith("data:image/jpeg;base64,")
    assert (request["model"], request["temperature"], request["max_tokens"]) == ("test-judge", 0.5, 1024)


def test_a_finished_judgement_replays_without_network_key_and_client(suite, monkeypatch, capsys):
    items, predictions = suite
    with judge_server(by_the_answers) as server:
        main(command(items, predictions, server.base_url))
    finished, table = judged(predictions).read_bytes(), capsys.readouterr().out
    monkeypatch.delenv(KEY)
    monkeypatch.setitem(sys.modules, "openai", None)
    judged(predictions).unlink()
    assert main(command(items, predictions, NOWHERE)) == 0
    assert judged(predictions).read_bytes() == finished
    again = capsys.readouterr().out
    assert again.split("asked")[0] == table.split("asked")[0]
    assert "asked 0 times" in again


def test_the_judgements_alone_replay_too(suite, monkeypatch):
    items, predictions = suite
    with judge_server(by_the_answers) as server:
        main(command(items, predictions, server.base_url))
    finished = judged(predictions).read_bytes()
    (items.parent / "judge_cache.jsonl").unlink()
    monkeypatch.delenv(KEY)
    assert main(command(items, predictions, NOWHERE)) == 0
    assert judged(predictions).read_bytes() == finished


def test_equal_cases_are_paid_for_once(tmp_path):
    items, predictions = write_suite(tmp_path, "natural_QA_box", [("8", "4")])
    twin = predictions.with_name("twin.jsonl")
    twin.write_bytes(predictions.read_bytes())
    with judge_server(by_the_answers) as server:
        base = command(items, predictions, server.base_url)
        assert main(base) == 0
        assert main([str(twin), *base[1:]]) == 0
    assert len(server.requests) == 1


def test_a_case_that_would_count_twice_is_refused_before_it_is_paid_for(suite, capsys):
    items, predictions = suite
    twin = predictions.with_name("twin.jsonl")
    twin.write_bytes(predictions.read_bytes())
    old = predictions.with_name(f"{predictions.stem}.json")
    old.write_text("[]")
    with judge_server(by_the_answers) as server:
        base = command(items, predictions, server.base_url)
        both = ["--items", str(items), str(items), *base[3:]]
        assert main([str(predictions), str(twin), *both]) == 2
        assert "question 1 of natural_QA_box is there twice" in capsys.readouterr().err
        assert main([str(predictions), str(old), *both]) == 2
        assert "natural_QA_box.pred.judged.jsonl; judge them one by one" in capsys.readouterr().err
    assert server.requests == []


def test_what_decides_a_grade_decides_the_key(suite):
    items, predictions = suite
    with judge_server(by_the_answers) as server:
        for more in ((), ("--set", "temperature=1"), ("--max_side", "512"), ("--model", "another")):
            out = predictions.with_name(f"{len(more)}{''.join(more).replace('/', '')}.jsonl")
            assert main([*command(items, predictions, server.base_url), *more, "--out", str(out)]) == 0
        assert len(server.requests) == 16
        changed = predictions.read_text().replace("grade 4", "grade 3")
        predictions.write_text(changed)
        assert main(command(items, predictions, server.base_url, "--out", str(predictions.with_name("x.jsonl")))) == 0
    assert len(server.requests) == 17


def test_no_more_requests_than_allowed_are_under_way(tmp_path):
    items, predictions = write_suite(tmp_path, "natural_QA_box", [("8", str(1 + n)) for n in range(9)])
    together = threading.Barrier(3)

    def answers(request):
        together.wait(30)  # passes only when three are here at once
        return by_the_answers(request)

    with judge_server(answers) as server:
        assert main(command(items, predictions, server.base_url, "--concurrency", "3")) == 0
    assert server.most == 3
    assert [line["scores"]["model"] for line in lines_of(judged(predictions))] == list(range(1, 10))


def test_nonsense_is_counted_and_not_averaged(suite, capsys):
    items, predictions = suite

    def answers(request):
        return completion("I like both.") if "picture 1?" in prompt_of(request) else by_the_answers(request)

    with judge_server(answers) as server:
        assert main(command(items, predictions, server.base_url)) == 0
        assert main(command(items, predictions, server.base_url)) == 0  # nonsense, too, is paid for once
    assert len(server.requests) == 4
    line = lines_of(judged(predictions))[0]
    assert (line["scores"], line["unparsable"], line["failure"]) == (None, 1, None)
    assert line["replies"][0]["text"] == "I like both."
    # 8 + 5 + 10 of 8 + 10 + 10
    assert "| natural_QA_box | 82.1 |" in capsys.readouterr().out


def test_a_judge_that_only_talks_nonsense_has_no_score(suite, capsys):
    items, predictions = suite
    with judge_server(lambda request: completion("42")) as server:
        assert main(command(items, predictions, server.base_url)) == 1
    said = capsys.readouterr()
    assert "| natural_QA_box | – | – | – | – | 4 | 0 | 4 | 0 |" in said.out
    assert "no reply could be read" in said.err


def test_a_failed_case_is_listed_and_asked_again_alone(suite, capsys):
    items, predictions = suite
    broken = True

    def answers(request):
        return problem(400, "odd picture") if broken and "picture 3?" in prompt_of(request) else by_the_answers(request)

    with judge_server(answers) as server:
        assert main(command(items, predictions, server.base_url)) == 1
        said = capsys.readouterr()
        assert "failed: question 3 of natural_QA_box: judge test-judge at http" in said.err
        assert "odd picture" in said.err
        assert "| 4 | 3 | 0 | 1 |" in said.out
        assert lines_of(judged(predictions))[2]["failure"] is not None
        broken = False
        assert main(command(items, predictions, server.base_url)) == 0
    assert len(server.requests) == 5
    assert [line["failure"] for line in lines_of(judged(predictions))] == [None] * 4


def test_a_wrong_key_ends_the_run_at_once_and_loses_nothing(tmp_path, capsys):
    items, predictions = write_suite(tmp_path, "natural_QA_box", [("8", str(1 + n % 10)) for n in range(20)])
    valid = 3

    def answers(request):
        return by_the_answers(request) if len(server.requests) <= valid else problem(401, "key expired")

    with judge_server(answers) as server:
        assert main(command(items, predictions, server.base_url, "--concurrency", "1")) == 2
        assert "error: judge test-judge at http" in (said := capsys.readouterr().err)
        assert "HTTP 401: " in said
        assert len(server.requests) == valid + 1
        assert len(lines_of(judged(predictions))) == valid
        valid = 99
        assert main(command(items, predictions, server.base_url, "--concurrency", "1")) == 0
    assert len(server.requests) == 20 + 1
    assert len(lines_of(judged(predictions))) == 20


def test_an_endpoint_that_always_fails_ends_the_run(tmp_path, capsys):
    items, predictions = write_suite(tmp_path, "natural_QA_box", [("8", str(1 + n % 10)) for n in range(30)])
    with judge_server(lambda request: problem(500)) as server:
        assert main(command(items, predictions, server.base_url, "--retries", "0", "--concurrency", "1")) == 2
    assert f"{MOST_FAILURES_IN_A_ROW} cases in a row have failed" in capsys.readouterr().err
    assert MOST_FAILURES_IN_A_ROW <= len(server.requests) < 30


def test_a_dry_run_sends_nothing_and_shows_what_would_be_sent(suite, monkeypatch, capsys):
    items, predictions = suite
    monkeypatch.delenv(KEY)
    prices = ("--price_in", "2", "--price_out", "10")
    with judge_server(by_the_answers) as server:
        assert main(command(items, predictions, server.base_url, "--dry_run", *prices)) == 0
        assert server.requests == []
        said = capsys.readouterr().out
        assert "requests to send: 4 (4 with a picture); known already: 0; equal to another: 0" in said
        # 64×48 grows to 1024×768, two by two tiles: 85 + 4 · 170 each; replies at 250 each.
        assert "3,060 of pictures" in said
        assert "tokens to receive, about: 1,000" in said
        text = int(said.split("(")[2].split(" of text")[0].replace(",", ""))
        assert f"cost, about: {((text + 3060) * 2 + 1000 * 10) / 1e6:.2f}" in said
        assert "Answer B:\ngrade 4" in said
        picture = judged(predictions).with_suffix(".sample.jpg")
        assert Image.open(picture).size == (1024, 768)
        assert not judged(predictions).exists()
        monkeypatch.setenv(KEY, "none")
        main(command(items, predictions, server.base_url))
        main(command(items, predictions, server.base_url, "--dry_run"))
    assert "requests to send: 0 (0 with a picture); known already: 4" in capsys.readouterr().out


def test_judgements_of_two_judges_are_not_mixed(suite, capsys):
    items, predictions = suite
    other = predictions.with_name("other.judged.jsonl")
    with judge_server(by_the_answers) as server:
        arguments = command(items, predictions, server.base_url)
        assert main(arguments) == 0
        before = judged(predictions).read_bytes()
        assert main([*arguments, "--model", "rival"]) == 2
        error = capsys.readouterr().err
        assert "is there already" in error
        assert "test-judge" in error
        assert "rival" in error
        assert judged(predictions).read_bytes() == before
        assert len(server.requests) == 4
        assert main([*arguments, "--set", "temperature=1", "--out", str(other)]) == 0
    capsys.readouterr()
    assert main([str(judged(predictions)), str(other), "--table"]) == 2
    error = capsys.readouterr().err
    for line in (lines_of(judged(predictions))[0], lines_of(other)[0]):
        assert f"test-judge (protocol mdvp, prompt {line['prompt_hash'][:12]})" in error


def test_the_table_of_several_tasks_has_domain_averages(tmp_path, capsys):
    tasks = {"natural_QA_box": [("10", "5")], "natural_QA_point": [("10", "9")], "web_QA_box": [("8", "8"), ("8", "4")]}
    suites = [
        write_suite(tmp_path, name, grades, ((5, 5),) if "point" in name else ((5, 5, 20, 10),))
        for name, grades in tasks.items()
    ]
    with judge_server(by_the_answers) as server:
        base = command(*suites[0], server.base_url)
        files = [str(predictions) for _, predictions in suites]
        assert main([*files, "--items", *(str(items) for items, _ in suites), *base[3:]]) == 0
    rows = capsys.readouterr().out
    assert main([*(str(judged(predictions)) for _, predictions in suites), "--table"]) == 0
    assert rows.startswith(again := capsys.readouterr().out)
    for row in ("| natural_QA_box | 50.0 | – |", "| natural_QA_point | 90.0 | – |", "| web_QA_box | 75.0 |"):
        assert row in again
    assert "| domain: natural | 70.0 | – |" in again
    assert "| domain: screenshot | 75.0 |" in again
    assert "| all tasks | 71.7 |" in again  # each task weighs the same


def test_an_old_result_file_is_read(suite):
    items, predictions = suite
    old = predictions.with_name("old_results.json")
    old.write_text("[" + ",".join(predictions.read_text().splitlines()) + "]")
    with judge_server(by_the_answers) as server:
        assert main(command(items, old, server.base_url)) == 0
    assert len(lines_of(judged(old))) == 4


def test_a_reply_cut_in_its_first_line_is_unparsable(suite):
    items, predictions = suite
    with judge_server(lambda request: completion("8 1", finish_reason="length")) as server:
        assert main(command(items, predictions, server.base_url)) == 1
    assert [line["scores"] for line in lines_of(judged(predictions))] == [None] * 4


def test_several_names_behind_one_judge_are_told(suite, capsys):
    items, predictions = suite

    def answers(request):
        model = "judge-a" if "picture 1?" in prompt_of(request) else "judge-b"
        return completion("8 7", model=model)

    with judge_server(answers) as server:
        assert main(command(items, predictions, server.base_url)) == 0
    said = capsys.readouterr().out
    assert "judge-a (1), judge-b (3)" in said
    assert "several judges under one name" in said


MISUSES = [
    (["--protocol", "mdvp"], "model: Field required"),
    (["--model", "m"], "name the --protocol"),
    (["--protocol", "mdvp", "--model", "m"], "0 files of --items"),
    (["--protocol", "mdvp", "--model", "m", "--concurrency", "0"], "--concurrency: concurrency: .*greater than 0"),
    (["--protocol", "mdvp", "--model", "m", "--set", "model=x"], "model cannot be set"),
    (["--protocol", "mdvp", "--model", "m", "--set", "x=2024-01-01"], "cannot be sent as JSON"),
    (["--protocol", "mdvp", "--model", "m", "--set", "x"], "write KEY=VALUE"),
    (["--protocol", "mdvp", "--model", "m", "--base_url", "localhost"], "begins with http"),
    (["--protocol", "dlc", "--model", "m"], "needs --items qa.json"),
    (["--protocol", "mdvp", "--model", "m", "--no_picture"], "the judge sees the picture"),
    (["--protocol", "osprey80", "--model", "m", "--no_picture"], "needs words about it"),
]


@pytest.mark.parametrize("arguments, said", MISUSES)
def test_a_wrong_command_is_one_line(suite, capsys, arguments, said):
    assert main([str(suite[1]), *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert len(error.splitlines()) == 1
    assert re.search(said, error), error


def test_a_missing_key_is_known_before_a_file_is_touched(suite, monkeypatch, capsys):
    items, predictions = suite
    monkeypatch.delenv(KEY)
    with judge_server(by_the_answers) as server:
        assert main(command(items, predictions, server.base_url)) == 2
    assert KEY in capsys.readouterr().err
    assert server.requests == []
    assert not judged(predictions).exists()


def test_a_picture_that_cannot_be_shown_stops_before_anything_is_paid(suite, capsys):
    items, predictions = suite
    items.with_name("natural_QA_box_3.png").write_bytes(b"no picture")
    with judge_server(by_the_answers) as server:
        assert main(command(items, predictions, server.base_url)) == 2
    assert "natural_QA_box_3.png" in capsys.readouterr().err
    assert server.requests == []


def test_silence_is_waited_out_and_then_counted(suite, capsys):
    items, predictions = suite

    def answers(request):
        return Answer(silent=True) if "picture 2?" in prompt_of(request) else by_the_answers(request)

    with judge_server(answers) as server:
        assert main([*command(items, predictions, server.base_url), "--timeout", "0.2", "--retries", "1"]) == 1
    assert "failed: question 2 of natural_QA_box" in capsys.readouterr().err
    assert len(server.requests) == 5
