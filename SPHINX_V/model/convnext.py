"""ConvNeXt (arXiv 2201.03545) as timm builds it, without the classifier."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from SPHINX_V.config import ConvNeXtConfig


class ChannelNorm(nn.LayerNorm):
    """LayerNorm over the channels of a map [B, C, H, W]."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Block(nn.Module):
    """Depthwise 7×7 convolution, LayerNorm, two linear layers with GELU, scaled residual."""

    def __init__(self, dim: int, eps: float) -> None:
        super().__init__()
        self.conv = nn.Conv2d(dim, dim, 7, padding=3, groups=dim)
        self.norm = nn.LayerNorm(dim, eps=eps)
        self.fc1 = nn.Linear(dim, 4 * dim)
        self.fc2 = nn.Linear(4 * dim, dim)
        self.gamma = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        mixed = self.norm(self.conv(x).permute(0, 2, 3, 1))
        mixed = self.fc2(functional.gelu(self.fc1(mixed))) * self.gamma
        return x + mixed.permute(0, 3, 1, 2)


class Stage(nn.Module):
    """An optional LayerNorm and 2×2 convolution of stride 2, then blocks."""

    def __init__(self, dim_in: int, dim: int, depth: int, eps: float) -> None:
        super().__init__()
        self.downsample = (
            None if dim_in == 0 else nn.Sequential(ChannelNorm(dim_in, eps=eps), nn.Conv2d(dim_in, dim, 2, stride=2))
        )
        self.blocks = nn.Sequential(*(Block(dim, eps) for _ in range(depth)))

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(x if self.downsample is None else self.downsample(x))


class ConvNeXt(nn.Module):
    """Pictures [B, 3, H, H] → a normalised map [B, dims[-1], H/32, H/32]."""

    def __init__(self, config: ConvNeXtConfig) -> None:
        super().__init__()
        eps, dims = config.norm_eps, config.dims
        self.stem = nn.Sequential(nn.Conv2d(3, dims[0], 4, stride=4), ChannelNorm(dims[0], eps=eps))
        # The first stage follows the stem directly: 0 input channels say that nothing is halved.
        self.stages = nn.Sequential(
            *(
                Stage(dim_in, dim, depth, eps)
                for dim_in, dim, depth in zip((0, *dims), dims, config.depths, strict=False)
            )
        )
        self.norm = ChannelNorm(dims[-1], eps=eps)

    def forward(self, pictures: Tensor) -> Tensor:
        return self.norm(self.stages(self.stem(pictures)))
