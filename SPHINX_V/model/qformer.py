"""BLIP-2's Q-Former (arXiv 2301.12597, section 3.1), query side: learned queries that read a picture's tokens."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from SPHINX_V.config import QFormerConfig


class Attention(nn.Module):
    """Multi-head attention, output projection, residual and LayerNorm after it (BERT's order)."""

    def __init__(self, config: QFormerConfig, context_width: int) -> None:
        super().__init__()
        self.heads = config.heads
        self.query = nn.Linear(config.width, config.width)
        self.key = nn.Linear(context_width, config.width)
        self.value = nn.Linear(context_width, config.width)
        self.dense = nn.Linear(config.width, config.width)
        self.norm = nn.LayerNorm(config.width, eps=config.norm_eps)

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        mixed = functional.scaled_dot_product_attention(
            self._heads(self.query(x)), self._heads(self.key(context)), self._heads(self.value(context))
        )
        return self.norm(self.dense(mixed.transpose(1, 2).flatten(2)) + x)


class Layer(nn.Module):
    """Self-attention, cross-attention in every n-th layer, the queries' own feed-forward; all post-norm."""

    def __init__(self, config: QFormerConfig, context_width: int, reads_picture: bool) -> None:
        super().__init__()
        self.attention = Attention(config, config.width)
        self.crossattention = Attention(config, context_width) if reads_picture else None
        self.fc1 = nn.Linear(config.width, config.mlp_width)
        self.fc2 = nn.Linear(config.mlp_width, config.width)
        self.norm = nn.LayerNorm(config.width, eps=config.norm_eps)

    def forward(self, x: Tensor, picture: Tensor) -> Tensor:
        x = self.attention(x, x)
        if self.crossattention is not None:
            x = self.crossattention(x, picture)
        return self.norm(self.fc2(functional.gelu(self.fc1(x))) + x)


class QFormer(nn.Module):
    """Picture tokens [B, N, context_width] → query tokens [B, Q, width]. No position embedding, no dropout."""

    def __init__(self, config: QFormerConfig, context_width: int) -> None:
        super().__init__()
        self.query_tokens = nn.Parameter(torch.zeros(1, config.num_query_tokens, config.width))
        self.norm = nn.LayerNorm(config.width, eps=config.norm_eps)
        self.layers = nn.ModuleList(
            Layer(config, context_width, index % config.cross_attention_frequency == 0)
            for index in range(config.layers)
        )

    def forward(self, picture: Tensor) -> Tensor:
        x = self.norm(self.query_tokens).expand(picture.shape[0], -1, -1)
        for layer in self.layers:
            x = layer(x, picture)
        return x
