"""One vision transformer for CLIP, DINOv2 and BLIP-2's ViT; they differ in configuration only."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from SPHINX_V.config import STEM_GROUPS, ViTConfig


def _convolution(dim_in: int, dim: int, size: int = 3, stride: int = 1) -> list[nn.Module]:
    # Normalised over a view, not per cell: that would blow up flat ground as much as ink, and letters drown in it.
    return [
        nn.Conv2d(dim_in, dim, size, stride=stride, padding=size // 2),
        nn.GroupNorm(STEM_GROUPS, dim),
        nn.GELU(),
    ]


class Residual(nn.Module):
    """A 3×3 convolution that adds to its input."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.mix = nn.Sequential(*_convolution(dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.mix(x)


def conv_stem(width: int, patch_size: int) -> nn.Sequential:
    """Convolutions of stride 2, then max-pooling, to one token of `width` channels per patch.

    A plain patch projection has to learn every shape at every offset from scratch; overlapping strides see edges first,
    which is what lets the tiny recipe learn within minutes (Xiao et al., arXiv 2106.14881). Pooling makes words
    readable wherever they lie in a patch. Most of the work is done at a quarter of the resolution, where it is cheap.
    """
    layers = [*_convolution(3, width // 2, 5, stride=2), *_convolution(width // 2, width, stride=2)]
    channels = width
    for stride in [8, 16, 32][: patch_size.bit_length() - 3]:
        layers.append(nn.MaxPool2d(2))
        if stride == 8:
            channels = 2 * width
            layers += _convolution(width, channels)
    return nn.Sequential(*layers, Residual(channels), nn.Conv2d(channels, width, 1))


class SelfAttention(nn.Module):
    """Multi-head attention over tokens with packed q, k, v (in this order) and biases."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.qkv = nn.Linear(config.width, 3 * config.width)
        self.proj = nn.Linear(config.width, config.width)

    def forward(self, x: Tensor) -> Tensor:
        queries, keys, values = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(queries, keys, values)
        return self.proj(mixed.transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    """Two linear layers with GELU (erf form), QuickGELU, or a packed SwiGLU whose first half is the gate."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.hidden_act = config.hidden_act
        packed = 2 if config.hidden_act == "swiglu" else 1
        self.fc1 = nn.Linear(config.width, packed * config.mlp_width)
        self.fc2 = nn.Linear(config.mlp_width, config.width)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.fc1(x)
        if self.hidden_act == "swiglu":
            gate, value = hidden.chunk(2, dim=-1)
            return self.fc2(functional.silu(gate) * value)
        if self.hidden_act == "quick_gelu":
            return self.fc2(hidden * torch.sigmoid(1.702 * hidden))
        return self.fc2(functional.gelu(hidden))


class Block(nn.Module):
    """One pre-norm layer, with LayerScale where the configuration has it."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.width, eps=config.norm_eps)
        self.attn = SelfAttention(config)
        self.norm2 = nn.LayerNorm(config.width, eps=config.norm_eps)
        self.mlp = Mlp(config)
        self.scale1 = nn.Parameter(torch.ones(config.width)) if config.layer_scale else None
        self.scale2 = nn.Parameter(torch.ones(config.width)) if config.layer_scale else None

    def forward(self, x: Tensor) -> Tensor:
        attended = self.attn(self.norm1(x))
        x = x + (attended if self.scale1 is None else attended * self.scale1)
        fed = self.mlp(self.norm2(x))
        return x + (fed if self.scale2 is None else fed * self.scale2)


class ViT(nn.Module):
    """Views [B, 3, V, V] → tokens [B, 1 + patches, width], class token first, final norm on all tokens."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.config = config
        self.patch_embed: nn.Module
        if config.stem == "conv":
            self.patch_embed = conv_stem(config.width, config.patch_size)
        else:
            self.patch_embed = nn.Conv2d(
                3, config.width, config.patch_size, stride=config.patch_size, bias=config.patch_bias
            )
        self.stem_norm = nn.LayerNorm(config.width) if config.stem == "conv" else None
        self.class_token = nn.Parameter(torch.zeros(config.width))
        self.position_embedding = nn.Parameter(torch.zeros(1 + config.pretrain_grid**2, config.width))
        self.pre_norm = nn.LayerNorm(config.width, eps=config.norm_eps) if config.pre_norm else None
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width, eps=config.norm_eps)
        self._resampled: tuple[tuple[object, ...], Tensor] | None = None

    def positions(self, grid: int) -> Tensor:
        """The position table [1 + grid², width] for a grid of another side than the table's.

        Resampled once per set of weights: the result is kept until the table changes or is trained.
        """
        table = self.position_embedding
        if grid == self.config.pretrain_grid:
            return table
        # Tensors made in inference mode cannot say whether they changed.
        if table.is_inference() or (table.requires_grad and torch.is_grad_enabled()):
            return resample_positions(table, grid)
        key = (grid, table.data_ptr(), table._version, table.dtype, table.device)
        if self._resampled is None or self._resampled[0] != key:
            self._resampled = (key, resample_positions(table.detach(), grid))
        return self._resampled[1]

    def forward(self, views: Tensor) -> Tensor:
        patches = self.patch_embed(views)
        grid = patches.shape[-1]
        tokens = patches.flatten(2).transpose(1, 2)
        if self.stem_norm is not None:
            tokens = self.stem_norm(tokens)
        class_token = self.class_token.expand(tokens.shape[0], 1, -1)
        x = torch.cat([class_token, tokens], dim=1) + self.positions(grid)
        if self.pre_norm is not None:
            x = self.pre_norm(x)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


def resample_positions(table: Tensor, grid: int) -> Tensor:
    """Bicubic resampling of a position table [1 + side², width] to [1 + grid², width].

    Quirk kept for released weights: DINOv2 resamples by the *scale factor* (grid + 0.1) / side, not to the target size,
    and that factor also sets the sampling coordinates.
    """
    side = round((table.shape[0] - 1) ** 0.5)
    maps = table[1:].float().unflatten(0, (side, side)).permute(2, 0, 1).unsqueeze(0)
    factor = (grid + 0.1) / side
    resized = functional.interpolate(maps, scale_factor=(factor, factor), mode="bicubic")
    assert resized.shape[-2:] == (grid, grid), f"position table of side {side} resampled to {tuple(resized.shape)}"
    return torch.cat([table[:1], resized[0].permute(1, 2, 0).flatten(0, 1).to(table.dtype)])
