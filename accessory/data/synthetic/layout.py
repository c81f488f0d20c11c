"""Finds room: sizes of pictures, and places for things that must not overlap."""

from __future__ import annotations

import random
from collections.abc import Sequence

from .elements import Box
from .vocabulary import COLORS, SHAPES

LONG_SIDE = (144, 208)  # pixels; the tiny model sees the picture shrunk until this is 128
MODEL_SIDE = 128


def canvas_size(rng: random.Random, aspect: tuple[float, float]) -> tuple[int, int]:
    """Width and height in pixels; `aspect` bounds width over height."""
    long_side = rng.randrange(LONG_SIDE[0], LONG_SIDE[1] + 1, 4)
    ratio = rng.uniform(*aspect)
    short_side = round(long_side * min(ratio, 1 / ratio))
    return (long_side, short_side) if ratio > 1 else (short_side, long_side)


def draw_labels(rng: random.Random, count: int) -> list[tuple[str, str]]:
    """`count` different (colour, shape) pairs."""
    return rng.sample([(color, shape) for color in COLORS for shape in SHAPES], count)


def try_scatter(rng: random.Random, area: Box, sizes: Sequence[tuple[int, int]], gap: int) -> list[Box] | None:
    """Random places in `area` (xyxy pixels) for rectangles of `sizes` (width, height), `gap` pixels apart.

    The boxes come back in the order of `sizes`; None where this attempt found no room for all.
    """
    placed: dict[int, Box] = {}
    for index in sorted(range(len(sizes)), key=lambda i: -sizes[i][0] * sizes[i][1]):
        width, height = sizes[index]
        if width > area[2] - area[0] or height > area[3] - area[1]:
            return None
        for _ in range(40):
            x, y = rng.randint(area[0], area[2] - width), rng.randint(area[1], area[3] - height)
            if all(
                x >= box[2] + gap or box[0] >= x + width + gap or y >= box[3] + gap or box[1] >= y + height + gap
                for box in placed.values()
            ):
                placed[index] = (x, y, x + width, y + height)
                break
        else:
            return None
    return [placed[index] for index in range(len(sizes))]


def scatter(rng: random.Random, area: Box, sizes: Sequence[tuple[int, int]], gap: int) -> list[Box]:
    """As `try_scatter`, until it succeeds: the rectangles are made smaller, all by the same factor, as far as needed.

    The boxes that come back say the true sizes.
    """
    for attempt in range(200):
        scale = 0.985 ** (attempt // 2)
        boxes = try_scatter(rng, area, [(round(w * scale), round(h * scale)) for w, h in sizes], gap)
        if boxes is not None:
            return boxes
    raise AssertionError(f"no room for {len(sizes)} rectangles in {area}")
