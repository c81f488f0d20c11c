"""LLaMA-2 (arXiv 2307.09288): a causal transformer over embeddings, with Meta's interleaved rotary convention."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from SPHINX_V.config import LlamaConfig
from SPHINX_V.model.packing import Packing


class LayerCache(Protocol):
    """What attention needs of a key-value cache; the owner lives outside the model."""

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Stores new keys and values [B, kv_heads, S, head_dim] and returns all that queries may look at."""
        ...


class RMSNorm(nn.Module):
    """Root mean square norm, computed in float32, scaled in the input's dtype."""

    def __init__(self, dim: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        wide = x.float()
        normed = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.eps)
        return normed.type_as(x) * self.weight


def rotary_angles(positions: Tensor, head_dim: int, theta: float) -> tuple[Tensor, Tensor]:
    """Cosines and sines [..., 1, S, head_dim/2] in float32 for integer `positions` [..., S].

    Computed once per forward pass and shared by all layers, so the model carries no table of a maximal length.
    """
    exponents = torch.arange(0, head_dim, 2, device=positions.device, dtype=torch.float32) / head_dim
    angles = positions.float().unsqueeze(-1) * (1.0 / theta**exponents)
    return angles.cos().unsqueeze(-3), angles.sin().unsqueeze(-3)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotates neighbouring channels (0,1), (2,3), … of x [B, H, S, head_dim]; the *interleaved* convention.

    Meta's weights need it; transformers' half-split convention permutes wq and wk instead.
    """
    pairs = x.float().unflatten(-1, (-1, 2))
    if torch.compiler.is_compiling():
        even, odd = pairs.unbind(-1)
        turned = torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1)
    else:  # as complex numbers, in one kernel; the compiler has none for them, and makes one of the above itself
        turned = torch.view_as_real(torch.view_as_complex(pairs) * torch.complex(cos, sin))
    return turned.flatten(-2).type_as(x)


def over_tokens(module: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """`module`, which works on [tokens, D], on x [B, S, D] → [B, S, out].

    A linear layer does the same by itself. But where its weight is split (DTensor), so are then the views, and
    torch.compile fails on their gradient once lengths vary (torch 2.13: "maximum recursion depth exceeded").
    """
    return module(x.flatten(0, 1)).unflatten(0, x.shape[:2])


class Attention(nn.Module):
    """Causal self-attention with grouped key-value heads.

    Head counts are read from the projections' outputs, so the same code runs on a tensor-parallel shard.
    """

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.head_dim = config.head_dim
        kv_width = config.kv_heads * config.head_dim
        self.wq = nn.Linear(config.dim, config.dim, bias=False)
        self.wk = nn.Linear(config.dim, kv_width, bias=False)
        self.wv = nn.Linear(config.dim, kv_width, bias=False)
        self.wo = nn.Linear(config.dim, config.dim, bias=False)

    def _heads(self, projection: nn.Module, x: Tensor) -> Tensor:
        return over_tokens(projection, x).unflatten(-1, (-1, self.head_dim)).transpose(1, 2)

    def forward(
        self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor | Packing | None = None, cache: LayerCache | None = None
    ) -> Tensor:
        """x [B, S, D] → [B, S, D]. A mask [B, 1, S, keys] is True where allowed; a packing keeps the sequences of a row
        apart.

        Without `mask` attention is causal, and a single query sees every key that the cache returns.
        """
        queries = rotate(self._heads(self.wq, x), cos, sin)
        keys = rotate(self._heads(self.wk, x), cos, sin)
        values = self._heads(self.wv, x)
        if cache is not None:
            keys, values = cache.append(keys, values)
        if isinstance(mask, Packing):
            return over_tokens(self.wo, mask.attend(queries, keys, values).transpose(1, 2).flatten(2))
        several = True if queries.shape[2] > 1 else False  # noqa: SIM210 (compiled with any length it is no bool else)
        # PyTorch's causal mask starts at the first key, which is wrong for queries that follow cached ones.
        assert mask is not None or not several or queries.shape[2] == keys.shape[2], "queries after a cache need a mask"
        mixed = functional.scaled_dot_product_attention(
            queries,
            keys,
            values,
            attn_mask=mask,
            is_causal=mask is None and several,
            enable_gqa=queries.shape[1] != keys.shape[1],
        )
        return over_tokens(self.wo, mixed.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """SwiGLU: `w2(silu(w1 x) · w3 x)`."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.w1 = nn.Linear(config.dim, config.ffn_dim, bias=False)
        self.w2 = nn.Linear(config.ffn_dim, config.dim, bias=False)
        self.w3 = nn.Linear(config.dim, config.ffn_dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return over_tokens(lambda tokens: self.w2(functional.silu(self.w1(tokens)) * self.w3(tokens)), x)


class Block(nn.Module):
    """One pre-norm transformer layer."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(config.dim, config.norm_eps)
        self.attention = Attention(config)
        self.ffn_norm = RMSNorm(config.dim, config.norm_eps)
        self.feed_forward = FeedForward(config)

    def forward(
        self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor | Packing | None = None, cache: LayerCache | None = None
    ) -> Tensor:
        x = x + self.attention(self.attention_norm(x), cos, sin, mask, cache)
        return x + self.feed_forward(self.ffn_norm(x))


class Llama(nn.Module):
    """Token embeddings, layers, final norm and an untied output head."""

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__()
        self.config = config
        self.tok_embeddings = nn.Embedding(config.vocab_size, config.dim)
        self.layers = nn.ModuleList(Block(config) for _ in range(config.n_layers))
        self.norm = RMSNorm(config.dim, config.norm_eps)
        self.output = nn.Linear(config.dim, config.vocab_size, bias=False)

    def forward(
        self,
        embeddings: Tensor,
        positions: Tensor | None = None,
        mask: Tensor | Packing | None = None,
        caches: list[LayerCache] | None = None,
        taps: list[Tensor] | None = None,
    ) -> Tensor:
        """Hidden states [B, S, D] after the final norm.

        `embeddings` [B, S, D]; `positions` [S] or [B, S], by default 0 … S-1; `mask` [B, 1, S, keys] bool or a packing,
        by default causal; `caches` one per layer; `taps`, where given, receives every layer's output [B, S, D] before
        the norm.
        """
        if positions is None:
            positions = torch.arange(embeddings.shape[1], device=embeddings.device)
        cos, sin = rotary_angles(positions, self.config.head_dim, self.config.rope_theta)
        hidden = embeddings
        for index, layer in enumerate(self.layers):
            hidden = layer(hidden, cos, sin, mask, None if caches is None else caches[index])
            if taps is not None:
                taps.append(hidden)
        return self.norm(hidden)
