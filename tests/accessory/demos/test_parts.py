"""The demo's parts without a browser: sessions, what is let in, questions and files, and the command."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys

import pytest
from PIL import Image

from accessory.demos.__main__ import free_port, main
from accessory.demos.asking import MOST_CHARACTERS, read_request
from accessory.demos.calls import Calls
from accessory.demos.examples import examples
from accessory.demos.exchange import as_items, from_items
from accessory.demos.guard import Guard
from accessory.demos.session import LostError, Session, Sessions
from accessory.serve.marks import parse_marks
from accessory.serve.pictures import picture_from_data_uri
from SPHINX_V.errors import DataError, UsageError
from SPHINX_V.prompts import Box, Point
from tests.house.repo import ROOT

SETTINGS = {"temperature": 0, "top_p": 0.5, "top_k": 0, "repetition_penalty": 1, "max_gen_len": 9, "seed": 0}
MARK = {"kind": "box", "coords": [1, 2, 30, 40], "id": 1}


def with_picture(sessions, owner="page", size=(64, 48)):
    session = sessions.open(owner)
    sessions.keep_picture(session, Image.new("RGB", size))
    return session


# Sessions


def test_a_session_is_found_by_its_key_alone():
    sessions = Sessions()
    one, two = with_picture(sessions, "one"), with_picture(sessions, "two")
    assert sessions.find(one.key) is one
    for wrong in ("one", one.key[:-1], "", None, 3, ["x"]):
        with pytest.raises(LostError, match="session"):
            sessions.find(wrong)
    with pytest.raises(LostError, match="picture"):
        two.picture_of(one.picture_id)


def test_a_closed_page_takes_its_picture_with_it_and_no_other():
    sessions = Sessions()
    one, two = with_picture(sessions, "one"), with_picture(sessions, "two")
    sessions.close("one")
    assert one.picture is None
    assert two.picture is not None
    with pytest.raises(LostError):
        sessions.find(one.key)


def test_pictures_of_the_longest_unused_pages_are_dropped_first():
    sessions = Sessions(picture_bytes=2 * 64 * 48 * 3)
    one, two = with_picture(sessions, "one"), with_picture(sessions, "two")
    sessions.find(one.key)  # used after two
    three = with_picture(sessions, "three")
    assert [session.picture is None for session in (one, two, three)] == [False, True, False]


def test_too_many_and_too_old_sessions_end():
    sessions = Sessions(most=2)
    first, second, _ = (sessions.open(str(n)) for n in range(3))
    with pytest.raises(LostError):
        sessions.find(first.key)
    assert sessions.find(second.key) is second
    idle = Sessions(idle=-1.0)
    old = idle.open("a")
    idle.open("b")
    with pytest.raises(LostError):
        idle.find(old.key)


# Questions


def question(**changed):
    return {"turns": [["Why?", None]], "picture": None, "marks": [], "settings": SETTINGS, **changed}


def test_a_question_becomes_the_request_it_describes():
    session = with_picture(Sessions())
    marks = [MARK, {"kind": "point", "coords": [5, 6], "id": 2}]
    turns = [["What?", "That."], ["Why?", None]]
    request = read_request(question(turns=turns, picture=session.picture_id, marks=marks), session, 10)
    assert request.prompts == (Box(1, 2, 30, 40), Point(5, 6))
    assert request.image is session.picture
    assert request.turns == turns
    assert (request.temperature, request.max_gen_len, request.seed) == (0, 9, 0)


@pytest.mark.parametrize(
    "changed, sentence",
    [
        ({"turns": "Why?"}, "lacks turns"),
        ({"turns": [["Why?", "Because."], ["", None]]}, "no question"),
        ({"settings": {**SETTINGS, "n": 10_000}}, "no setting 'n'"),
        ({"settings": {**SETTINGS, "temperature": float("nan")}}, "temperature"),
        ({"settings": {**SETTINGS, "max_gen_len": 0}}, "max_gen_len is 0"),
        ({"marks": [MARK]}, "without a picture"),
        ({"turns": [["x" * (MOST_CHARACTERS + 1), None]]}, f"the limit is {MOST_CHARACTERS}"),
    ],
)
def test_questions_that_cannot_be_meant_are_refused_with_a_sentence(changed, sentence):
    with pytest.raises(UsageError, match=sentence):
        read_request(question(**changed), Session("key", "owner"), 10)


def test_a_picture_of_another_time_is_asked_for_again():
    session = with_picture(Sessions())
    with pytest.raises(LostError, match="picture"):
        read_request(question(picture="another", marks=[MARK]), session, 10)


def test_calls_answer_errors_with_a_sentence_and_what_is_lost():
    sessions = Sessions()
    calls = {call.__name__: call for call in Calls(sessions, slots=10).all()}
    assert calls["stop_answer"]({"session": "unknown"})["lost"] == "session"
    assert "no object" in calls["stop_answer"]("x")["error"]
    key = sessions.open("page").key
    reply = calls["open_picture"]({"session": key, "name": "a.png", "source": "file:///etc/passwd"})
    assert reply["lost"] is None
    assert "data:" in reply["error"]
    assert "--sam" in calls["find_masks"]({"session": key, "picture": "x", "marks": []})["error"]


# Files


def test_items_say_points_or_boxes_as_the_benchmark_does():
    marks = [
        {"kind": "scribble", "coords": [[3, 4], [10, 4]], "id": 1},
        {"kind": "mask", "coords": [[0, 0], [9, 0], [9, 8]], "id": 2},
    ]
    turns = [
        {"question": "Q1", "answer": "A1", "marks": marks, "alone": True},
        {"question": "Q2", "answer": "A2", "marks": [{"kind": "point", "coords": [5, 6], "id": 1}], "alone": False},
        {"question": "Q3", "answer": "A3", "marks": [], "alone": False},
    ]
    items = as_items(turns, "a.png", (64, 48), 10)
    assert items[0]["bbox"] == [[3, 4, 8, 1], [0, 0, 9, 8]]
    assert items[1]["points"] == [[5, 6]]
    assert not {"bbox", "points"} & set(items[2])
    assert [item["question_id"] for item in items] == [1, 2, 3]
    assert from_items(items, 10) == {"image_name": "a.png", "image_size": [64, 48], "turns": turns}


@pytest.mark.parametrize(
    "field, value, sentence",
    [
        ("image_size", [64], "image_size"),
        ("image_size", [True, 4.5], "image_size"),
        ("image_name", "other.png", "another picture"),
        ("visual_prompts", [{**MARK, "coords": [100, 100, 120, 120]}], "outside the picture"),
        ("gt_answers", 7, "gt_answers"),
    ],
)
def test_items_that_were_changed_badly_are_refused(field, value, sentence):
    turns = [{"question": "Q", "answer": "A", "marks": [MARK]}] * 2
    items = as_items(turns, "a.png", (64, 48), 10)
    items[1][field] = value
    with pytest.raises((DataError, UsageError), match=sentence):
        from_items(items, 10)


def test_examples_are_pictures_of_four_domains_whose_marks_lie_on_them():
    shown = examples()
    assert [example.name for example in shown] == ["scene.png", "text.png", "screen.png", "panel.png"]
    for example in shown:
        picture = picture_from_data_uri(example.source)
        assert len(parse_marks(list(example.marks), picture.size, 10)) == 3
    assert shown == examples()


# The door


def answered(path="/", headers=(), body=(b"",), **options):
    """(status, headers, what arrived inside) of one request through the guard."""
    sent, arrived = [], []

    async def app(scope, receive, send):
        while True:
            message = await receive()
            arrived.append(message)
            if not message.get("more_body"):
                break
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def run():
        parts = iter(body)

        async def receive():
            part = next(parts)
            return {"type": "http.request", "body": part, "more_body": part != body[-1]}

        async def send(message):
            sent.append(message)

        await Guard(app, **options)({"type": "http", "path": path, "headers": list(headers)}, receive, send)

    asyncio.run(run())
    return sent[0]["status"], dict(sent[0]["headers"]), arrived


def test_every_answer_forbids_the_browser_to_ask_elsewhere():
    status, headers, _ = answered()
    assert status == 200
    policy = headers[b"content-security-policy"].decode()
    assert "default-src 'self'" in policy
    assert "http" not in policy


@pytest.mark.parametrize(
    "host, status",
    [
        (b"127.0.0.1:7860", 200),
        (b"127.0.0.2:7860", 200),
        (b"localhost", 200),
        (b"[::1]:7860", 200),
        (b"evil.example", 421),
        (b"", 421),
    ],
)
def test_only_our_own_names_are_answered(host, status):
    assert answered(headers=[(b"host", host)], local=True)[0] == status


@pytest.mark.parametrize(
    "origin, status", [(b"http://127.0.0.1:7860", 200), (b"https://evil.example", 403), (b"null", 403)]
)
def test_pages_elsewhere_cannot_ask_through_their_visitors(origin, status):
    assert answered(headers=[(b"host", b"127.0.0.1:7860"), (b"origin", origin)], local=True)[0] == status


def test_bodies_have_a_limit_declared_or_not():
    assert answered(headers=[(b"content-length", b"101")], most_body=100)[0] == 413
    assert answered(headers=[(b"content-length", b"-1")], most_body=100)[0] == 413
    _, _, arrived = answered(body=[b"x" * 60, b"x" * 60, b"end"], most_body=100)
    assert [message["type"] for message in arrived] == ["http.request", "http.disconnect"]
    assert answered(headers=[(b"content-length", b"100")], most_body=100)[0] == 200


def test_files_are_not_taken():
    assert answered("/gradio_api/upload")[0] == 404


# The command


def test_a_missing_checkpoint_is_named(capsys, tmp_path):
    assert main(["--checkpoint", str(tmp_path / "none")]) == 2
    assert str(tmp_path / "none") in capsys.readouterr().err


def test_a_port_in_use_is_named_before_anything_is_loaded(capsys, tmp_path, monkeypatch):
    for name in ("GRADIO_ANALYTICS_ENABLED", "HF_HUB_OFFLINE"):  # what the command sets does not outlive the test
        monkeypatch.setenv(name, "1")
    pytest.importorskip("gradio", reason="Gradio is not installed: pip install -e '.[demo]'")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        # The checkpoint is an empty folder: loading it would be another error.
        assert main(["--checkpoint", str(tmp_path), "--port", str(port)]) == 2
    assert f"port {port} of 127.0.0.1 cannot be used" in capsys.readouterr().err


@pytest.mark.parametrize("port", [-1, 65536, 99999])
def test_a_port_that_is_none_is_refused(port):
    with pytest.raises(UsageError, match=f"--port is {port}; give a number from 0 to 65535"):
        free_port("127.0.0.1", port)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.0.0.2"])
def test_port_0_is_one_that_is_free(host):
    port = free_port(host, 0)
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", port))
        trial.listen()
        with pytest.raises(UsageError, match=f"port {port} of 127.0.0.1 cannot be used"):
            free_port("127.0.0.2", port)  # where Gradio would fail after the model was loaded


def test_the_script_says_what_to_run_first_and_refuses_odd_numbers(tmp_path, monkeypatch):
    def run(*arguments):
        command = ["bash", str(ROOT / "scripts/demo.sh"), *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300)

    monkeypatch.setenv("SPHINX_V_PYTHON", sys.executable)
    odd = run("--tensor_parallel", "two")
    assert odd.returncode == 1
    assert "--tensor_parallel is 'two'" in odd.stderr
    missing = run("--checkpoint", "nowhere")
    assert missing.returncode == 2
    assert "nowhere" in missing.stderr
