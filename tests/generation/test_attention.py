"""One query per row over keys in bfloat16: converted part by part, and as exact as float32."""

import pytest
import torch
from torch.nn import functional

from SPHINX_V.generation import attention as module
from SPHINX_V.generation.attention import Attention


def drawn(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape))).bfloat16()


@pytest.mark.parametrize("at_once", [1, 2 * 20 * 8 * 3, 2 * 20 * 8 * 12, 2**30])
@pytest.mark.parametrize(("heads", "kv_heads"), [(6, 6), (6, 2), (5, 5)])
def test_parts_of_any_size_give_what_float32_gives(monkeypatch, heads, kv_heads, at_once):
    monkeypatch.setattr(module, "_AT_ONCE", at_once)
    queries, keys, values = drawn(3, heads, 1, 8), drawn(3, kv_heads, 20, 8), drawn(3, kv_heads, 20, 8)
    mask = torch.zeros(3, 1, 1, 20, dtype=torch.bfloat16)
    mask[1, ..., 7:] = mask[2, ..., 1:] = float("-inf")
    repeated = [part.repeat_interleave(heads // kv_heads, 1).float() for part in (keys, values)]
    for one in (mask, None):
        added = None if one is None else one.float()
        expected = functional.scaled_dot_product_attention(queries.float(), *repeated, attn_mask=added)
        found = Attention(queries.dtype, queries.device)(queries, keys, values, one, causal=False)
        assert found.dtype == torch.bfloat16
        torch.testing.assert_close(found, expected.bfloat16())


def test_prompts_and_float32_go_to_torch():
    queries, keys, values = (drawn(1, 2, 5, 8) for _ in range(3))
    expected = functional.scaled_dot_product_attention(queries, keys, values, is_causal=True)
    assert torch.equal(Attention(queries.dtype, queries.device)(queries, keys, values, None, causal=True), expected)
    queries, keys, values = (each.float() for each in (queries[:, :, :1], keys, values))
    expected = functional.scaled_dot_product_attention(queries, keys, values)
    assert torch.equal(Attention(queries.dtype, queries.device)(queries, keys, values, None, causal=False), expected)
