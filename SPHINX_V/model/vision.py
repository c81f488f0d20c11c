"""The mixed visual encoder (SPHINX, arXiv 2311.07575, section 3.2): five views through four encoders."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from SPHINX_V.config import VIEWS_PER_SIDE, VisionConfig
from SPHINX_V.model.convnext import ConvNeXt
from SPHINX_V.model.qformer import QFormer
from SPHINX_V.model.vit import ViT

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def split_views(pixels: Tensor) -> Tensor:
    """Pictures [B, 3, 2V, 2V] → views [B, 5, 3, V, V]: the whole, then top-left, top-right, bottom-left, bottom-right.

    The whole is resized in float32, bicubic without antialiasing (the reference does this step in float16).
    """
    side = pixels.shape[-1] // VIEWS_PER_SIDE
    whole = functional.interpolate(pixels.float(), size=(side, side), mode="bicubic", align_corners=False)
    crops = [
        pixels[..., row * side : (row + 1) * side, column * side : (column + 1) * side].float()
        for row in range(VIEWS_PER_SIDE)
        for column in range(VIEWS_PER_SIDE)
    ]
    return torch.stack([whole, *crops], dim=1)


def patch_boxes(grid: int) -> Tensor:
    """Boxes [5, grid², 4] (xyxy) of every view's patches, row-major, in the frame of the padded square, [0, 1]."""
    ticks = torch.arange(grid, dtype=torch.float32) / grid
    corners = torch.stack([ticks.repeat(grid), ticks.repeat_interleave(grid)], dim=-1)
    whole = torch.cat([corners, corners + 1 / grid], dim=-1)
    offsets = torch.tensor([(column, row) * 2 for row in range(VIEWS_PER_SIDE) for column in range(VIEWS_PER_SIDE)])
    crops = (whole + offsets.unsqueeze(1)) / VIEWS_PER_SIDE
    return torch.cat([whole.unsqueeze(0), crops])


def clip_to_imagenet(views: Tensor) -> Tensor:
    """Replaces CLIP's normalisation by ImageNet's, which DINOv2 was trained with."""
    clip_mean, clip_std, mean, std = (
        torch.tensor(values, device=views.device, dtype=views.dtype).view(3, 1, 1)
        for values in (CLIP_MEAN, CLIP_STD, IMAGENET_MEAN, IMAGENET_STD)
    )
    return (views * clip_std + clip_mean - mean) / std


class MixedEncoder(nn.Module):
    """Views [N, 3, V, V] → mixed tokens [N, 1 + grid², clip + convnext + dinov2] and query tokens [N, Q, width]."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.config = config
        self.clip = ViT(config.clip)
        self.dinov2 = ViT(config.dinov2)
        self.convnext = ConvNeXt(config.convnext)
        self.blip2_vit = ViT(config.blip2_vit)
        self.qformer = QFormer(config.qformer, config.blip2_vit.width)

    def convnext_tokens(self, views: Tensor) -> Tensor:
        """ConvNeXt's map as tokens [N, 1 + grid², C]: every cell doubled to 2×2, their mean in front as class token.

        Quirk kept for released weights: views are enlarged (224 → 256) by nearest neighbour.
        """
        size = self.config.convnext_size
        enlarged = functional.interpolate(views, size=(size, size), mode="nearest")
        cells = functional.interpolate(self.convnext(enlarged), scale_factor=2, mode="nearest")
        tokens = cells.flatten(2).transpose(1, 2)
        return torch.cat([tokens.mean(dim=1, keepdim=True), tokens], dim=1)

    def forward(self, views: Tensor) -> tuple[Tensor, Tensor]:
        """`views` are CLIP-normalised float32; each encoder gets them in its own weights' dtype."""
        dtype = self.clip.class_token.dtype
        native = views.to(dtype)
        imagenet = clip_to_imagenet(views).to(dtype)
        mixed = torch.cat([self.clip(native), self.convnext_tokens(native), self.dinov2(imagenet)], dim=-1)
        return mixed, self.qformer(self.blip2_vit(native))
