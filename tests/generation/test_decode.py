"""Several steps at a time, and steps of fixed shapes as GPUs capture them, draw what single steps draw."""

import copy
from dataclasses import replace

import pytest
import torch

from SPHINX_V import EngineOptions, Request, SPHINX_V_Model
from SPHINX_V.errors import AnswerError
from SPHINX_V.generation.decode import Decoder, draw_first
from SPHINX_V.generation.engine import Engine
from SPHINX_V.generation.options import EngineOptions as Limits
from SPHINX_V.generation.rows import Rows
from SPHINX_V.generation.sampling import Draws, Sampler, Sampling
from SPHINX_V.processing.tokenizer import Tokenizer

CPU = torch.device("cpu")
LENGTHS = (5, 9, 7)
PIECES = 700


@pytest.fixture
def rows(golden_model):
    """Rows that hold 5, 9 and 7 positions of random text, and two that hold nothing."""
    rows = Rows(golden_model, Limits(max_rows=5, max_len=300))
    ids = torch.randint(3, PIECES, (len(LENGTHS), max(LENGTHS)), generator=torch.Generator().manual_seed(3)).tolist()
    with torch.inference_mode():
        for row, length in enumerate(LENGTHS):
            rows.follow(row, 0, ids[row][:length])
    return rows


def static(rows):
    return Decoder(rows.program, rows.cache, CPU, static=True)


@torch.inference_mode()
@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_step_of_fixed_shapes_gives_the_same_logits(rows, count):
    """Of 1, 2 and 4 rows over 256 keys, most of which are masked."""
    steps = static(rows)
    for number in range(3):
        lengths = [length + number for length in LENGTHS[:count]]
        tokens = torch.tensor([11, 12, 13][:count])
        expected = rows.decoder.logits(tokens, lengths)
        found = steps.logits(tokens, lengths)
        # Sums over more keys, the others of weight zero, may be added in another order.
        assert (found - expected).abs().max() < 1e-5
        assert len(steps._steps) == 1


@torch.inference_mode()
def test_a_step_of_fixed_shapes_leaves_other_rows_alone(rows):
    before = rows.cache._all.clone()
    static(rows).logits(torch.tensor([11, 12, 13]), list(LENGTHS))
    changed = (rows.cache._all != before).any(dim=5).any(dim=3).any(dim=0).any(dim=0)  # [rows, positions]
    # Row 3 has no conversation: it pads three rows to four.
    assert [place.nonzero().flatten().tolist() for place in changed] == [[5], [9], [7], [0], []]


@torch.inference_mode()
def test_shapes_are_rounded_up(rows):
    steps = static(rows)
    for count, lengths in ((1, [5]), (3, [5, 9, 7]), (2, [5, 9]), (1, [6]), (1, [260])):
        steps.logits(torch.tensor([11] * count), lengths)
    assert set(steps._steps) == {(1, 256), (4, 256), (2, 256), (1, 300)}


def sampler(*seeds):
    penalties = (1.3, 1.0, 1.0)
    return Sampler([Draws(Sampling(0.8, 0.95, seed, 0, penalty)) for seed, penalty in zip(seeds, penalties)], CPU)


@torch.inference_mode()
@pytest.mark.parametrize("is_static", [False, True])
def test_several_steps_draw_what_single_ones_draw(rows, is_static):
    one, many = sampler(1, 2, 3), sampler(1, 2, 3)
    seen_one, seen_many = torch.zeros(3, PIECES, dtype=torch.bool), torch.zeros(3, PIECES, dtype=torch.bool)
    tokens, lengths, expected, logits = [11, 12, 13], list(LENGTHS), [], []
    for _ in range(6):
        drawn = rows.decoder.draw(tokens, lengths, 1, PIECES, one, seen_one, keep_logits=True)
        tokens, lengths = drawn.tokens[0], [length + 1 for length in lengths]
        expected.append(tokens)
        logits += drawn.logits
    decoder = static(rows) if is_static else rows.decoder
    drawn = decoder.draw([11, 12, 13], list(LENGTHS), 6, PIECES, many, seen_many, keep_logits=True)
    assert drawn.tokens == expected
    assert len({tuple(step) for step in expected}) > 1
    assert torch.equal(seen_one, seen_many)
    assert [len(step) for step in drawn.greatest] == [3] * 6
    assert all((a - b).abs().max() < 1e-4 for a, b in zip(drawn.logits, logits, strict=True))
    assert decoder.draw([11, 12, 13], list(LENGTHS), 2, PIECES, sampler(1, 2, 3), seen_many.clone()).logits == ()


def test_the_first_token_is_marked_as_seen():
    logits = torch.zeros(1, 10)
    logits[0, 4] = 5.0
    seen = torch.zeros(1, 10, dtype=torch.bool)
    drawn = draw_first(logits, Sampler([Draws(Sampling(0.0))], CPU), seen)
    assert (drawn.tokens, drawn.greatest) == ([[4]], [[5.0]])
    assert seen.nonzero().tolist() == [[0, 4]]


@pytest.fixture(scope="module")
def requests(golden, golden_facts):
    boxes, question = golden_facts["boxes_xywh_px"], golden_facts["question"]
    picture = golden / "image.png"
    return [
        Request([[question, None]], boxes, picture, max_gen_len=24, temperature=0),
        Request([["Hello?", None]], max_gen_len=3, temperature=0),
        Request([["Hello?", None]], max_gen_len=17, temperature=1.0, top_p=1.0, seed=4, repetition_penalty=1.2),
        Request([[question, None]], boxes[:1], picture, max_gen_len=20, temperature=0, logprobs=2),
        Request([["And this?", None]], max_gen_len=9, temperature=1.5, top_p=0.9, seed=9, stops=["e"]),
        Request([["And this?", None]], max_gen_len=9, temperature=1.5, top_p=0.9, seed=10, stops=["a", "###"]),
    ]


def answers(golden_model, golden, requests, **limits):
    model = SPHINX_V_Model(golden_model, Tokenizer.from_file(golden / "tokenizer.model"))
    model.make_engine(EngineOptions(max_rows=3, **limits))
    found = model.answer_batch(requests)
    return found, model.engine.stats()


@pytest.mark.parametrize("look", [2, 5, 64])
def test_how_often_the_host_looks_changes_no_answer(golden_model, golden, requests, look):
    expected, counted = answers(golden_model, golden, requests)
    found, stats = answers(golden_model, golden, requests, tokens_per_look=look)
    for one, other in zip(found, expected):
        assert (one.text, one.ids, one.finish) == (other.text, other.ids, other.finish)
    assert stats.tokens == counted.tokens == sum(len(answer.ids) for answer in expected)
    pairs = zip(found[3].logprobs, expected[3].logprobs, strict=True)
    assert all(one.id == other.id and abs(one.logprob - other.logprob) < 1e-4 for one, other in pairs)


def test_what_is_not_finite_after_the_end_of_an_answer_reaches_nobody(golden_model, golden_processor):
    """The host looks after 8 tokens, and an answer of 2 goes on meanwhile. The row that moves into its place is shorter
    than the damage, and runs beside a longer one."""
    broken = copy.deepcopy(golden_model)

    def alone(request):
        return Engine(broken, golden_processor, Limits(max_rows=1)).submit(request).answer().ids

    short = Request([["Hello? " * 20, None]], max_gen_len=2, temperature=0)
    third = alone(replace(short, max_gen_len=3))[2]
    broken.llm.tok_embeddings.weight[third] = float("nan")
    requests = [short, *(Request([[text, None]], max_gen_len=30, temperature=0) for text in ("long " * 60, "Why?"))]
    expected = [alone(request) for request in requests]
    engine = Engine(broken, golden_processor, Limits(max_rows=3, tokens_per_look=8))
    streams = [engine.submit(request) for request in requests]
    assert [stream.answer().ids for stream in streams] == expected


@pytest.mark.parametrize("real", [False, True])
def test_a_step_for_which_there_is_no_memory_fails_for_all_that_run_and_for_nobody_else(
    golden_model, golden_processor, real
):
    model, over = copy.deepcopy(golden_model), []

    def short(module, arguments):
        if not over and len(arguments[0]) == 2:
            over.append(True)
            if real:
                torch.empty(10**15)
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 47.00 MiB.\nMore of it.")

    model.llm.layers[1].attention.wv.register_forward_pre_hook(short)
    hello = Request([["Hello?", None]], max_gen_len=5, temperature=0)
    engine = Engine(model, golden_processor, Limits(max_rows=2))
    streams = [engine.submit(replace(hello, turns=[[text * 300, None]])) for text in ("word ", "long ")]
    streams += [engine.submit(hello) for _ in range(2)]
    engine.start()
    said = "you tried to allocate 4000000000000000 bytes" if real else "Tried to allocate 47.00 MiB"
    for stream in streams[:2]:
        with pytest.raises(AnswerError, match=f"token 2 of the answer: out of memory .*{said}"):
            stream.answer()
    assert engine.started
    answers = [stream.answer() for stream in streams[2:]]
    engine.stop()
    assert engine.stats().failed == 2
    alone = Engine(golden_model, golden_processor, Limits(max_rows=1)).submit(hello).answer()
    assert [answer.ids for answer in answers] == [alone.ids] * 2


def test_looking_seldom_stays_inside_a_short_context(golden_model, golden):
    """A row has 40 positions; the answer that fills them ends there, though the host would look after 64 tokens."""
    model = SPHINX_V_Model(golden_model, Tokenizer.from_file(golden / "tokenizer.model"))
    length = len(model.processor.prompt_ids(model.processor.question(turns=[["Hi", None]]).turns)) + 6
    model.make_engine(EngineOptions(max_rows=2, max_len=length, tokens_per_look=64))
    requests = [Request([["Hi", None]], max_gen_len=n, temperature=0, stops=["@@"]) for n in (50, 2, 4)]
    assert [len(answer.ids) for answer in model.answer_batch(requests)] == [6, 2, 4]


def test_a_look_after_no_token_is_refused():
    with pytest.raises(ValueError, match="tokens_per_look is 0; give at least 1"):
        EngineOptions(tokens_per_look=0)
