"""The prompt encoder: points and boxes as Fourier features of their corners (SAM, arXiv 2304.02643, appendix A)."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from SPHINX_V.config import PromptConfig
from SPHINX_V.inputs import PromptSlots


def _without_autocast(device: torch.device) -> AbstractContextManager[object]:
    """Computation in the tensors' own types; the meta device knows no other."""
    known = torch.amp.is_autocast_available(device.type)
    return torch.autocast(device.type, enabled=False) if known else nullcontext()


class PromptEncoder(nn.Module):
    """Prompt slots → features [B, S, 512]; the kind is decided slot by slot, so points and boxes may mix."""

    frequencies: Tensor

    def __init__(self, config: PromptConfig) -> None:
        super().__init__()
        corner = config.corner_width
        self.register_buffer("frequencies", torch.randn(2, config.frequencies))
        self.point_invalid = nn.Parameter(torch.zeros(corner))
        self.point_valid = nn.Parameter(torch.zeros(corner))
        self.box_invalid = nn.Parameter(torch.zeros(config.width))
        self.box_valid = nn.Parameter(torch.zeros(config.width))
        self.corner0 = nn.Parameter(torch.zeros(corner))
        self.corner1 = nn.Parameter(torch.zeros(corner))
        self.up = nn.Linear(corner, config.width)

    def fourier(self, coords: Tensor) -> Tensor:
        """Features [..., 256] in float32 of coordinates [..., 2] in the frame of the padded square, [0, 1].

        Quirk kept for released weights: 0.5 is added to coordinates that are already in [0, 1], as if they were pixels.
        Always float32: in bfloat16 one step of a coordinate is about 3.5 pixels of the picture.
        """
        with _without_autocast(coords.device):
            angles = 2 * math.pi * ((2 * (coords.float() + 0.5) - 1) @ self.frequencies.float())
            return torch.cat([angles.sin(), angles.cos()], dim=-1)

    def forward(self, slots: PromptSlots) -> Tensor:
        dtype = self.up.weight.dtype
        first = self.fourier(slots.coords[..., :2])
        second = self.fourier(slots.coords[..., 2:])
        valid = slots.valid.unsqueeze(-1)
        points = self.up((first + torch.where(valid, self.point_valid, self.point_invalid)).to(dtype))
        corners = torch.cat([first + self.corner0, second + self.corner1], dim=-1)
        boxes = (corners + torch.where(valid, self.box_valid, self.box_invalid)).to(dtype)
        return torch.where(slots.is_point.unsqueeze(-1), points, boxes)
