"""An endpoint over real HTTP: what is sent, when it is tried again, how long it waits, and how it gives up."""

import email.utils
import threading
import time

import pytest

from accessory.eval.judge.asking import Judge
from accessory.eval.judge.endpoint import Endpoint, JudgeUnusable, retry_after, wait_before_next
from accessory.eval.judge.options import JudgeOptions
from accessory.eval.judge.request import JudgeRequest
from accessory.eval.judge.store import ReplyStore
from SPHINX_V.errors import ConfigError, JudgeError, UsageError
from tests.accessory.eval.judge.server import Answer, completion, judge_server, problem, prompt_of

pytest.importorskip("openai", reason='the judge needs: pip install -e ".[judge]"')

KEY = {"JUDGE_KEY": "secret-key-123"}
GOOD = completion("8 7\nfine")


def options_for(server, **changes):
    values = {"first_wait": 0.01, "longest_wait": 5.0, "timeout": 10.0, "retries": 3, **changes}
    base_url = server if isinstance(server, str) else server.base_url
    return JudgeOptions(model="judge", base_url=base_url, key_env="JUDGE_KEY", **values)


def request_of(text="what?", **fields):
    return JudgeRequest("judge", "be fair", text, None, fields)


def in_turn(*answers):
    """Each answer once, the last one for ever."""
    left = list(answers)
    return lambda request: left.pop(0) if len(left) > 1 else left[0]


def test_the_request_is_what_the_protocol_says():
    with judge_server(in_turn(GOOD)) as server:
        reply = Endpoint(options_for(server), KEY).send(request_of(temperature=0, top_k=3))
    assert server.requests == [
        {
            "model": "judge",
            "messages": [{"role": "system", "content": "be fair"}, {"role": "user", "content": "what?"}],
            "temperature": 0,
            "top_k": 3,
        }
    ]
    assert server.keys == ["Bearer secret-key-123"]
    assert (reply.text, reply.finish_reason, reply.served_by) == ("8 7\nfine", "stop", "judge-2026-01-01")
    assert (reply.input_tokens, reply.output_tokens, reply.key) == (1000, 50, request_of(temperature=0, top_k=3).key)


AGAIN = {
    "500": problem(500),
    "503": problem(503),
    "429": problem(429),
    "408": problem(408),
    "a page of a proxy": Answer(body=b"<html>hello</html>", headers={"content-type": "text/html"}),
    "no JSON": Answer(body=b'{"choices": ['),
    "other JSON": Answer(body=b'{"hello": 1}'),
    "a list": Answer(body=b"[1]"),
    "no choice": Answer(body=b'{"choices": []}'),
    "no message": Answer(body=b'{"choices": [{"index": 0}]}'),
    "silence": Answer(silent=True),
}


@pytest.mark.parametrize("bad", AGAIN.values(), ids=AGAIN)
def test_what_may_pass_is_tried_again(bad):
    with judge_server(in_turn(bad, bad, GOOD)) as server:
        reply = Endpoint(options_for(server, timeout=0.3), KEY).send(request_of())
        assert reply.text == "8 7\nfine"
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    "bad, said",
    [(problem(500, "out of memory"), "HTTP 500: .*out of memory"), (AGAIN["silence"], r"no answer within 0\.1 s")],
)
def test_after_the_last_try_it_gives_up_by_name(bad, said):
    with judge_server(in_turn(bad)) as server:
        endpoint = Endpoint(options_for(server, timeout=0.1, retries=2), KEY)
        with pytest.raises(
            JudgeError, match=rf"judge judge at http://127\S+ gave no reply in 3 tries, .*{said}"
        ) as caught:
            endpoint.send(request_of())
    assert not isinstance(caught.value, JudgeUnusable)
    assert len(server.requests) == 3


def test_a_server_that_is_not_there_is_named():
    with judge_server(in_turn(GOOD)) as server:
        options = options_for(server, retries=1)
    with pytest.raises(JudgeError, match="2 tries, at last: it cannot be reached"):
        Endpoint(options, KEY).send(request_of())


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_refused_request_is_not_sent_again(status):
    with judge_server(in_turn(problem(status, "bad picture"))) as server:
        with pytest.raises(JudgeError, match=f"refuses this request: HTTP {status}: .*bad picture") as caught:
            Endpoint(options_for(server), KEY).send(request_of())
    assert not isinstance(caught.value, JudgeUnusable)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "bad",
    [
        problem(401, "wrong key secret-key-123 given"),
        problem(403),
        problem(404, "no such model"),
        problem(429, "pay first", code="insufficient_quota"),
    ],
    ids=["401", "403", "404", "no money"],
)
def test_what_holds_for_every_request_ends_the_run(bad):
    with judge_server(in_turn(bad)) as server:
        with pytest.raises(JudgeUnusable, match="refuses: HTTP 4") as caught:
            Endpoint(options_for(server), KEY).send(request_of())
    assert "secret-key" not in str(caught.value)
    assert len(server.requests) == 1


@pytest.mark.parametrize("headers", [{"retry-after-ms": "250"}, {"retry-after": "0.25"}])
def test_it_waits_as_long_as_the_endpoint_asks(headers):
    with judge_server(in_turn(problem(429, headers=headers), GOOD)) as server:
        Endpoint(options_for(server), KEY).send(request_of())
    first, second = server.times
    assert second - first >= 0.25  # a lower bound: a slow machine waits longer, never shorter


def test_waiting_times_are_read_as_seconds_and_as_dates():
    assert retry_after({"retry-after": "7"}) == 7
    assert retry_after({"retry-after": "7", "retry-after-ms": "1500"}) == 1.5
    date = email.utils.formatdate(time.time() + 100, usegmt=True)
    assert 50 < retry_after({"retry-after": date}) <= 100
    assert retry_after({"retry-after": "Mon, 01 Jan 2024 00:00:00 GMT"}) == 0
    for nothing in ("", "soon", "-1", "nan", "inf"):
        assert retry_after({"retry-after": nothing}) is None


def test_while_one_waits_as_asked_nobody_else_sends():
    closed_until = []

    def answers(request):
        if not closed_until:
            closed_until.append(time.monotonic() + 0.5)
            return problem(429, headers={"retry-after": "0.5"})
        return GOOD

    with judge_server(answers) as server:
        endpoint = Endpoint(options_for(server), KEY)
        threads = [threading.Thread(target=endpoint.send, args=(request_of(str(n)),)) for n in range(4)]
        threads[0].start()
        for _ in range(4000):  # until the refusal has arrived
            if endpoint._closed_until:
                break
            time.sleep(0.005)
        assert endpoint._closed_until
        for thread in threads[1:]:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(server.times) == 5
    assert min(server.times[1:]) >= closed_until[0]


def test_an_endpoint_that_asks_for_hours_is_given_up():
    with judge_server(in_turn(problem(429, headers={"retry-after": "3600"}))) as server:
        with pytest.raises(JudgeUnusable, match=r"asks to wait 3600 s .*longest_wait allows 5 s"):
            Endpoint(options_for(server), KEY).send(request_of())
    assert len(server.requests) == 1


def test_waits_double_up_to_the_longest_and_have_jitter():
    options = options_for("http://127.0.0.1:1/v1", first_wait=2.0, longest_wait=10.0)
    assert [wait_before_next(n, None, options, chance=0.0) for n in range(5)] == [1, 2, 4, 5, 5]
    assert [wait_before_next(n, None, options, chance=0.5) for n in range(5)] == [1.5, 3, 6, 7.5, 7.5]
    assert [wait_before_next(n, 7.0, options, chance=0.5) for n in range(2)] == [8, 8]


def test_replies_without_text_counts_or_name_are_replies():
    with judge_server(in_turn(completion(None, refusal="I will not."))) as server:
        assert Endpoint(options_for(server), KEY).send(request_of()).text == "I will not."
    bare = Answer(body=b'{"choices": [{"message": {"role": "assistant", "content": null}}]}')
    with judge_server(in_turn(bare)) as server:
        reply = Endpoint(options_for(server), KEY).send(request_of())
    assert (reply.text, reply.finish_reason, reply.served_by) == ("", None, "")
    assert (reply.input_tokens, reply.output_tokens) == (None, None)


@pytest.mark.parametrize("environment", [{}, {"JUDGE_KEY": " "}])
def test_a_missing_key_is_named_before_anything_is_sent(environment):
    with judge_server(in_turn(GOOD)) as server:
        with pytest.raises(UsageError, match=r"variable JUDGE_KEY is not set.*any word"):
            Endpoint(options_for(server), environment).send(request_of())
    assert server.requests == []


def test_an_address_of_no_form_is_refused():
    with pytest.raises(ValueError, match="begins with http"):
        options_for("localhost:8000")
    assert issubclass(ConfigError, ValueError)


def test_equal_requests_at_once_are_one(tmp_path):
    entered = threading.Barrier(2)

    def answers(request):
        if prompt_of(request) == "same":
            entered.wait(30)  # the reply comes only when others have had time to ask the same
        return GOOD

    with judge_server(answers) as server, ReplyStore(tmp_path / "cache.jsonl") as store:
        judge = Judge(Endpoint(options_for(server), KEY), store)
        replies = []
        threads = [threading.Thread(target=lambda: replies.append(judge.ask(request_of("same")))) for _ in range(6)]
        for thread in threads:
            thread.start()
        entered.wait(30)
        for thread in threads:
            thread.join()
        judge.ask(request_of("same"))
    assert len(server.requests) == 1
    assert len(judge.asked) == 1
    assert len(replies) == 6
    assert len(set(replies)) == 1


def test_a_failure_is_not_kept(tmp_path):
    with judge_server(in_turn(problem(400), GOOD)) as server, ReplyStore(tmp_path / "cache.jsonl") as store:
        judge = Judge(Endpoint(options_for(server), KEY), store)
        with pytest.raises(JudgeError):
            judge.ask(request_of())
        assert judge.ask(request_of()).text == "8 7\nfine"
        assert len(store) == 1
