"""Rows over the cache compute what a full pass computes: ragged, after kept prompts, in whatever order."""

import pytest
import torch

from SPHINX_V.errors import UsageError
from SPHINX_V.generation.cache import RowCache, local_kv_heads
from SPHINX_V.generation.options import EngineOptions
from SPHINX_V.generation.prefix import PromptKey
from SPHINX_V.generation.prompt import prepare
from SPHINX_V.generation.rows import Rows
from SPHINX_V.weights.load import load_model

TOLERANCE = 1e-5
STEPS = 6


@pytest.fixture
def rows(golden_model):
    return Rows(golden_model, EngineOptions(max_rows=3))


@pytest.fixture(scope="module")
def questions(golden, golden_facts, golden_processor):
    """Name → (inputs of the full pass, prepared prompt)."""
    boxes, points = golden_facts["boxes_xywh_px"], golden_facts["portrait"]["points_px"]
    asked = {
        "boxes": (golden / "image.png", boxes, [["What is <Region 2>? " * 4, None]]),
        "points": (golden / "portrait.png", points, [["Why?", None]]),
        "no marks": (golden / "image.png", None, [["What", "this"], ["and that?", None]]),
        "other text": (golden / "image.png", boxes, [["What is <Region 1>?", None]]),
        "other marks": (golden / "image.png", boxes[:1], [["What is <Region 1>?", None]]),
        "text only": (None, None, [["Hello?", None]]),
    }
    return {
        name: (golden_processor(*question), prepare(golden_processor, golden_processor.question(*question), 2048))
        for name, question in asked.items()
    }


def full_pass(model, inputs, forced=()):
    """The last logits after the prompt and each forced token, by running all of it again."""
    embeddings = torch.cat([model.embed(inputs), model.llm.tok_embeddings(torch.tensor([list(forced)]).long())], dim=1)
    return model.llm.output(model.hidden(embeddings))[0, -1 - len(forced) :]


@torch.inference_mode()
def fill(rows, row, prompt):
    logits, (start,) = rows.fill(row, [prompt], rows.encode([prompt]))
    return logits, start


@torch.inference_mode()
def test_prompts_that_are_filled_together_equal_full_passes(golden_model, rows, questions):
    """With a picture and without, from the start and after what is kept: each looks at its own row only."""
    fill(rows, 0, questions["boxes"][1])
    chosen = [questions[name] for name in ("other marks", "text only", "points")]
    prompts = [prompt for _, prompt in chosen]
    logits, starts = rows.fill(0, prompts, rows.encode(prompts))
    assert starts[0] > 1
    assert starts[1:] == [0, 0]
    for row, (inputs, prompt) in enumerate(chosen):
        assert (logits[row] - full_pass(golden_model, inputs)[0]).abs().max() < TOLERANCE
        assert torch.equal(fill(rows, row, prompt)[0].argmax(), logits[row].argmax()), "its keys and values are its own"


def test_prompts_are_filled_together_while_they_are_short_and_share_little(golden_model, questions):
    keys = {name: prompt.key for name, (_, prompt) in questions.items()}
    rows = Rows(golden_model, EngineOptions(max_rows=3))
    text, boxes, same = keys["text only"], keys["boxes"], keys["other marks"]
    many = [PromptKey((1, number, *range(200))) for number in range(5, 9)]
    assert rows.at_once([boxes, same]) == 1, "the picture is computed once, for the first"
    assert rows.at_once([text, PromptKey((*text.ids[:-1], 5))]) == 2, "a few words are not worth a round"
    assert rows.at_once(many) == 2, "512 positions"
    assert rows.at_once([PromptKey((1, *range(600))), text]) == 1
    assert rows.at_once([many[0], many[0]]) == 1, "the same again waits for what the first one computes"
    assert Rows(golden_model, EngineOptions(max_rows=3, prefix_bytes=0)).at_once([many[0], many[0]]) == 2


@torch.inference_mode()
def test_a_ragged_batch_equals_full_passes(golden_model, rows, questions):
    chosen = [questions[name] for name in ("boxes", "text only", "points")]
    forced = torch.randint(3, 768, (3, STEPS), generator=torch.Generator().manual_seed(1)).tolist()
    found = [[fill(rows, row, prompt)[0][0]] for row, (_, prompt) in enumerate(chosen)]
    lengths = [len(prompt.key) for _, prompt in chosen]
    assert len(set(lengths)) == 3
    for step in range(STEPS):
        logits = rows.step([ids[step] for ids in forced], lengths)
        lengths = [length + 1 for length in lengths]
        for row in range(3):
            found[row].append(logits[row])
    for (inputs, _), ids, logits in zip(chosen, forced, found, strict=True):
        assert (torch.stack(logits) - full_pass(golden_model, inputs, ids)).abs().max() < TOLERANCE


@pytest.mark.parametrize(
    "before, now, kept",
    [
        ("boxes", "boxes", "all but the last"),
        ("boxes", "other text", "picture and marks"),
        ("boxes", "other marks", "picture"),
        ("boxes", "points", "nothing"),
        ("text only", "boxes", "nothing"),
    ],
)
def test_what_is_kept_of_a_prompt_is_not_computed_again_and_changes_nothing(
    golden_model, rows, questions, before, now, kept
):
    fill(rows, 0, questions[before][1])
    inputs, prompt = questions[now]
    misses = rows.picture_misses
    logits, start = fill(rows, 1, prompt)
    assert (logits[0] - full_pass(golden_model, inputs)[-1]).abs().max() < TOLERANCE
    config = golden_model.config
    least, most = {
        "all but the last": (len(prompt.key) - 1,) * 2,
        "picture and marks": (config.visual_length + 20, len(prompt.key) - 2),
        "picture": (1 + config.image_length,) * 2,
        "nothing": (0, 0),
    }[kept]
    assert least <= start <= most
    assert (rows.picture_misses > misses) == (kept == "nothing")


def test_the_same_picture_is_encoded_once_also_where_no_prompt_is_kept(golden_model, questions):
    rows = Rows(golden_model, EngineOptions(max_rows=1, prefix_bytes=0))
    first, again = (fill(rows, 0, questions["boxes"][1])[0] for _ in range(2))
    assert torch.equal(first, again)
    assert (rows.picture_hits, rows.picture_misses) == (1, 1)


def test_without_any_memory_to_keep_things_answers_are_the_same(golden_model, rows, questions):
    bare = Rows(golden_model, EngineOptions(max_rows=1, prefix_bytes=0, picture_bytes=0))
    for name in ("boxes", "boxes", "other marks"):
        assert torch.equal(fill(bare, 0, questions[name][1])[0], fill(bare, 0, questions[name][1])[0])
        assert (fill(bare, 0, questions[name][1])[0] - fill(rows, 0, questions[name][1])[0]).abs().max() < TOLERANCE
    assert bare.prefixes.bytes == bare.pictures.bytes == 0


@torch.inference_mode()
def test_a_row_that_moves_goes_on_as_before(golden_model, rows, questions):
    inputs, prompt = questions["points"]
    fill(rows, 2, prompt)
    rows.cache.move(2, 0, len(prompt.key))
    assert (rows.step([9], [len(prompt.key)])[0] - full_pass(golden_model, inputs, [9])[-1]).abs().max() < TOLERANCE


@torch.inference_mode()
def test_tokens_that_follow_in_one_go_equal_a_full_pass(golden_model, rows, questions):
    inputs, prompt = questions["boxes"]
    fill(rows, 0, prompt)
    found = rows.follow(0, len(prompt.key), [9, 8, 7])
    assert (found - full_pass(golden_model, inputs, [9, 8, 7])[1:]).abs().max() < TOLERANCE


def test_rows_longer_than_the_model_s_context_are_refused(golden_model):
    assert Rows(golden_model, EngineOptions(max_rows=1, max_len=2048)).length == 2048
    with pytest.raises(UsageError, match=r"max_len is 2049; the model's context is 2048.*max_seq_len.: 2049"):
        Rows(golden_model, EngineOptions(max_rows=1, max_len=2049))


def test_the_cache_has_the_shapes_of_the_model(golden_model):
    llm = golden_model.config.llm
    cache = RowCache(golden_model, 3, 50, torch.float32, torch.device("cpu"))
    assert cache.bytes == 2 * llm.n_layers * 3 * llm.kv_heads * 50 * llm.head_dim * 4
    assert local_kv_heads(golden_model) == llm.kv_heads < llm.n_heads, "the golden has grouped heads"


@torch.inference_mode()
def test_layers_that_are_watched_are_called(golden, golden_processor):
    """A hook that was there when the engine was made sees every pass; the numbers stay the same."""
    model = load_model(golden, dtype=torch.float32).model.eval()
    prompt = prepare(golden_processor, golden_processor.question(turns=[["Hello?", None]]), 2048)
    expected, _ = fill(Rows(model, EngineOptions(max_rows=1)), 0, prompt)
    seen = []
    watched = ["output", "layers.0.attention.wk", "layers.1.feed_forward.w2"]
    for name in watched:
        model.llm.get_submodule(name).register_forward_hook(lambda *_, name=name: seen.append(name))
    rows = Rows(model, EngineOptions(max_rows=1))
    found, _ = fill(rows, 0, prompt)
    rows.step([9], [len(prompt.key)])
    assert sorted(seen) == sorted(2 * watched)
    assert (found - expected).abs().max() < TOLERANCE


@pytest.mark.parametrize(
    "free, prefixes, rows",
    [
        (100 * 2**20, 2**20, 64),  # one conversation; the rows have more than enough
        (2 * 2**20, 2**19, 1),  # a quarter of what is free, and one row beside it
        (None, 0, 64),
    ],
)
def test_kept_prompts_have_room_for_one_conversation_on_a_cpu(golden_model, monkeypatch, free, prefixes, rows):
    """A conversation of the golden takes 1 MiB."""
    monkeypatch.setattr("SPHINX_V.generation.rows._LEAST_PREFIXES", 0)
    monkeypatch.setattr("SPHINX_V.generation.rows._free_bytes", lambda device: free)
    planned = Rows(golden_model, EngineOptions())
    assert (planned.prefixes.limit, planned.count) == (prefixes, rows)
    if free == 2 * 2**20:
        assert Rows(golden_model, EngineOptions(prefix_bytes=0)).count == 2, "what is asked for is counted"
