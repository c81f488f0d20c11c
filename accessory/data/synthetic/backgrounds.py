"""Paints what lies behind the objects: muted middle tones, so that all eight colours stand out from it."""

from __future__ import annotations

import colorsys
import math
import random

from PIL import Image, ImageDraw

from .vocabulary import Rgb


def muted(rng: random.Random, value: tuple[float, float] = (0.56, 0.72)) -> Rgb:
    """A soft colour that none of the eight names fits, with a brightness in `value` (0..1)."""
    parts = colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.04, 0.17), rng.uniform(*value))
    red, green, blue = (round(255 * part) for part in parts)
    return red, green, blue


def shaded(color: Rgb, amount: int) -> Rgb:
    """`color` lighter (`amount` > 0) or darker by `amount` of 255."""
    red, green, blue = (min(255, max(0, part + amount)) for part in color)
    return red, green, blue


def gradient(size: tuple[int, int], corners: tuple[Rgb, Rgb, Rgb, Rgb]) -> Image.Image:
    """A picture of `size` (width, height) that blends four colours: top left, top right, bottom left, bottom right."""
    seed = Image.new("RGB", (2, 2))
    seed.putdata(corners)
    return seed.resize(size, Image.Resampling.BILINEAR)


def vertical(size: tuple[int, int], top: Rgb, bottom: Rgb) -> Image.Image:
    """A picture of `size` (width, height) that goes from `top` to `bottom`."""
    return gradient(size, (top, top, bottom, bottom))


def _stripes(rng: random.Random, draw: ImageDraw.ImageDraw, size: tuple[int, int], base: Rgb) -> None:
    step = rng.randint(10, 26)
    slant = rng.choice((-1, 0, 1)) * size[1]
    for x in range(-size[1], size[0] + size[1], step):
        draw.line((x, 0, x + slant, size[1]), fill=shaded(base, -9), width=step // 2)


def _dots(rng: random.Random, draw: ImageDraw.ImageDraw, size: tuple[int, int], base: Rgb) -> None:
    step = rng.randint(12, 22)
    radius = step // 5
    for row, y in enumerate(range(0, size[1] + step, step)):
        for x in range((row % 2) * step // 2, size[0] + step, step):
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=shaded(base, 10))


def _tiles(rng: random.Random, draw: ImageDraw.ImageDraw, size: tuple[int, int], base: Rgb) -> None:
    step = rng.randint(14, 34)
    for row, y in enumerate(range(0, size[1], step)):
        for x in range((row % 2) * step, size[0], 2 * step):
            draw.rectangle((x, y, x + step - 1, y + step - 1), fill=shaded(base, -8))


def _hills(rng: random.Random, draw: ImageDraw.ImageDraw, size: tuple[int, int], base: Rgb) -> None:
    for layer in range(3):
        level = size[1] * (0.45 + 0.2 * layer)
        length, height, phase = rng.uniform(0.5, 1.2) * size[0], rng.uniform(4, 12), rng.uniform(0, 6.3)
        ridge = [(x, level + height * math.sin(phase + 6.3 * x / length)) for x in range(0, size[0] + 8, 8)]
        draw.polygon([*ridge, (size[0] + 8, size[1]), (0, size[1])], fill=shaded(base, -6 - 9 * layer))


def _blobs(rng: random.Random, draw: ImageDraw.ImageDraw, size: tuple[int, int], base: Rgb) -> None:
    for _ in range(rng.randint(6, 12)):
        x, y, radius = rng.uniform(0, size[0]), rng.uniform(0, size[1]), rng.uniform(12, 45)
        box = (x - radius, y - radius * 0.7, x + radius, y + radius * 0.7)
        draw.ellipse(box, fill=shaded(base, rng.choice((-10, -6, 7, 11))))


_TEXTURES = (_stripes, _dots, _tiles, _hills, _blobs)


def background(rng: random.Random, size: tuple[int, int]) -> Image.Image:
    """A textured or graded background of `size` (width, height)."""
    base = muted(rng)
    if rng.random() < 0.3:
        return gradient(size, (base, muted(rng), muted(rng), shaded(base, -20)))
    image = vertical(size, shaded(base, 14), shaded(base, -10)) if rng.random() < 0.5 else Image.new("RGB", size, base)
    rng.choice(_TEXTURES)(rng, ImageDraw.Draw(image), size, base)
    return image
