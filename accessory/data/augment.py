"""Box jitter, the augmentation that makes free shapes work at inference."""

from __future__ import annotations

from collections.abc import Sequence

import numpy

from SPHINX_V.prompts import Box, Prompt

SHIFT = 8  # the corner moves by up to 1/8 of the side
SCALE = 0.15  # each side is scaled by 1 ± this


def item_generator(seed: int, epoch: int, index: int) -> numpy.random.Generator:
    """A generator that depends on (seed, epoch, item) only, so workers, ranks and resumes agree."""
    return numpy.random.default_rng((seed, epoch, index))


def jitter_boxes(
    prompts: Sequence[Prompt], width: int, height: int, generator: numpy.random.Generator
) -> tuple[Prompt, ...]:
    """Moves each box's corner by an integer from ±int(w/8), ±int(h/8) and scales its sides by 1 ± 0.15.

    Frame: pixels of the picture of `width` × `height`. Ours keeps the result inside the picture; a box that would
    leave it altogether stays as it was. Other kinds pass through.
    """
    return tuple(_jitter(prompt, width, height, generator) if isinstance(prompt, Box) else prompt for prompt in prompts)


def _jitter(box: Box, width: int, height: int, generator: numpy.random.Generator) -> Box:
    w, h = box.x1 - box.x0, box.y1 - box.y0
    reach_x, reach_y = int(w / SHIFT), int(h / SHIFT)
    x = box.x0 + int(generator.integers(-reach_x, reach_x + 1))
    y = box.y0 + int(generator.integers(-reach_y, reach_y + 1))
    scale_x, scale_y = generator.uniform(1 - SCALE, 1 + SCALE, size=2)
    x0, y0 = max(0.0, x), max(0.0, y)
    x1, y1 = min(float(width), x + w * scale_x), min(float(height), y + h * scale_y)
    return Box(x0, y0, x1, y1) if x1 > x0 and y1 > y0 else box
