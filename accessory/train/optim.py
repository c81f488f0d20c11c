"""The optimiser: AdamW, without decay on biases and norms."""

from __future__ import annotations

import torch
from torch import nn

from accessory.config import TrainOptions


def build_optimizer(model: nn.Module, options: TrainOptions) -> torch.optim.AdamW:
    """AdamW over what is trained; one-dimensional parameters (biases, norms, tags) never decay."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": options.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]], lr=options.lr, betas=options.betas, fused=True
    )
