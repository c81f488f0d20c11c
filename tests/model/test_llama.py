"""The language model's own promises: the rotary convention, causality, and what a cache may show."""

import math

import pytest
import torch

from SPHINX_V.config import LlamaConfig
from SPHINX_V.model.llama import Attention, Llama, RMSNorm, rotary_angles, rotate


def noise(*shape, seed=3):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def model():
    config = LlamaConfig(dim=32, n_layers=2, n_heads=4, n_kv_heads=2, vocab_size=29, multiple_of=8)
    llama = Llama(config)
    with torch.no_grad():
        for index, parameter in enumerate(llama.parameters()):
            parameter.copy_(noise(*parameter.shape, seed=index) / parameter.shape[-1] ** 0.5)
            if parameter.ndim == 1:
                parameter.fill_(1.0)
    return llama.eval().requires_grad_(False)


class GrowingCache:
    """The plainest cache: everything so far."""

    def __init__(self):
        self.keys = self.values = None

    def append(self, keys, values):
        self.keys = keys if self.keys is None else torch.cat([self.keys, keys], 2)
        self.values = values if self.values is None else torch.cat([self.values, values], 2)
        return self.keys, self.values


def test_rope_rotates_neighbouring_channels():
    """Interleaved, as Meta's weights need it: channels (0, 1) and (2, 3) are pairs, not (0, 2) and (1, 3)."""
    x = torch.tensor([1.0, 2.0, 3.0, 4.0]).expand(1, 1, 3, 4)
    cos, sin = rotary_angles(torch.tensor([0, 1, 7]), head_dim=4, theta=100.0)
    turned = rotate(x, cos, sin)
    for row, position in enumerate((0, 1, 7)):
        fast, slow = position * 1.0, position * 0.1  # 100 ** (-0 / 4) and 100 ** (-2 / 4)
        expected = [
            1 * math.cos(fast) - 2 * math.sin(fast),
            1 * math.sin(fast) + 2 * math.cos(fast),
            3 * math.cos(slow) - 4 * math.sin(slow),
            3 * math.sin(slow) + 4 * math.cos(slow),
        ]
        assert turned[0, 0, row].tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rope_rotates_the_same_way_compiled(dtype):
    """The compiler is given real numbers, eager execution complex ones."""
    x = noise(2, 5, 3, 8).to(dtype).transpose(1, 2)  # heads as attention has them: a view
    angles = rotary_angles(torch.arange(5), head_dim=8, theta=100.0)
    turned, compiled = [], torch.compile(rotate, backend="eager", fullgraph=True)
    for way in (rotate, compiled):
        leaf = x.detach().requires_grad_()
        result = way(leaf, *angles)
        result.backward(noise(2, 3, 5, 8).to(dtype))
        turned.append((result, leaf.grad))
    assert result.dtype == dtype
    # Float32 rounds products and sums of order one; the same sums round to neighbours in bfloat16 at most.
    tolerance = 1e-6 if dtype == torch.float32 else 2**-6
    for one, other in zip(*turned):
        assert (one - other).abs().max().item() <= tolerance


def test_rope_of_bfloat16_heads_is_computed_in_float32():
    cos, sin = rotary_angles(torch.tensor([3000]), head_dim=64, theta=10000.0)
    assert cos.dtype == torch.float32
    assert cos.shape == (1, 1, 32)
    x = noise(1, 2, 1, 64).bfloat16()
    assert torch.equal(rotate(x, cos, sin), rotate(x.float(), cos, sin).bfloat16())


def test_attention_depends_on_the_distance_of_positions_only(model):
    embeddings = noise(1, 6, 32)
    shifted = model(embeddings, positions=torch.arange(100, 106))
    assert torch.allclose(model(embeddings), shifted, atol=1e-5)
    stretched = model(embeddings, positions=torch.arange(6) * 3)
    assert (stretched - shifted).abs().max() > 1e-2


def test_future_tokens_do_not_change_past_outputs(model):
    embeddings = noise(2, 12, 32)
    changed = embeddings.clone()
    changed[:, 7:] = noise(2, 5, 32, seed=9)
    before, after = model(embeddings), model(changed)
    assert torch.equal(before[:, :7], after[:, :7])
    assert (before[:, 7:] - after[:, 7:]).abs().amin(-1).max() > 1e-3
    moved = embeddings.clone()
    moved[:, 0] += 1.0
    assert ((model(moved) - before).abs().amax(-1) > 1e-4).all(), "every later position sees the first one"


def test_padding_on_the_right_does_not_change_earlier_outputs(model):
    embeddings = noise(1, 9, 32)
    padded = torch.cat([embeddings, torch.full((1, 4, 32), 50.0)], 1)
    assert torch.allclose(model(padded)[:, :9], model(embeddings), atol=1e-6)


def test_positions_may_differ_between_rows(model):
    embeddings = noise(2, 5, 32)
    rows = torch.stack([torch.arange(5), torch.arange(5) * 2])
    together = model(embeddings, positions=rows)
    for row in (0, 1):
        assert torch.allclose(together[row : row + 1], model(embeddings[row : row + 1], positions=rows[row]), atol=1e-6)


def test_one_token_after_a_cache_sees_all_cached_tokens(model):
    """Token by token through a cache equals the whole at once, with or without a mask."""
    embeddings = noise(1, 8, 32)
    whole = model(embeddings)
    caches = [GrowingCache() for _ in model.layers]
    steps = [model(embeddings[:, :5], caches=caches)]
    for place in (5, 6, 7):
        mask = torch.ones(1, 1, 1, place + 1, dtype=torch.bool) if place == 6 else None
        step = model(embeddings[:, place : place + 1], torch.tensor([place]), mask, caches)
        steps.append(step)
    assert torch.allclose(torch.cat(steps, 1), whole, atol=1e-5)


def test_several_tokens_after_a_cache_need_a_mask(model):
    embeddings = noise(1, 8, 32)
    caches = [GrowingCache() for _ in model.layers]
    model(embeddings[:, :5], caches=caches)
    with pytest.raises(AssertionError, match="need a mask"):
        model(embeddings[:, 5:], torch.arange(5, 8), None, caches)
    caches = [GrowingCache() for _ in model.layers]
    model(embeddings[:, :5], caches=caches)
    allowed = torch.ones(3, 8, dtype=torch.bool).tril(5).expand(1, 1, 3, 8)
    step = model(embeddings[:, 5:], torch.arange(5, 8), allowed, caches)
    assert torch.allclose(step, model(embeddings)[:, 5:], atol=1e-5)


def test_grouped_heads_share_keys_in_neighbouring_groups():
    """Four query heads on two key heads: heads 0, 1 read the first, heads 2, 3 the second."""
    grouped = Attention(LlamaConfig(dim=16, n_layers=1, n_heads=4, n_kv_heads=2, vocab_size=5))
    full = Attention(LlamaConfig(dim=16, n_layers=1, n_heads=4, vocab_size=5))
    full.load_state_dict(
        {
            name: tensor.unflatten(0, (2, 4)).repeat_interleave(2, 0).flatten(0, 1)
            if name[:2] in ("wk", "wv")
            else tensor
            for name, tensor in grouped.state_dict().items()
        }
    )
    x, angles = noise(1, 6, 16), rotary_angles(torch.arange(6), 4, 10000.0)
    with torch.no_grad():
        assert torch.allclose(grouped(x, *angles), full(x, *angles), atol=1e-6)


def test_rms_norm_is_computed_in_float32_and_returns_the_input_dtype():
    norm = RMSNorm(4, eps=1e-5).bfloat16()
    x = torch.tensor([[300.0, -300.0, 300.0, 300.0]], dtype=torch.bfloat16)
    assert norm(x).dtype == torch.bfloat16
    assert norm(x).tolist() == [[1.0, -1.0, 1.0, 1.0]]
    half = RMSNorm(4, eps=1e-5).half()
    # 300² is beyond float16.
    assert half(x.half()).tolist() == [[1.0, -1.0, 1.0, 1.0]]


def test_rms_norm_adds_epsilon_under_the_root():
    norm = RMSNorm(2, eps=0.75)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([1.0, 3.0]))
    # mean of squares 0.25, plus 0.75, is 1: the root divides by 1.
    assert norm(torch.tensor([0.5, 0.5])).tolist() == [0.5, 1.5]
