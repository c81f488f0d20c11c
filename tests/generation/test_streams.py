"""Streams and batches of them: cancelled, dropped, collected and kept; a row or a place that gets free is taken."""

import gc
import threading
import time
import weakref
from dataclasses import replace

import pytest

from SPHINX_V.errors import QueueFullError, UsageError
from SPHINX_V.generation.engine import Engine
from SPHINX_V.generation.options import EngineOptions
from SPHINX_V.generation.request import Request

HELLO = Request([["Hello?", None]], max_gen_len=12, temperature=0.0)


@pytest.fixture
def engine(golden_model, golden_processor):
    return Engine(golden_model, golden_processor, EngineOptions(max_rows=4, max_waiting=8))


@pytest.fixture(scope="module")
def hello(golden_model, golden_processor):
    """The answer to HELLO, and 48 tokens more, alone."""
    alone = Engine(golden_model, golden_processor, EngineOptions(max_rows=1))
    return alone.submit(replace(HELLO, max_gen_len=60)).answer().ids


def test_a_long_answer_holds_up_no_others_of_its_batch(engine, hello):
    """Whoever ends makes room for the next one, also while the first answer is not there yet."""
    long, short = replace(HELLO, max_gen_len=60), replace(HELLO, max_gen_len=2)
    answers = engine.answers([long, *[short] * 12], at_once=2)
    first = next(answers)
    assert engine.stats().finished >= 12
    assert len(engine.queue) == 0
    assert [answer.ids for answer in (first, *answers)] == [hello, *[hello[:2]] * 12]
    with pytest.raises(UsageError, match="at_once is 0"):
        engine.answers([HELLO], at_once=0)


def test_no_more_of_a_batch_are_in_the_engine_than_asked_for(engine):
    there = []

    def requests():
        for _ in range(9):
            there.append(engine.stats().running + engine.stats().waiting)
            yield HELLO

    assert len(list(engine.answers(requests(), at_once=3))) == 9
    assert max(there) <= 3


def test_a_stream_may_be_collected_in_the_middle_of_a_round(golden_model, golden_processor, hello):
    """Garbage is collected wherever Python likes, and what drops a stream's generator then cancels."""
    model = golden_model
    hook = model.llm.output.register_forward_pre_hook(lambda *_: (gc.collect(), None)[1])
    engine = Engine(model, golden_processor, EngineOptions(max_rows=2))
    found = []

    def ask():
        answers = engine.answers([HELLO, HELLO, HELLO])
        next(answers)
        cycle = [answers]
        cycle.append(cycle)
        del answers, cycle
        found.append(engine.submit(HELLO).answer())

    gc.disable()
    gc.freeze()  # what is there already need not be looked through each time
    try:
        thread = threading.Thread(target=ask, daemon=True)
        thread.start()
        thread.join(60)
    finally:
        hook.remove()
        gc.unfreeze()
        gc.enable()
    assert not thread.is_alive(), "it waits for itself"
    assert found[0].ids == hello[:12]
    assert (engine.stats().running, engine.stats().waiting) == (0, 0)


def test_streams_that_were_dropped_unread_take_no_room_in_the_queue(engine, hello):
    for _ in range(20):
        engine.submit(HELLO)
    stream = engine.submit(HELLO)
    assert engine.stats().waiting <= 8
    assert stream.answer().ids == hello[:12]


def test_a_full_queue_refuses_before_a_picture_is_opened(engine):
    streams = [engine.submit(HELLO) for _ in range(8)]
    with pytest.raises(QueueFullError, match="8 requests wait already"):
        engine.submit(replace(HELLO, image="no such picture.png"))
    assert len({stream.answer().ids for stream in streams}) == 1


@pytest.mark.parametrize("end", ["cancel", "answer", "fail"])
def test_a_stream_that_has_ended_holds_no_picture(golden_model, golden_processor, golden, end):
    engine = Engine(golden_model, golden_processor, EngineOptions(max_rows=1, picture_bytes=0))
    stream = engine.submit(replace(HELLO, image=golden / "image.png"))
    picture = weakref.ref(stream._job.prompt.square)
    if end == "fail":
        engine.fail_all(ValueError())
    else:
        getattr(stream, end)()
    assert stream.ended
    assert picture() is None


def test_what_ends_while_others_are_filled_is_not_filled_itself(golden_model, golden_processor, hello):
    """Four long prompts, one by one: during the first of them one is cancelled, one dropped, one has no time left."""
    engine = Engine(golden_model, golden_processor, EngineOptions(max_rows=5))
    long = replace(HELLO, turns=[["word " * 300, None]], max_gen_len=3)
    running = engine.submit(HELLO)
    next(running)
    streams = [engine.submit(one) for one in (long, long, replace(long, timeout=0.2), long)]
    filled = []

    def meanwhile(module, arguments):
        filled.append(1)
        if len(filled) == 1:
            streams[1].cancel()
            streams.pop()
            time.sleep(0.3)

    first = golden_model.llm.tok_embeddings.register_forward_pre_hook(meanwhile)
    try:
        assert len(streams[0].answer().ids) == 3
    finally:
        first.remove()
    ends = [stream.answer() for stream in streams[1:]]
    assert [(answer.finish, answer.ids) for answer in ends] == [("cancelled", ()), ("timeout", ())]
    assert running.answer().ids == hello[:12]
    assert engine.stats().finished == 5
    assert engine.stats().tokens == 3 + 12
