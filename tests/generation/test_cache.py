"""Decoding over the cache computes what a full pass computes, for rows of different lengths side by side."""

import pytest
import torch

from SPHINX_V.generation.cache import KeyValueCache
from SPHINX_V.generation.engine import decode_one, new_cache, prefill
from SPHINX_V.inputs import ModelInputs

TOLERANCE = 1e-5
STEPS = 6


@pytest.fixture(scope="module")
def ragged(golden, golden_facts, golden_processor):
    """Three questions of different lengths about two pictures, with marks of both kinds and without any."""
    first = golden_processor(golden / "image.png", golden_facts["boxes_xywh_px"], [["What is <Region 2>? " * 4, None]])
    second = golden_processor(golden / "portrait.png", golden_facts["portrait"]["points_px"], [["Why?", None]])
    third = golden_processor(golden / "image.png", None, [["What", "this"], ["and that?", None]])
    return [first, second, third]


def full_pass(model, inputs, forced):
    """Logits [B, 1 + STEPS, vocab] after each row's prompt and after each forced token, by running all of it again."""
    rows = []
    for row in range(inputs.batch_size):
        length = int(inputs.lengths[row])
        ids = torch.cat([inputs.token_ids[row, :length], forced[row]]).unsqueeze(0)
        slots = inputs.slots
        alone = ModelInputs(
            ids,
            torch.tensor([ids.shape[1]]),
            None if inputs.pixels is None else inputs.pixels[row : row + 1],
            None
            if slots is None
            else type(slots)(*(t[row : row + 1] for t in (slots.coords, slots.is_point, slots.valid))),
        )
        rows.append(model(alone)[0, length - 1 :])
    return torch.stack(rows)


def cached(model, inputs, forced):
    logits, state = prefill(model, inputs, room=STEPS)
    found = [logits, *(decode_one(model, state, forced[:, step]) for step in range(STEPS))]
    return torch.stack(found, dim=1)


def forced_tokens(rows):
    return torch.randint(3, 768, (rows, STEPS), generator=torch.Generator().manual_seed(1))


def test_decoding_equals_a_full_pass_in_a_ragged_batch(golden_model, ragged):
    inputs, forced = ModelInputs.stack(ragged), forced_tokens(3)
    assert len(set(inputs.lengths.tolist())) == 3
    assert (cached(golden_model, inputs, forced) - full_pass(golden_model, inputs, forced)).abs().max() < TOLERANCE


def test_decoding_equals_a_full_pass_without_a_picture(golden_model, golden_processor):
    rows = [golden_processor(turns=[[text, None]]) for text in ("Hello?", "A much longer question, is it not?")]
    inputs, forced = ModelInputs.stack(rows), forced_tokens(2)
    assert (cached(golden_model, inputs, forced) - full_pass(golden_model, inputs, forced)).abs().max() < TOLERANCE


def test_the_cache_is_allocated_once(golden_model, ragged):
    inputs, forced = ModelInputs.stack(ragged), forced_tokens(3)
    _, state = prefill(golden_model, inputs, room=STEPS)
    places = [(layer.keys.data_ptr(), layer.values.data_ptr()) for layer in state.cache._layers]
    for step in range(STEPS):
        decode_one(golden_model, state, forced[:, step])
    assert places == [(layer.keys.data_ptr(), layer.values.data_ptr()) for layer in state.cache._layers]
    visual = golden_model.config.visual_length
    assert state.cache.length == state.visible == visual + int(inputs.lengths.max()) + STEPS
    assert state.positions.squeeze(1).tolist() == (inputs.lengths + visual + STEPS).tolist()


def test_the_cache_has_the_shapes_of_the_model(golden_model):
    cache, llm = new_cache(golden_model, batch=3, length=50), golden_model.config.llm
    assert cache.bytes == 2 * llm.n_layers * 3 * llm.kv_heads * 50 * llm.head_dim * 4
    assert llm.kv_heads < llm.n_heads, "the golden has grouped heads, so this tells the two apart"


def test_rows_write_at_their_own_positions_and_see_no_padding():
    cache = KeyValueCache(1, 2, 1, 5, 2, torch.float32, torch.device("cpu"))
    prompt = torch.arange(12.0).reshape(2, 1, 3, 2)
    keys, values = cache.from_start()[0].append(prompt, -prompt)
    assert torch.equal(keys, prompt)
    assert torch.equal(values, -prompt)
    positions = torch.tensor([[3], [1]])  # row 1 had one token and two of padding
    new = torch.full((2, 1, 1, 2), 99.0)
    keys, _ = cache.at(positions, 4)[0].append(new, new)
    assert keys.shape == (2, 1, 4, 2)
    assert keys[0, 0, :, 0].tolist() == [0, 2, 4, 99]
    assert keys[1, 0, :2, 0].tolist() == [6, 99]
    assert cache.mask(positions, 4).squeeze().tolist() == [[True] * 4, [True, True, False, False]]
