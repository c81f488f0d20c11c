"""More questions than rows, clients that hang up, a server that ends, an engine that breaks."""

import json
import signal
import threading
import time
from contextlib import ExitStack, contextmanager

import httpx
import pytest
import torch

from accessory.serve.options import Limits, ServeOptions
from SPHINX_V import EngineOptions
from tests.accessory.serve.running import read_all, refusal, request_bytes, running, text_of, until, user

LONG = {"messages": [user("a")], "temperature": 0, "max_tokens": 19_000}
SHORT = {"messages": [user("a")], "temperature": 0, "max_tokens": 50}


@contextmanager
def in_background(work):
    """Runs `work` beside the block, which waits for it at its end; its result is in the list."""
    found = []
    thread = threading.Thread(target=lambda: found.append(work()))
    thread.start()
    try:
        yield found
    finally:
        thread.join()


def hold(engine):
    """No round runs from here to the end of `with` what this returns: taken before anybody asks, so that all wait."""
    held = ExitStack()
    held.enter_context(engine.compute)
    return held


def test_a_full_queue_says_when_to_come_again(endless):
    with running(endless, engine=EngineOptions(max_rows=1, max_waiting=1)) as server:
        engine = server.model.engine
        held = hold(engine)
        with in_background(lambda: server.post(SHORT)) as answered:
            with held:
                until(lambda: engine.stats().waiting == 1)
                response = server.post(SHORT)
                error = refusal(response, 429)
        assert (error["type"], error["code"]) == ("rate_limit_error", "queue_full")
        assert int(response.headers["retry-after"]) >= 1
        assert "max_waiting 1" in error["message"]
        assert text_of(answered[0]) == text_of(server.post(SHORT))


def test_all_choices_of_a_question_are_taken_or_none(endless):
    with running(endless, engine=EngineOptions(max_rows=1, max_waiting=3)) as server:
        refusal(server.post({**SHORT, "n": 8}), 429)
        until(server.idle)
        assert text_of(server.post({**SHORT, "n": 2}), 1) == text_of(server.post(SHORT))


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_hangs_up_frees_its_row(endless, stream):
    with running(endless, engine=EngineOptions(max_rows=1)) as server:
        sock = server.connect(request_bytes({**LONG, "stream": stream}))
        until(lambda: server.model.engine.stats().running == 1)
        sock.close()
        until(server.idle)
        assert server.model.engine.stats().tokens < 19_000
        assert text_of(server.post(SHORT))
        assert server.metric("client_disconnects_total") == 1


def test_a_client_that_hangs_up_while_it_waits_leaves_the_queue(endless):
    with running(endless, engine=EngineOptions(max_rows=1)) as server:
        first = server.connect(request_bytes(LONG))
        until(lambda: server.model.engine.stats().running == 1)
        second = server.connect(request_bytes(LONG))
        until(lambda: server.model.engine.stats().waiting == 1)
        second.close()
        until(lambda: server.model.engine.stats().waiting == 0)
        assert server.model.engine.stats().running == 1
        first.close()
        until(server.idle)


def test_a_client_that_hangs_up_in_its_body_is_forgotten(endless):
    with running(endless, engine=EngineOptions(max_rows=1)) as server:
        sock = server.connect(request_bytes(LONG)[:-10])
        until(lambda: server.metric("preparing") == 1)
        sock.close()
        until(lambda: server.metric("preparing") == 0)
        assert server.metric("engine_finished_total") == 0


def test_a_server_that_ends_lets_answers_end_and_takes_no_more(endless):
    with running(endless, ServeOptions(drain_seconds=60), EngineOptions(max_rows=2)) as server:
        engine = server.model.engine
        held = hold(engine)
        with (
            in_background(lambda: server.post(SHORT)) as whole,
            in_background(lambda: server.post({**SHORT, "stream": True})) as stream,
        ):
            with held:
                until(lambda: engine.stats().waiting == 2)
                server.server.handle_exit(signal.SIGTERM, None)
                with httpx.Client(base_url=f"http://127.0.0.1:{server.port}", timeout=60) as other:
                    assert refusal(other.get("/ready"), 503)["code"] == "shutting_down"
                    assert other.get("/health").status_code == 200
                    response = other.post("/v1/chat/completions", json=SHORT)
                    assert refusal(response, 503)["code"] == "shutting_down"
                    assert response.headers["retry-after"]
        assert len(text_of(whole[0])) > 20
        assert stream[0].text.endswith("data: [DONE]\n\n")
        server.thread.join()
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"http://127.0.0.1:{server.port}/ready")


def test_answers_that_take_too_long_are_told_that_the_server_ends(endless):
    with running(endless, ServeOptions(drain_seconds=0.1), EngineOptions(max_rows=2)) as server:
        with (
            in_background(lambda: server.post(LONG)) as whole,
            in_background(lambda: server.post({**LONG, "stream": True})) as stream,
        ):
            until(lambda: server.model.engine.stats().running == 2)
            server.server.handle_exit(signal.SIGTERM, None)
        assert refusal(whole[0], 503)["code"] == "shutting_down"
        events = [line for line in stream[0].text.split("\n\n") if line]
        assert json.loads(events[-1].removeprefix("data: "))["error"]["code"] == "shutting_down"
        server.thread.join()
        assert not server.server.failed
        assert server.idle()


def test_an_answer_that_fails_is_an_error_and_the_next_one_is_answered(endless):
    with running(endless, engine=EngineOptions(max_rows=1)) as server:
        weight = server.model.model.llm.output.weight
        kept = weight.clone()
        with torch.no_grad():
            weight.fill_(torch.nan)
        error = refusal(server.post(SHORT), 500)
        assert (error["type"], error["code"]) == ("server_error", "answer_failed")
        assert "not finite" in error["message"]
        last = server.post({**SHORT, "stream": True}).text.split("\n\n")[-2]
        assert json.loads(last.removeprefix("data: "))["error"]["code"] == "answer_failed"
        with torch.no_grad():
            weight.copy_(kept)
        assert text_of(server.post(SHORT))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_engine_that_breaks_ends_the_server_which_says_so(endless):
    with running(endless, engine=EngineOptions(max_rows=1)) as server:
        server.model.engine.rows.decoder = None  # the next step raises AttributeError
        error = refusal(server.post(SHORT), 500)
        assert "the engine failed" in error["message"]
        server.thread.join()
        assert server.server.failed


def test_an_answer_that_had_no_time_to_begin_is_an_error(endless):
    options = ServeOptions(limits=Limits(answer_seconds=0.2))
    with running(endless, options, EngineOptions(max_rows=1)) as server:
        engine = server.model.engine
        held = hold(engine)
        with in_background(lambda: server.post(SHORT)) as answered, held:
            until(lambda: engine.stats().waiting == 1)
            time.sleep(0.3)
        response = answered[0]
        assert refusal(response, 503)["code"] == "answer_timeout"
        assert response.headers["retry-after"]
        cut = server.post(LONG).json()["choices"][0]  # this one begins, and is cut
        assert cut["message"]["content"]
        assert cut["finish_reason"] == "length"


def test_a_stream_that_waits_shows_that_it_is_alive(endless):
    options = ServeOptions(limits=Limits(comment_seconds=0.05))
    with running(endless, options, EngineOptions(max_rows=1)) as server:
        held = hold(server.model.engine)
        sock = server.connect(request_bytes({**SHORT, "stream": True}))
        with held, sock.makefile("rb") as file:
            until(lambda: file.readline() == b": still there\n")
        sock.close()
        until(server.idle)


def test_the_head_of_a_second_request_waits_for_the_first_answer(endless):
    """Pipelining: what comes behind a question is neither lost nor taken for a hang-up."""
    with running(endless, engine=EngineOptions(max_rows=1)) as server:
        health = b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
        status, body = read_all(server.connect(request_bytes(SHORT) + health))
        assert status == 200
        assert b'"finish_reason":"length"' in body
        assert body.endswith(b'{"status":"ok"}')
