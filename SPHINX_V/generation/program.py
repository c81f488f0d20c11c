"""The language model as decoding runs it: projections that share an input are one product, keys and values go straight
into a static cache; the numbers are those of `model.llama`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from SPHINX_V.generation.cache import RowCache, Span
from SPHINX_V.generation.products import Product, added_product, product
from SPHINX_V.model.llama import Block, Llama, rotary_angles
from SPHINX_V.model.lowbit import LowBitLinear


def _watched(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks)


def _is_plain(module: nn.Module) -> bool:
    """True for a linear layer whose weight is an ordinary tensor, neither split over processes nor quantised, and which
    nobody watches by a hook."""
    return (
        type(module) is nn.Linear
        and module.bias is None
        and type(module.weight.data) is Tensor
        and not _watched(module)
    )


def _together(*modules: nn.Module) -> Product:
    """The outputs of linear layers of one input, side by side. Where it can be, as one product: the layers' weights
    then become parts of one tensor, so that there is no second copy of them."""
    if len(modules) == 1 and not _is_plain(modules[0]):
        return modules[0]
    weights = [module.weight for module in modules if _is_plain(module) and isinstance(module.weight, nn.Parameter)]
    if len(weights) == len(modules):
        return product(_side_by_side(weights, 0))
    low = [module for module in modules if isinstance(module, LowBitLinear) and not _watched(module)]
    if len(low) == len(modules) and len({(layer.precision, layer.order) for layer in low}) == 1:
        precision, order = low[0].precision, low[0].order
        if order != "cpu":  # in that order outputs lie in blocks, of sizes that depend on their number
            codes = _side_by_side([layer.codes for layer in low], 0)
            return LowBitLinear.over(
                precision,
                order,
                codes,
                _side_by_side([layer.scales for layer in low], -2 if precision == "int4" else 0),
            )
    return lambda x: torch.cat([module(x) for module in modules], dim=-1)


def _side_by_side(parts: Sequence[Tensor], dim: int) -> Tensor:
    """One tensor of the parts along `dim`, of which they are views from now on, or already were."""
    first = parts[0]
    offset = first.storage_offset()
    for part in parts:
        same = part.untyped_storage().data_ptr() == first.untyped_storage().data_ptr()
        if not same or part.storage_offset() != offset or part.stride() != first.stride():
            break
        offset += part.shape[dim] * part.stride(dim)
    else:
        shape = list(first.shape)
        shape[dim] = sum(part.shape[dim] for part in parts)
        return first.data.as_strided(shape, first.stride(), first.storage_offset())
    joined = torch.cat([part.data for part in parts], dim)
    for part, place in zip(parts, joined.split([part.shape[dim] for part in parts], dim)):
        part.data = place
    return joined


def _added(module: nn.Module) -> Callable[[Tensor, Tensor], Tensor]:
    """(x, y) → x + module(y), in one kernel where the weight is an ordinary tensor."""
    if _is_plain(module) and isinstance(module.weight, nn.Parameter):
        return added_product(module.weight.data)
    if isinstance(module, LowBitLinear) and not _watched(module):
        return module.added_to
    return lambda x, y: x + module(y)


class _Layer:
    """One block, on tokens [N, D] of all rows together."""

    def __init__(self, block: Block) -> None:
        attention, feed_forward = block.attention, block.feed_forward
        self.attention_norm, self.ffn_norm = block.attention_norm, block.ffn_norm
        self.head_dim = attention.head_dim
        self.heads_in = _together(attention.wq, attention.wk, attention.wv)
        self.heads_out = _added(attention.wo)
        self.gate_and_up = _together(feed_forward.w1, feed_forward.w3)
        self.down = _added(feed_forward.w2)

    def __call__(self, x: Tensor, turn: Tensor, cache: RowCache, index: int, span: Span) -> Tensor:
        """x [rows · S, D] → the same; `turn` [rows · S, 1, head_dim / 2] complex."""
        heads = self.heads_in(_norm(x, self.attention_norm)).unflatten(-1, (-1, self.head_dim))
        queries = heads.shape[1] - 2 * cache.kv_heads
        _rotate(heads[:, : queries + cache.kv_heads], turn)
        mixed = cache.attend(index, heads[:, :queries], heads[:, queries:], span)
        x = self.heads_out(x, mixed)
        gate, up = self.gate_and_up(_norm(x, self.ffn_norm)).chunk(2, dim=-1)
        return self.down(x, functional.silu(gate).mul_(up))


def _norm(x: Tensor, norm: nn.Module) -> Tensor:
    """`model.llama.RMSNorm` in few kernels."""
    weight: Tensor = norm.weight  # type: ignore[assignment]
    eps: float = norm.eps  # type: ignore[assignment]
    if x.dtype == torch.float32:
        return functional.rms_norm(x, weight.shape, weight, eps)
    return functional.rms_norm(x, weight.shape, None, eps) * weight  # rounded before it is scaled, as in training


def _rotate(heads: Tensor, turn: Tensor) -> None:
    """Turns neighbouring channels of heads [N, H, head_dim], in place; `turn` as complex numbers."""
    if heads.dtype == torch.float32:
        torch.view_as_complex(heads.unflatten(-1, (-1, 2))).mul_(turn)
        return
    pairs = torch.view_as_complex(heads.float().unflatten(-1, (-1, 2)))
    heads.copy_(torch.view_as_real(pairs * turn).flatten(-2))


class Program:
    """`Llama` over a cache. Building it lays weights that are used together side by side in memory; the model's
    parameters become views of them and stay what they were."""

    @torch.no_grad()
    def __init__(self, llm: Llama) -> None:
        self._llm = llm
        self._layers = [_Layer(block) for block in llm.layers if isinstance(block, Block)]
        assert len(self._layers) == len(llm.layers)
        self._head = _together(llm.output)

    def embed(self, ids: Tensor) -> Tensor:
        """Ids [...] → [..., D]."""
        return self._llm.tok_embeddings(ids)

    def __call__(self, x: Tensor, cache: RowCache, span: Span) -> Tensor:
        """Embeddings [rows · S, D] of what `span` says → hidden states after the final norm, in the same form.

        Their keys and values are in the cache afterwards.
        """
        cos, sin = rotary_angles(span.positions, self._llm.config.head_dim, self._llm.config.rope_theta)
        turn = torch.complex(cos, sin).transpose(-3, -2)  # [N, 1, head_dim / 2], beside heads
        for index, layer in enumerate(self._layers):
            x = layer(x, turn, cache, index, span)
        return _norm(x, self._llm.norm)

    def logits(self, hidden: Tensor) -> Tensor:
        """[N, D] → [N, vocab]."""
        return self._head(hidden)
