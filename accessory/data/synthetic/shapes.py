"""Draws the coloured objects: a shape is an anti-aliased mask, cached, that colour is poured through."""

from __future__ import annotations

import math
import random
from functools import cache

from PIL import Image, ImageDraw, ImageFilter

from .elements import Element, Zone, inner_zone
from .vocabulary import COLORS, Rgb

_BASE = 192  # side of the square that a shape is first drawn in; many times the drawn size, so edges come out smooth
_ANGLES = (-12, -6, 0, 6, 12)
_OUTLINE = 7  # width of the outline in the base square

_SHADOW = [round(value * 0.3) for value in range(256)]  # a mask's values in the mask of its shadow

# The part of a shape's box where a point surely lies on the shape (in a ring: on it or in its hole).
_CORES: dict[str, Zone] = {
    "circle": (0.25, 0.25, 0.75, 0.75),
    "square": (0.2, 0.2, 0.8, 0.8),
    "triangle": (0.36, 0.5, 0.64, 0.85),
    "star": (0.36, 0.4, 0.64, 0.62),
    "heart": (0.25, 0.25, 0.75, 0.55),
    "cross": (0.36, 0.3, 0.64, 0.7),
    "ring": (0.25, 0.25, 0.75, 0.75),
    "moon": (0.15, 0.4, 0.4, 0.75),
}


def _outline_points(shape: str) -> list[tuple[float, float]]:
    """Corners of a straight-sided shape, in units of half the base square, y downwards."""
    if shape == "triangle":
        return [(0, -0.72), (0.8, 0.68), (-0.8, 0.68)]
    if shape == "star":
        spokes = (math.pi * step / 5 for step in range(10))
        return [(0.84 * r * math.sin(a), -0.84 * r * math.cos(a)) for a, r in zip(spokes, (1, 0.45) * 5, strict=True)]
    if shape == "heart":
        turns = (2 * math.pi * step / 60 for step in range(60))
        return [
            (
                0.046 * 16 * math.sin(t) ** 3,
                -0.046 * (13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)),
            )
            for t in turns
        ]
    arm, length = 0.26, 0.76
    corner = [(arm, -length), (arm, -arm), (length, -arm)]
    quarter = [*corner, *((x, -y) for x, y in reversed(corner))]
    return [*quarter, *((-x, -y) for x, y in quarter)]


def _draw_base(shape: str) -> Image.Image:
    mask = Image.new("L", (_BASE, _BASE))
    draw = ImageDraw.Draw(mask)
    half = _BASE / 2

    def disc(x: float, y: float, radius: float, value: int) -> None:
        cx, cy, r = half + x * half, half + y * half, radius * half
        draw.ellipse((cx - r, cy - r, cx + r, cy + r), fill=value)

    if shape in ("circle", "ring", "moon"):
        disc(0, 0, 0.75, 255)
        if shape == "ring":
            disc(0, 0, 0.4, 0)
        if shape == "moon":
            disc(0.42, -0.24, 0.6, 0)
    elif shape == "square":
        draw.rounded_rectangle((half * 0.34, half * 0.34, half * 1.66, half * 1.66), radius=half * 0.1, fill=255)
    else:
        draw.polygon([(half + x * half, half + y * half) for x, y in _outline_points(shape)], fill=255)
    return mask


@cache
def _large_masks(shape: str, angle: int) -> tuple[Image.Image, Image.Image]:
    """The whole shape and the shape without its outline, turned, both cropped to the whole shape."""
    whole = _draw_base(shape).rotate(angle, Image.Resampling.BICUBIC)
    inside = whole.filter(ImageFilter.MinFilter(2 * _OUTLINE + 1))
    box = whole.point([0] * 128 + [255] * 128).getbbox()
    assert box is not None
    return whole.crop(box), inside.crop(box)


@cache
def _masks(shape: str, angle: int, size: int) -> tuple[Image.Image, Image.Image]:
    """As `_large_masks`, with the longer side `size` pixels."""
    whole, inside = _large_masks(shape, angle)
    scale = size / max(whole.size)
    shrunk = (max(1, round(whole.width * scale)), max(1, round(whole.height * scale)))
    return whole.resize(shrunk, Image.Resampling.BOX), inside.resize(shrunk, Image.Resampling.BOX)


def mixed(color: Rgb, other: Rgb, share: float) -> Rgb:
    """`color` with `share` (0..1) of `other` in it."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(color, other, strict=True))
    return red, green, blue


def paste_object(
    image: Image.Image, rng: random.Random, label: tuple[str, str], corner: tuple[int, int], size: int
) -> Element:
    """Draw an object of `label` (colour, shape) into `image`, in the square of `size` pixels at `corner` (x, y).

    The object fills the square's longer or shorter side and is centred in it; its element has the box of the
    object itself, not of the square.
    """
    color, shape = label
    whole, inside = _masks(shape, rng.choice(_ANGLES), size)
    x = corner[0] + (size - whole.width) // 2
    y = corner[1] + (size - whole.height) // 2
    jitter = rng.randint(-10, 10)
    base = mixed(COLORS[color], (255, 255, 255) if jitter > 0 else (0, 0, 0), abs(jitter) / 100)
    drop = max(1, size // 14)
    image.paste((30, 30, 36), (x + drop, y + drop), whole.point(_SHADOW))
    image.paste(mixed(base, (0, 0, 0), 0.45) if color != "black" else (70, 70, 78), (x, y), whole)
    pour = Image.new("RGB", (1, 2), mixed(base, (255, 255, 255), 0.2 if color != "black" else 0.1))
    pour.putpixel((0, 1), mixed(base, (0, 0, 0), 0.08))
    image.paste(pour.resize(whole.size, Image.Resampling.BILINEAR), (x, y), inside)
    box = (x, y, x + whole.width, y + whole.height)
    return Element("object", f"{color} {shape}", box, inner_zone(box, _CORES[shape]))
