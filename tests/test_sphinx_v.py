"""The facade: load, ask, stream, batch, save; what the golden says and what a user may do wrong."""

import copy
import gc
import shutil
import threading
import warnings
import weakref

import numpy
import pytest
import torch
from PIL import Image

from SPHINX_V import (
    Box,
    CheckpointError,
    CheckpointWarning,
    ConfigError,
    Mask,
    Point,
    PromptWarning,
    Request,
    Scribble,
    SPHINX_V_Model,
    UsageError,
)
from SPHINX_V.processing.tokenizer import Tokenizer
from SPHINX_V.weights.load import load_model

KINDS = {"boxes": "boxes_xywh_px", "points": "points_px"}


@pytest.fixture(scope="module")
def model(golden):
    return SPHINX_V_Model.from_pretrained(golden, device="cpu", dtype=torch.float32)


@pytest.fixture(scope="module")
def question(golden_facts):
    return golden_facts["question"]


@pytest.fixture(scope="module")
def picture(golden):
    return Image.open(golden / "image.png")


@pytest.mark.parametrize("kind", KINDS)
def test_greedy_texts_are_the_golden_s(model, golden_facts, question, picture, kind):
    marks = golden_facts[KINDS[kind]]
    answer = model.generate_response([[question, None]], marks, picture, max_gen_len=24, temperature=0)
    assert answer == golden_facts["texts"][f"greedy_{kind}"]


@pytest.mark.parametrize("kind", KINDS)
def test_logits_are_the_golden_s(model, golden_facts, golden_tensors, question, picture, kind):
    inputs = model.processor(image=picture, prompts=golden_facts[KINDS[kind]], turns=[[question, None]])
    logits = model.logits(inputs)
    assert logits.shape == golden_tensors[f"logits_{kind}"].shape
    assert (logits - golden_tensors[f"logits_{kind}"]).abs().max() < 1e-5


def test_logits_of_text_only(model, golden_tensors, question):
    logits = model.logits(model.processor(turns=[[question, None]]))
    assert (logits - golden_tensors["logits_text_only"]).abs().max() < 1e-5


def test_pieces_of_a_stream_join_to_the_answer(model, question, picture):
    arguments = ([[question, None]], [[10, 10, 50, 50]], picture, 40, 1.0, 0.9, 3)
    pieces = list(model.stream_response(*arguments))
    assert len(pieces) > 1
    assert all(pieces)
    assert "".join(pieces) == model.generate_response(*arguments)


def test_a_seed_decides_the_answer_and_the_global_state_does_not(model, question):
    def ask(seed):
        return model.generate_response([[question, None]], max_gen_len=20, temperature=1.0, top_p=1.0, seed=seed)

    before = torch.get_rng_state()
    first = ask(1)
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(99)
    assert ask(1) == first != ask(2)


def test_a_mixed_batch_answers_each_as_alone_and_in_order(model, golden, golden_facts, question, picture):
    boxes = golden_facts["boxes_xywh_px"]
    requests = [
        Request([[question, None]], boxes, picture, 12, 0.0),
        Request([["Hi there, what?", None]], None, None, 24, 1.0, 0.9, 3),
        Request([["What is <Mark 1>? " * 5, "a"], ["b", None]], [[10, 10]], golden / "portrait.png", 20, 0.8, 0.9, 4),
        Request([["Why?", None]], max_gen_len=5, temperature=0),
        Request([["Why?", None]], None, picture, 7, 1.0, 1.0, 8),
    ]
    alone = [
        model.generate_response(r.turns, r.prompts, r.image, r.max_gen_len, r.temperature, r.top_p, r.seed)
        for r in requests
    ]
    assert model.generate_batch(requests) == alone
    assert model.generate_batch(requests[::-1], max_rows=2) == alone[::-1]


def test_every_turn_has_the_same_regions_and_arguments_stay(model, question, picture):
    prompts, turns = [[49, 139, 196, 182], [324, 57, 106, 122]], [[question, None]]
    kept = copy.deepcopy((prompts, turns))
    first = model.processor(picture, prompts, turns)
    answer = model.generate_response(turns, prompts, picture, max_gen_len=6, temperature=0)
    following = [[question, answer], ["And <Region 2>?", None]]
    second = model.processor(picture, prompts, following)
    model.generate_batch([Request(following, prompts, picture, 4, 0.0)])
    assert torch.equal(first.slots.coords, second.slots.coords)
    assert torch.equal(first.slots.valid, second.slots.valid)
    assert torch.equal(first.pixels, second.pixels)
    assert (prompts, turns) == kept


def test_typed_prompts_say_what_raw_lists_say(model, question, picture):
    def logits(prompts):
        return model.logits(model.processor(picture, prompts, [[question, None]]))

    assert torch.equal(logits([[49, 139, 196, 182], [120, 200]]), logits([Box(49, 139, 245, 321), Point(120, 200)]))
    mask = numpy.zeros((picture.height, picture.width), bool)
    mask[20:40, 10:30] = True
    assert torch.equal(logits([Mask(mask)]), logits([Box(10, 20, 30, 40)]))
    assert torch.equal(logits([Scribble(((10, 20), (29, 39)))]), logits([Box(10, 20, 30, 40)]))


def test_a_saved_model_answers_the_same(model, question, picture, tmp_path):
    model.save_pretrained(tmp_path / "saved")
    again = SPHINX_V_Model.from_pretrained(tmp_path / "saved", device="cpu")
    assert again.config == model.config
    inputs = model.processor(picture, [[5, 5, 50, 50]], [[question, None]])
    assert torch.equal(again.logits(inputs), model.logits(inputs))
    with pytest.raises(UsageError, match="saved"):
        model.save_pretrained(tmp_path / "saved")


def test_bfloat16_answers_and_gives_float32_logits(golden, question, picture):
    small = SPHINX_V_Model.from_pretrained(golden, device="cpu", dtype=torch.bfloat16)
    logits = small.logits(small.processor(picture, [[5, 5, 50, 50]], [[question, None]]))
    assert logits.dtype == torch.float32
    assert logits.isfinite().all()
    assert small.generate_response([[question, None]], [[5, 5]], picture, max_gen_len=6, temperature=1.0)


@pytest.fixture
def copied(golden, tmp_path):
    """The golden's folder, free to be changed."""
    return shutil.copytree(golden, tmp_path / "golden")


def change_shards(folder, change):
    for path in folder.glob("*.pth"):
        stored = torch.load(path, weights_only=True)
        change(stored["model"])
        torch.save(stored, path)


def test_the_report_is_kept_and_known_unused_tensors_are_no_warning(golden):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = SPHINX_V_Model.from_pretrained(golden, device="cpu")
    assert (model.load_report.initialised, model.load_report.unknown) == ((), ())
    assert len(model.load_report.unused) == 8
    assert SPHINX_V_Model(model.model, model.tokenizer).load_report is None


def test_random_and_unknown_tensors_are_warned_of_once_each(copied):
    def change(shard):
        for name in [name for name in shard if "vp_" in name or "_vp" in name]:
            del shard[name]
        shard.update({f"llma.lora.{number}": torch.zeros(1) for number in range(9)})

    change_shards(copied, change)
    with pytest.warns(CheckpointWarning) as caught:
        model = SPHINX_V_Model.from_pretrained(copied, device="cpu", initialise_missing="prompts")
    random, unknown = (str(warning.message) for warning in caught)
    assert f"{copied}: 15 tensors are not in the checkpoint and were drawn at random: start_vp, end_vp, " in random
    assert "(11 more)" in random
    assert f"{copied}: 9 tensors are unknown and were left out: llma.lora.0, " in unknown
    assert "(5 more)" in unknown
    assert (len(model.load_report.initialised), len(model.load_report.unknown)) == (15, 9)
    assert all(warning.filename == __file__ for warning in caught)


def test_a_tokenizer_from_elsewhere(copied, golden):
    (copied / "tokenizer.model").unlink()
    with pytest.raises(CheckpointError, match="name one with tokenizer_file"):
        SPHINX_V_Model.from_pretrained(copied, device="cpu")
    found = SPHINX_V_Model.from_pretrained(copied, device="cpu", tokenizer_file=golden / "tokenizer.model")
    assert found.tokenizer.vocab_size == 768
    with pytest.raises(CheckpointError, match=r"config\.json: not a SentencePiece model"):
        SPHINX_V_Model.from_pretrained(copied, device="cpu", tokenizer_file=golden / "config.json")


def test_shards_that_disagree_can_be_accepted(copied):
    generator = torch.Generator().manual_seed(0)
    change_shards(copied, lambda shard: shard["llma.norm.weight"].add_(torch.rand(1, generator=generator)))
    with pytest.raises(CheckpointError, match="replicas first"):
        SPHINX_V_Model.from_pretrained(copied, device="cpu")
    SPHINX_V_Model.from_pretrained(copied, device="cpu", replicas="first")


def test_sizes_can_be_overridden(golden, question):
    short = SPHINX_V_Model.from_pretrained(golden, device="cpu", overrides={"llm.max_seq_len": 128})
    assert short.config.llm.max_seq_len == 128
    with pytest.raises(UsageError, match="context is 128"):
        list(short.stream_response([["word " * 200, None]]))
    with pytest.raises(ConfigError, match=r"no field 'lm\.dim'"):
        SPHINX_V_Model.from_pretrained(golden, device="cpu", overrides={"lm.dim": 3})


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", torch.int8])
def test_a_type_that_weights_cannot_have_is_refused(golden, dtype):
    with pytest.raises(UsageError, match=rf"dtype is {dtype!r}; pass a floating torch\.dtype"):
        SPHINX_V_Model.from_pretrained(golden, device="cpu", dtype=dtype)


@pytest.mark.parametrize(
    "change, part",
    [
        ({"max_gen_len": 0}, "max_gen_len is 0"),
        ({"temperature": -1.0}, "temperature is -1.0"),
        ({"top_p": 2.0}, "top_p is 2.0"),
        ({"turns": [["", None]]}, "no question"),
        ({"turns": []}, "conversation is empty"),
        ({"turns": [["q", "a"]]}, "has its answer already"),
        ({"prompts": [[5000, 5000]]}, "wholly outside"),
        ({"prompts": [[1, 1]] * 11}, "11 prompts given"),
        ({"prompts": [[float("nan"), 1]]}, "finite"),
        ({"image": None}, "without a picture"),
        ({"turns": [["word " * 900, None]]}, "context is 2048"),
        ({"turns": None}, "turns is None"),
        ({"turns": 5}, "turns is 5"),
        ({"turns": "What?"}, "turns is 'What"),
        ({"temperature": "hot"}, "temperature is 'hot'"),
        ({"top_p": None}, "top_p is None"),
        ({"seed": 0.5}, "seed is 0.5"),
        ({"max_gen_len": "8"}, "max_gen_len is '8'"),
    ],
)
def test_wrong_arguments_are_refused_before_the_first_piece(model, question, picture, change, part):
    arguments = {"turns": [[question, None]], "prompts": [[5, 5]], "image": picture, **change}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PromptWarning)
        with pytest.raises(UsageError, match=part):
            model.stream_response(**arguments)


def test_warnings_point_to_the_caller_and_name_the_request_of_a_batch(model, picture):
    odd, whole = [["What is <Region 4>?", None]], [["What is <Region 1>?", None]]
    marks = [[1, 2, 30, 40]]
    calls = {
        "stream": lambda: list(model.stream_response(odd, marks, picture, max_gen_len=1)),
        "response": lambda: model.generate_response(odd, marks, picture, max_gen_len=1),
        "texts": lambda: model.generate_batch([Request(whole, marks, picture, 1), Request(odd, marks, picture, 1)]),
        "answers": lambda: model.answer_batch([Request(whole, marks, picture, 1), Request(odd, marks, picture, 1)]),
        "score": lambda: model.score(odd, ["no"], marks, picture),
    }
    for name, call in calls.items():
        with pytest.warns(PromptWarning) as caught:
            call()
        (one,) = caught
        assert one.filename == __file__, name
        number = "request 2: " if name in ("texts", "answers") else ""
        assert str(one.message) == f"{number}the question names <Region 4>, but 1 prompts are given."


def test_other_wrong_calls(model, question, golden):
    inputs = model.processor(turns=[[question, None]])
    with pytest.raises(UsageError, match="one row, got 2"):
        model.logits(type(inputs).stack([inputs, inputs]))
    with pytest.raises(UsageError, match="batch is empty"):
        model.generate_batch([])
    with pytest.raises(UsageError, match="max_rows is 0"):
        model.generate_batch([Request([[question, None]])], max_rows=0)
    with pytest.raises(UsageError, match="max_rows is '8'; give a whole number"):
        model.generate_batch([Request([[question, None]])], max_rows="8")
    with pytest.raises(UsageError, match="requests is a Request; give a list"):
        model.generate_batch(Request([[question, None]]))
    with pytest.raises(UsageError, match=r"request 2 is 'What\?'; give Request"):
        model.generate_batch([Request([[question, None]]), "What?"])
    with pytest.raises(UsageError, match="tensor_parallel is 2, but 1 process runs"):
        SPHINX_V_Model.from_pretrained(golden, device="cpu", tensor_parallel=2)
    with pytest.raises(UsageError, match="cpu, cuda"):
        SPHINX_V_Model.from_pretrained(golden, device="toaster")


@pytest.mark.parametrize(
    "change, part",
    [
        ({"turns": 5}, "turns is 5"),
        ({"turns": []}, "conversation is empty"),
        ({"prompts": [[1, 2, 3]]}, "prompt 1"),
        ({"stops": "###"}, "stops is '###'; give a list of texts"),
        ({"temperature": "hot"}, "temperature is 'hot'"),
        ({"max_gen_len": 0}, "max_gen_len is 0"),
    ],
)
def test_a_wrong_request_is_refused_where_it_is_made(change, part):
    with pytest.raises(UsageError, match=part):
        Request(**{"turns": [["Why?", None]], **change})


def test_turns_and_prompts_may_come_from_generators(model, question, picture):
    turns, prompts = [["Who?", "A cat."], [question, None]], [[5, 5], [9, 9]]

    def options():
        return {"turns": (turn for turn in turns), "prompts": (mark for mark in prompts), "image": picture}

    expected = model.generate_response(turns, prompts, picture, 6, 0.0)
    assert model.generate_response(**options(), max_gen_len=6, temperature=0.0) == expected
    request = Request(**options(), max_gen_len=6, temperature=0.0)
    assert model.generate_batch(request for _ in range(2)) == [expected, expected]


def test_logits_of_more_than_the_context_are_refused(model, picture):
    visual, limit = model.config.visual_length, model.config.llm.max_seq_len
    inputs = model.processor(picture, None, [["word " * 900, None]])
    length = inputs.token_ids.shape[1]
    with pytest.raises(
        UsageError, match=rf"takes {length} tokens .* {visual}, .* is {limit}\. .* {length + visual - limit} "
    ):
        model.logits(inputs)
    fitting = type(inputs)(torch.ones(1, limit, dtype=torch.int64), torch.tensor([limit]))
    assert model.logits(fitting).shape[0] == limit
    with pytest.raises(UsageError, match=rf"takes {limit + 1} tokens"):
        model.logits(type(inputs)(torch.ones(1, limit + 1, dtype=torch.int64), torch.tensor([limit + 1])))


def test_threads_that_ask_first_share_one_engine(model):
    several = SPHINX_V_Model(model.model, model.tokenizer)
    seen, all_there = [], threading.Barrier(8)

    def ask():
        all_there.wait()
        seen.append(several.engine)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 8
    assert set(seen) == {several.engine}


def test_the_memory_of_an_engine_is_back_when_another_takes_its_place(model):
    replaced = SPHINX_V_Model(model.model, model.tokenizer)
    replaced.engine.start()
    replaced.generate_batch([Request([["Hello?", None]], max_gen_len=2)])
    replaced.engine.stop()
    cache = weakref.ref(replaced.engine.rows.cache)
    gc.disable()  # which comes at some time, and the new cache is planned now
    try:
        replaced.make_engine()
        assert cache() is None
    finally:
        gc.enable()


def test_a_tokenizer_of_another_model_is_refused(golden):
    config = load_model(golden).config
    small = config.model_copy(update={"llm": config.llm.model_copy(update={"vocab_size": 100})})
    with torch.device("meta"):
        from SPHINX_V.model.sphinx_v import SphinxV

        model = SphinxV(small)
    with pytest.raises((UsageError, ConfigError), match="768 pieces, the model 100"):
        SPHINX_V_Model(model, Tokenizer.from_file(golden / "tokenizer.model"))
