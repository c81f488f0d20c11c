"""The decoding loop: ends, limits, streams and batches, on the golden and on models that say what they are told."""

import copy

import pytest
import torch

from SPHINX_V.errors import UsageError
from SPHINX_V.generation.engine import Options, generate, generate_steps, room_for_answer
from SPHINX_V.generation.sampling import Sampling
from SPHINX_V.inputs import ModelInputs
from SPHINX_V.processing.conversation import Turn
from SPHINX_V.processing.processor import Processor
from tests.generation.chain_model import chain_model

GREEDY = Sampling(temperature=0.0)


@pytest.fixture(scope="module")
def say(golden_tokenizer):
    """A model that goes through the given ids after the colon of `Assistant:`, asked greedily."""

    def answer(*ids, limit=64, stops=("\n###",), max_seq_len=2048):
        colon = golden_tokenizer.encode(" Assistant:")[-1]
        model = chain_model(golden_tokenizer, [colon, *ids], max_seq_len=max_seq_len)
        inputs = Processor(model.config, golden_tokenizer)(turns=[["What?", None]])
        (found,) = generate(model, golden_tokenizer, inputs, [Options(limit, GREEDY, stops)])
        return found

    return answer


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


def test_a_prompt_that_fills_the_context_is_refused_with_the_numbers(golden, golden_model, golden_processor):
    inputs = golden_processor(golden / "image.png", [[5, 5]], [["word " * 900, None]])
    length, visual = int(inputs.lengths), golden_model.config.visual_length
    with pytest.raises(
        UsageError, match=rf"{length} tokens.* {visual}, together {visual + length}; .* is 2048"
    ) as error:
        generate(golden_model, golden_processor.tokenizer, inputs, [Options(8, GREEDY)])
    assert f"at least {visual + length - 2048 + 1} tokens" in str(error.value)


def test_the_last_token_that_fits(golden_model):
    assert golden_model.config.llm.max_seq_len == 2048
    ids = torch.zeros(1, 2047, dtype=torch.int64)
    assert room_for_answer(golden_model, ModelInputs(ids, torch.tensor([2047])), 2047) == 1
    with pytest.raises(UsageError, match="context is 2048"):
        room_for_answer(golden_model, ModelInputs(ids, torch.tensor([2048])), 2048)


def test_each_row_s_answer_is_its_answer_alone(golden, golden_facts, golden_model, golden_processor):
    tokenizer = golden_processor.tokenizer
    rows = [
        golden_processor(golden / "image.png", golden_facts["boxes_xywh_px"], [["What is <Region 2>? " * 4, None]]),
        golden_processor(golden / "portrait.png", golden_facts["portrait"]["points_px"], [["Why?", None]]),
        golden_processor(golden / "image.png", None, [["What", "this"], ["and that?", None]]),
    ]
    # Different lengths: a finished row must not disturb those that go on, nor run out of the cache.
    options = [Options(4, GREEDY), Options(24, Sampling(1.0, 0.9, 3)), Options(12, Sampling(0.7, 1.0, 4))]
    together = generate(golden_model, tokenizer, ModelInputs.stack(rows), options)
    for row, option, found in zip(rows, options, together):
        assert generate(golden_model, tokenizer, row, [option]) == [found]
    assert [len(found.ids) for found in together] == [4, 24, 12]


def test_steps_join_to_the_answers(golden_model, golden_processor):
    rows = [golden_processor(turns=[[text, None]]) for text in ("Hello?", "A much longer question, is it not?")]
    inputs, options = ModelInputs.stack(rows), [Options(20, Sampling(1.0, 1.0, seed)) for seed in (1, 2)]
    answers = []

    def steps():
        answers.extend((yield from generate_steps(golden_model, golden_processor.tokenizer, inputs, options)))

    pieces = list(steps())
    assert len(pieces) == 20
    assert ["".join(row) for row in zip(*pieces)] == [answer.text for answer in answers]


def test_decoding_runs_one_token_at_a_time(golden_model, golden_processor, monkeypatch):
    widths = []
    forward = type(golden_model.llm).forward
    monkeypatch.setattr(
        type(golden_model.llm),
        "forward",
        lambda self, x, *a, **k: widths.append(x.shape[1]) or forward(self, x, *a, **k),
    )
    inputs = golden_processor(turns=[["Hello?", None]])
    generate(golden_model, golden_processor.tokenizer, inputs, [Options(5, GREEDY)])
    assert widths == [int(inputs.lengths), 1, 1, 1, 1], "no recomputation of the prefix, no step after the last token"


@pytest.mark.parametrize("sampling", [GREEDY, Sampling(1.0, 1.0, 3)])
def test_ids_beyond_the_tokenizer_are_never_chosen(golden_model, golden_processor, sampling):
    """A padded vocabulary answers as the same model without the padding, however likely the padding is."""
    padded, tokenizer = copy.deepcopy(golden_model), golden_processor.tokenizer
    padded.llm.output = torch.nn.Linear(padded.config.llm.dim, tokenizer.vocab_size + 32, bias=False)
    with torch.no_grad():
        padded.llm.output.weight[: tokenizer.vocab_size] = golden_model.llm.output.weight
        padded.llm.output.weight[tokenizer.vocab_size :] = 50 * golden_model.llm.output.weight[:32]
    inputs, options = golden_processor(turns=[["Hello?", None]]), [Options(12, sampling)]
    assert padded(inputs).argmax(-1).max() >= tokenizer.vocab_size, "the padding is the likeliest somewhere"
    assert generate(padded, tokenizer, inputs, options) == generate(golden_model, tokenizer, inputs, options)


def test_bad_calls_are_refused(golden_model, golden_processor):
    inputs = golden_processor(turns=[["Hello?", None]])
    with pytest.raises(UsageError, match="1 rows with 2 options"):
        generate(golden_model, golden_processor.tokenizer, inputs, [Options(), Options()])


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
    ],
)
def test_impossible_options_are_refused(options, part):
    with pytest.raises(UsageError, match=part):
        Options(**options)


def test_a_prompt_that_fills_the_context_is_refused_at_the_call(golden_model, golden_processor):
    inputs = golden_processor(turns=[["word " * 2048, None]])
    with pytest.raises(UsageError, match="context is 2048"):
        generate_steps(golden_model, golden_processor.tokenizer, inputs, [Options()])
