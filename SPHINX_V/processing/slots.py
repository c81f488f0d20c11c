"""Typed prompts in pixels → prompt slots in the unit frame of the padded square."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from SPHINX_V.inputs import PromptSlots
from SPHINX_V.processing.image import SquareFrame
from SPHINX_V.prompts import Prompt, check_prompts, is_point

POINT_FILLER = (0.0, 0.0, -1.0, -1.0)
BOX_FILLER = (0.0, 0.0, 0.0, 0.0)


def build_slots(prompts: Sequence[Prompt], frame: SquareFrame, num_slots: int) -> PromptSlots:
    """Slots [1, num_slots, …] for one picture; raises UsageError as `check_prompts` does.

    Quirk kept for released weights: unused slots take the kind of the first mark (boxes where there is none) and its
    filler, and the filler passes through the encoder.
    """
    check_prompts(prompts, frame.width, frame.height, num_slots)
    points = [is_point(prompt) for prompt in prompts]
    filler_is_point = bool(points) and points[0]
    unused = num_slots - len(prompts)
    rows = [_unit_row(prompt, frame) for prompt in prompts]
    rows += [POINT_FILLER if filler_is_point else BOX_FILLER] * unused
    return PromptSlots(
        coords=torch.tensor([rows], dtype=torch.float32),
        is_point=torch.tensor([points + [filler_is_point] * unused]),
        valid=torch.tensor([[True] * len(prompts) + [False] * unused]),
    )


def _unit_row(prompt: Prompt, frame: SquareFrame) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = prompt.bounds()
    first = frame.to_unit(x0, y0)
    return (*first, -1.0, -1.0) if is_point(prompt) else (*first, *frame.to_unit(x1, y1))
