"""Many answers read by one thread, which is called when there is news and never waits for a single one."""

import threading

import pytest

from SPHINX_V.errors import AnswerError
from SPHINX_V.generation.engine import Engine
from SPHINX_V.generation.options import EngineOptions
from SPHINX_V.generation.request import Request

REQUESTS = [Request([[text, None]], max_gen_len=9, temperature=0.0, logprobs=1) for text in ("Hello?", "Why?", "And?")]


def test_one_thread_reads_all_answers_by_being_called(golden_model, golden_processor):
    engine = Engine(golden_model, golden_processor, EngineOptions(max_rows=2))
    alone = [engine.submit(request).answer() for request in REQUESTS]
    assert not engine.started
    news = threading.Event()
    engine.queue.on_news = news.set
    engine.start()
    assert engine.started
    streams = [engine.submit(request) for request in REQUESTS]
    texts, tokens, going_on = [""] * 3, [[], [], []], {0, 1, 2}
    while going_on:
        assert news.wait(60)
        news.clear()
        for index in sorted(going_on):
            tokens[index] += streams[index].logprobs(len(tokens[index]))
            while streams[index].ready:
                piece = next(streams[index], None)
                if piece is None:
                    going_on.remove(index)
                    break
                texts[index] += piece
    assert texts == [answer.text for answer in alone]
    assert [[one.id for one in found] for found in tokens] == [list(answer.ids) for answer in alone]
    engine.stop()
    assert not engine.started


def test_when_who_is_called_fails_nobody_waits_and_later_requests_are_answered(
    golden_model, golden_processor, monkeypatch
):
    monkeypatch.setattr(threading, "excepthook", lambda _: None)  # the thread ends with the error, as it should
    engine = Engine(golden_model, golden_processor, EngineOptions(max_rows=2))
    alone = engine.submit(REQUESTS[0]).answer()
    engine.queue.on_news = lambda: 1 / 0
    streams = [engine.submit(request) for request in REQUESTS]
    engine.start()
    for stream in streams:
        with pytest.raises(AnswerError, match="ZeroDivisionError"):
            stream.answer()
    engine.stop()
    assert not engine.started
    assert engine.submit(REQUESTS[0]).answer().ids == alone.ids
