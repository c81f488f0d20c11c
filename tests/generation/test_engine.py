"""The engine: ends, limits, streams, queues and batches, on the golden and on models that say what they are told."""

import copy
import threading
import time

import pytest
import torch
from PIL import Image

from SPHINX_V.errors import AnswerError, QueueFullError, UsageError
from SPHINX_V.generation.engine import Engine
from SPHINX_V.generation.likelihood import likelihoods
from SPHINX_V.generation.options import EngineOptions
from SPHINX_V.generation.request import Request
from SPHINX_V.processing.conversation import Turn
from SPHINX_V.processing.processor import Processor
from tests.generation.chain_model import chain_model

HELLO = Request([["Hello?", None]], max_gen_len=12, temperature=0.0)


@pytest.fixture(scope="module")
def say(golden_tokenizer):
    """A model that goes through the given ids after the colon of `Assistant:`, asked greedily."""

    def answer(*ids, limit=64, stops=("\n###",), max_seq_len=2048):
        colon = golden_tokenizer.encode(" Assistant:")[-1]
        model = chain_model(golden_tokenizer, [colon, *ids], max_seq_len=max_seq_len)
        engine = Engine(model, Processor(model.config, golden_tokenizer), EngineOptions(max_rows=1))
        return engine.submit(Request([["What?", None]], None, None, limit, 0.0, stops=stops)).answer()

    return answer


@pytest.fixture
def engine(golden_model, golden_processor):
    return Engine(golden_model, golden_processor, EngineOptions(max_rows=4, max_waiting=8))


@pytest.fixture(scope="module")
def mixed(golden, golden_facts):
    """Different texts, marks, pictures or none, lengths and ways of drawing."""
    boxes = golden_facts["boxes_xywh_px"]
    points = golden_facts["portrait"]["points_px"]
    return [
        Request([["What is <Region 2>? " * 4, None]], boxes, golden / "image.png", 4, 0.0),
        Request([["Why?", None]], points, golden / "portrait.png", 24, 1.0, 0.9, 3),
        Request([["What", "this"], ["and that?", None]], None, golden / "image.png", 12, 0.7, 1.0, 4),
        Request([["Hello?", None]], None, None, 9, 1.0, 1.0, 5, top_k=7, repetition_penalty=1.5),
        Request([["What is <Region 1>?", None]], boxes, golden / "image.png", 16, 0.0, repetition_penalty=1.2),
        Request([["A much longer question, is it not?", None]], max_gen_len=20, temperature=0.0),
    ]


@pytest.fixture(scope="module")
def ids_of(golden_tokenizer):
    def ids(text):
        return golden_tokenizer.encode(f" Assistant:{text}")[len(golden_tokenizer.encode(" Assistant:")) :]

    return ids


def test_a_stop_string_over_three_tokens_ends_the_answer(say, ids_of):
    stop = ids_of(" a\n###")[-3:]
    found = say(*ids_of(" red cat"), *stop, *ids_of(" Human"))
    assert found.text == "red cat"
    assert found.finish == "stop"
    assert found.ids[-3:] == tuple(stop)


def test_eos_ends_the_answer(say, ids_of, golden_tokenizer):
    found = say(*ids_of(" red cat"), golden_tokenizer.eos_id, *ids_of(" more"))
    assert (found.text, found.finish, found.ids[-1]) == ("red cat", "eos", golden_tokenizer.eos_id)


def test_eos_at_once_is_an_empty_answer(say, golden_tokenizer):
    found = say(golden_tokenizer.eos_id)
    assert (found.text, found.finish, len(found.ids)) == ("", "eos", 1)


def test_a_stop_string_begun_before_eos_is_text(say, ids_of, golden_tokenizer):
    newline, hashes, _ = ids_of(" a\n###")[-3:]
    assert say(*ids_of(" red"), newline, hashes, golden_tokenizer.eos_id).text == "red\n##"


@pytest.mark.parametrize("limit", [1, 5])
def test_max_gen_len_ends_the_answer(say, ids_of, limit):
    found = say(*ids_of(" a"), limit=limit)
    assert (found.finish, len(found.ids)) == ("length", limit)


def test_own_stop_strings_take_the_place_of_the_template_s(say, ids_of):
    assert say(*ids_of(" red cat"), limit=9, stops=("t",)).text == "red ca"


def test_the_answer_ends_where_the_context_is_full(say, ids_of, golden_processor):
    full = say(*ids_of(" a"), limit=500, max_seq_len=128)
    assert full.finish == "length"
    assert len(full.ids) == 128 - len(golden_processor.prompt_ids([Turn("What?")]))


def test_a_prompt_that_fills_the_context_is_refused_with_the_numbers(golden, engine, golden_model, golden_processor):
    question = "word " * 900
    length = len(golden_processor.prompt_ids([Turn(question)]))
    visual = golden_model.config.visual_length
    with pytest.raises(
        UsageError, match=rf"{length} tokens.* {visual}, together {visual + length}; .* is 2048"
    ) as error:
        engine.submit(Request([[question, None]], [[5, 5]], golden / "image.png"))
    assert f"at least {visual + length - 2048 + 1} tokens" in str(error.value)
    assert engine.stats().waiting == 0


def test_the_oldest_turns_may_be_dropped(engine):
    turns = [["word " * 700, "yes"], ["word " * 700, "no"], ["Hello?", None]]
    with pytest.raises(UsageError, match="context is 2048"):
        engine.submit(Request(turns, max_gen_len=4, temperature=0.0))
    short = engine.submit(Request(turns[1:], max_gen_len=4, temperature=0.0)).answer()
    dropped = engine.submit(Request(turns, max_gen_len=4, temperature=0.0, overflow="drop_turns")).answer()
    assert (dropped.ids, dropped.prompt_tokens) == (short.ids, short.prompt_tokens)


def alone(golden_model, golden_processor, request):
    """The answer of an engine that never saw another request."""
    return Engine(golden_model, golden_processor, EngineOptions(max_rows=1)).submit(request).answer()


def test_each_answer_is_the_one_it_is_alone(golden_model, golden_processor, engine, mixed):
    """Six ragged requests over four rows: some wait, finished rows leave, others take their place."""
    together = list(engine.answers(mixed))
    for request, found in zip(mixed, together, strict=True):
        cold = alone(golden_model, golden_processor, request)
        assert (found.text, found.ids, found.finish) == (cold.text, cold.ids, cold.finish)
    assert [len(found.ids) for found in together] == [4, 24, 12, 5, 16, 20]
    assert [found.finish for found in together] == ["length"] * 3 + ["eos"] + ["length"] * 2
    assert (engine.stats().running, engine.stats().waiting, engine.stats().finished) == (0, 0, 6)


def test_requests_that_come_later_join_and_change_nothing(golden_model, golden_processor, engine, mixed):
    first = engine.submit(mixed[5])
    begun = [next(first), next(first)]
    second = engine.submit(mixed[1])
    assert second.answer().ids == alone(golden_model, golden_processor, mixed[1]).ids
    assert "".join([*begun, *first]) == alone(golden_model, golden_processor, mixed[5]).text


def test_pieces_join_to_the_answer(engine, mixed):
    streams = [engine.submit(request) for request in mixed[:3]]
    texts = ["".join(stream) for stream in streams]
    assert texts == [stream.answer().text for stream in streams]


def test_the_queue_is_first_come_first_served_and_bounded(engine):
    streams = [engine.submit(HELLO) for _ in range(8)]
    assert [stream.place for stream in streams] == [1, 2, 3, 4, 5, 6, 7, 8]
    with pytest.raises(QueueFullError, match=r"8 requests wait already.*max_waiting 8"):
        engine.submit(HELLO)
    next(streams[0])
    assert [stream.place for stream in streams] == [None, None, None, None, 1, 2, 3, 4]
    assert len({stream.answer().text for stream in streams}) == 1


def test_a_cancelled_answer_gives_its_row_back_at_once(engine, golden_model, golden_processor, mixed):
    streams = [engine.submit(request) for request in mixed[:4]]
    next(streams[1])
    waiting = engine.submit(HELLO)
    streams[1].cancel()
    waiting.cancel()
    assert (engine.stats().running, engine.stats().waiting) == (3, 0)
    assert streams[1].answer().finish == waiting.answer().finish == "cancelled"
    assert waiting.answer().ids == ()
    for place in (0, 2, 3):  # one of them was moved into the free row
        assert streams[place].answer().ids == alone(golden_model, golden_processor, mixed[place]).ids


def test_an_answer_ends_when_its_time_is_over(engine):
    late = engine.submit(Request([["Hello?", None]], max_gen_len=2000, temperature=0.0, timeout=1e-9))
    assert late.answer().finish == "timeout"
    assert engine.stats().running == 0


def test_a_row_without_finite_logits_fails_and_the_others_live(golden_model, golden_processor, golden_tokenizer):
    broken = copy.deepcopy(golden_model)
    zebra = golden_tokenizer.encode("zebra")
    with torch.no_grad():
        broken.llm.tok_embeddings.weight[zebra[-1]] = float("nan")
    engine = Engine(broken, golden_processor, EngineOptions(max_rows=3))
    streams = [engine.submit(HELLO), engine.submit(Request([["zebra", None]])), engine.submit(HELLO)]
    with pytest.raises(AnswerError, match="token 1 of the answer are not finite"):
        streams[1].answer()
    expected = alone(golden_model, golden_processor, HELLO)
    assert [streams[place].answer().text for place in (0, 2)] == [expected.text] * 2
    assert (engine.stats().failed, engine.stats().finished, engine.stats().running) == (1, 2, 0)


def test_what_is_not_finite_in_a_row_does_not_reach_the_next_request_there(
    golden_model, golden_processor, golden_tokenizer, mixed
):
    """The next one is shorter and runs beside a longer one, so the damaged positions are masked, not overwritten."""
    broken = copy.deepcopy(golden_model)
    with torch.no_grad():
        broken.llm.tok_embeddings.weight[golden_tokenizer.encode("zebra")[-1]] = float("nan")
    engine = Engine(broken, golden_processor, EngineOptions(max_rows=2))
    bad = "Hello? " * 40 + "zebra"
    with pytest.raises(AnswerError):
        engine.submit(Request([[bad, None]])).answer()
    with pytest.raises(AnswerError, match="log-probability of 'no' is not finite"):
        likelihoods(engine, golden_processor, golden_processor.question(turns=[[bad, None]]), ["no"])
    short, long = engine.submit(HELLO), engine.submit(mixed[2])
    assert short.answer().ids == alone(golden_model, golden_processor, HELLO).ids
    assert long.answer().ids == alone(golden_model, golden_processor, mixed[2]).ids


def test_log_probabilities_are_those_of_the_full_pass(engine, golden_model, golden_processor):
    request = Request([["Hello?", None]], max_gen_len=5, temperature=0.0, logprobs=3)
    answer = engine.submit(request).answer()
    ids = golden_processor.prompt_ids([Turn("Hello?")])
    for place, token in enumerate(answer.ids):
        hidden = golden_model.hidden(golden_model.llm.tok_embeddings(torch.tensor([[*ids, *answer.ids[:place]]])))
        table = golden_model.llm.output(hidden)[0, -1].log_softmax(-1)
        noted = answer.logprobs[place]
        assert (noted.id, noted.top[0][0], len(noted.top)) == (token, token, 3)
        assert noted.logprob == pytest.approx(float(table[token]), abs=1e-4)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_ids_beyond_the_tokenizer_are_never_chosen(golden_model, golden_processor, temperature):
    """A padded vocabulary answers as the same model without the padding, however likely the padding is."""
    padded, tokenizer = copy.deepcopy(golden_model), golden_processor.tokenizer
    padded.llm.output = torch.nn.Linear(padded.config.llm.dim, tokenizer.vocab_size + 32, bias=False)
    with torch.no_grad():
        padded.llm.output.weight[: tokenizer.vocab_size] = golden_model.llm.output.weight
        padded.llm.output.weight[tokenizer.vocab_size :] = 50 * golden_model.llm.output.weight[:32]
    request = Request([["Hello?", None]], max_gen_len=12, temperature=temperature, top_p=1.0, seed=3)
    assert padded(golden_processor(turns=request.turns)).argmax(-1).max() >= tokenizer.vocab_size
    assert alone(padded, golden_processor, request) == alone(golden_model, golden_processor, request)


def test_a_thread_of_its_own_answers_the_same(engine, golden_model, golden_processor, mixed):
    engine.start()
    try:
        with pytest.raises(UsageError, match="started already"):
            engine.start()
        streams = [engine.submit(request) for request in mixed]
        for request, stream in zip(mixed, streams, strict=True):
            assert stream.answer().ids == alone(golden_model, golden_processor, request).ids
        endless = engine.submit(Request([["Hello?", None]], max_gen_len=1500, temperature=0.0))
        next(endless)
    finally:
        engine.stop()
    assert endless.answer().finish in ("cancelled", "length")
    assert engine.stats().running == engine.stats().waiting == 0
    assert engine.submit(HELLO).answer().ids == alone(golden_model, golden_processor, HELLO).ids


@pytest.mark.parametrize("size", [(1, 1), (3000, 2), (5000, 4000)])
def test_pictures_of_odd_sizes_are_answered(engine, size):
    request = Request([["What is this?", None]], [[0, 0]], Image.new("RGB", size), 3, 0.0)
    assert len(engine.submit(request).answer().ids) == 3


def test_a_request_that_memory_does_not_hold_fails_with_its_size_and_the_others_live(
    engine, golden_model, golden_processor, mixed, monkeypatch
):
    fill, asked = engine.rows.fill, []

    def scarce(row, prompts, pictures):
        asked.append(len(prompts))
        if len(prompts) > 1 or prompts[0].key.picture:
            raise torch.OutOfMemoryError("tried to allocate 9.00 GiB")
        return fill(row, prompts, pictures)

    monkeypatch.setattr(engine.rows, "fill", scarce)
    large, small, other = engine.submit(mixed[0]), engine.submit(HELLO), engine.submit(mixed[5])
    with pytest.raises(AnswerError, match=r"prompt of \d+ positions: out of memory .tried to allocate 9.00 GiB"):
        large.answer()
    assert small.answer().ids == alone(golden_model, golden_processor, HELLO).ids
    assert other.answer().ids == alone(golden_model, golden_processor, mixed[5]).ids
    assert asked == [1, 2, 1, 1], "what does not fit together is tried alone"


def test_a_stream_that_nobody_reads_any_more_ends(engine):
    unread = engine.submit(HELLO)
    kept = engine.submit(HELLO)
    del unread
    assert kept.answer().finish == "length"
    assert (engine.stats().tokens, engine.stats().finished) == (12, 2)


def test_an_engine_that_breaks_leaves_nobody_waiting(engine, golden_model, golden_processor, monkeypatch):
    streams = [engine.submit(HELLO) for _ in range(6)]
    next(streams[0])
    with monkeypatch.context() as patched:
        patched.setattr(engine.rows.decoder, "draw", lambda *how, **more: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            streams[0].answer()
    for stream in streams:
        with pytest.raises(AnswerError, match="ZeroDivisionError"):
            stream.answer()
    assert engine.submit(HELLO).answer().ids == alone(golden_model, golden_processor, HELLO).ids


def test_a_stop_lets_those_that_run_finish(engine, golden_model, golden_processor):
    engine.start()
    stream = engine.submit(HELLO)
    engine.stop(drain=60.0)
    assert stream.answer().ids == alone(golden_model, golden_processor, HELLO).ids


def test_a_stop_ends_what_joins_at_that_moment_with_its_round(golden_model, golden_processor, golden):
    model = copy.deepcopy(golden_model)
    encoding, stopping = threading.Event(), threading.Event()

    def wait(module, arguments):
        encoding.set()
        assert stopping.wait(60)

    model.vision.register_forward_pre_hook(wait)
    engine = Engine(model, golden_processor, EngineOptions(max_rows=2))
    engine.start()
    streams = [engine.submit(Request([[text, None]], None, golden / "image.png", 900, 0.0)) for text in "abc"]
    assert encoding.wait(60)
    stop = threading.Thread(target=engine.stop)
    stop.start()
    while not engine.queue.closing:
        time.sleep(0.001)
    stopping.set()
    stop.join()
    for stream in streams:
        assert stream.answer().finish == "cancelled"
        assert len(stream.answer().ids) <= 2, "one token of the prompt, and one step of the same round"
    assert engine.stats().running == engine.stats().waiting == 0


def test_weights_stay_the_model_s_own_and_can_still_be_trained(golden_model, golden_processor):
    model = copy.deepcopy(golden_model).requires_grad_(True)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    engine = Engine(model, golden_processor, EngineOptions(max_rows=1))
    first = engine.submit(HELLO).answer()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    hidden = model.hidden(model.llm.tok_embeddings(torch.tensor([[1, 5, 9]])))
    model.llm.output(hidden).logsumexp(-1).sum().backward()
    assert model.llm.get_parameter("layers.0.attention.wk.weight").grad.abs().sum() > 0
    with torch.no_grad():  # what the engine computes with is the model's weights, not a copy of them
        model.llm.get_parameter("layers.0.attention.wv.weight").mul_(-3)
        model.llm.get_parameter("layers.0.feed_forward.w2.weight").mul_(-3)
    engine.forget()
    changed = engine.submit(HELLO).answer()
    assert changed.ids != first.ids
    assert changed.ids == alone(copy.deepcopy(model), golden_processor, HELLO).ids


def test_a_cache_that_no_memory_holds_is_refused(golden_model, golden_processor, monkeypatch):
    monkeypatch.setattr("SPHINX_V.generation.rows._free_bytes", lambda device: 1000)
    with pytest.raises(UsageError, match=r"one conversation of 2048 positions takes 1 MiB.*max_len"):
        Engine(golden_model, golden_processor)


@pytest.mark.parametrize(
    "options, part",
    [
        ({"max_gen_len": 0}, "max_gen_len is 0; give at least 1"),
        ({"max_gen_len": 5.0}, "max_gen_len is 5.0; give a whole number"),
        ({"max_gen_len": "5"}, "max_gen_len is '5'; give a whole number"),
        ({"max_gen_len": None}, "max_gen_len is None"),
        ({"stops": "###"}, r"stops is '###'; give a list of texts, .*\['\\n###'\]"),
        ({"stops": None}, "stops is None; give a list"),
        ({"stops": ["a", 5]}, "a stop string is 5; give a text"),
        ({"stops": [""]}, "a stop string is ''; give a text"),
        ({"top_k": -1}, "top_k is -1"),
        ({"repetition_penalty": 0.0}, "repetition_penalty is 0.0"),
        ({"logprobs": 21}, "logprobs is 21; give 0 to 20"),
        ({"timeout": 0}, "timeout is 0.0; give seconds above 0"),
        ({"overflow": "cut"}, "overflow is 'cut'; give 'refuse' or 'drop_turns'"),
    ],
)
def test_impossible_options_are_refused(options, part):
    with pytest.raises(UsageError, match=part):
        Request([["What?", None]], **options)


@pytest.mark.parametrize("options", [{"max_rows": 0}, {"max_len": 1}, {"max_waiting": 0}, {"prefix_bytes": -1}])
def test_impossible_limits_are_refused(options):
    (name,) = options
    with pytest.raises(UsageError, match=f"{name} is"):
        EngineOptions(**options)
