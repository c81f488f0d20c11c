"""The length of a run and its learning rate: linear warm-up, then half a cosine."""

from __future__ import annotations

import math

from accessory.config import TrainOptions


def learning_rate(step: int, total_steps: int, warmup_steps: float, peak: float, end: float) -> float:
    """The rate of step 0 … total_steps - 1; warm-up is linear from 0, the cosine reaches `end` after the last step."""
    if step < warmup_steps:
        return peak * step / warmup_steps
    progress = (step - warmup_steps) / max(1.0, total_steps - warmup_steps)
    return end + (peak - end) * 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))


def run_length(train: TrainOptions, steps_per_epoch: int) -> int:
    """Steps of a whole run."""
    return train.max_steps or max(1, round(train.epochs * steps_per_epoch))
