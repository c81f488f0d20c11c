"""Random initialisation: the same for every order and subset, finite, and of a sensible scale."""

import pytest
import torch

from SPHINX_V.config import tiny
from SPHINX_V.model.init import initialise
from SPHINX_V.model.sphinx_v import SphinxV


def fresh(seed, names=None):
    with torch.device("meta"):
        model = SphinxV(tiny())
    model.to_empty(device="cpu")
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            tensor.fill_(float("nan"))  # what is left out shows
    initialise(model, seed, names)
    return model.state_dict()


@pytest.fixture(scope="module")
def state():
    return fresh(7)


def test_every_tensor_is_filled(state):
    assert [name for name, tensor in state.items() if not tensor.isfinite().all()] == []


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(state):
    again, other = fresh(7), fresh(8)
    assert all(torch.equal(state[name], again[name]) for name in state)
    drawn = [name for name, tensor in state.items() if tensor.std() > 0]
    assert len(drawn) > len(state) / 3
    assert not any(torch.equal(state[name], other[name]) for name in drawn)


def test_a_subset_is_initialised_alike_and_leaves_the_rest_alone(state):
    names = ["prompt_encoder.up.weight", "start_vp", "llm.output.weight"]
    part = fresh(7, names[::-1])
    assert all(torch.equal(part[name], state[name]) for name in names)
    assert all(tensor.isnan().all() for name, tensor in part.items() if name not in names)


def test_norms_start_at_one_and_biases_at_zero(state):
    model = SphinxV(tiny())
    for name, module in model.named_modules():
        if type(module).__name__ in ("LayerNorm", "RMSNorm", "ChannelNorm", "GroupNorm"):
            assert (state[f"{name}.weight"] == 1).all(), name
    assert all((tensor == 0).all() for name, tensor in state.items() if name.endswith(".bias"))


def test_equal_shapes_do_not_share_weights(state):
    first, second = (state[f"llm.layers.{index}.attention.wq.weight"] for index in (0, 1))
    assert (first - second).abs().max() > 0.1
    assert first.std().item() == pytest.approx(128**-0.5, rel=0.05)


def test_attention_starts_by_looking_at_what_is_alike_and_saying_it(state):
    for layer in range(4):
        query, key, value, output = (
            state[f"llm.layers.{layer}.attention.{name}.weight"] for name in ("wq", "wk", "wv", "wo")
        )
        assert torch.equal(key, query)
        assert torch.equal(output, value.T)
        assert not torch.allclose(value, query)
