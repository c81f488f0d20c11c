"""The domain `text`: a street with signs, each with a word of the lexicon."""

from __future__ import annotations

import random

from PIL import Image, ImageDraw

from .backgrounds import muted, shaded, vertical
from .elements import Box, Drawn, Element
from .layout import canvas_size, try_scatter
from .lettering import MIN_LETTERS, unit, word_width, write_word
from .vocabulary import WORDS, Rgb

SIGNS = (4, 7)
LETTERS = (MIN_LETTERS, 12.5)  # height of the capitals in the model's 128 pixels
_PAPERS: tuple[Rgb, ...] = ((250, 250, 245), (255, 238, 170), (225, 240, 250), (250, 226, 205), (255, 214, 64))
_PAINTS: tuple[Rgb, ...] = ((16, 66, 140), (150, 22, 28), (14, 96, 58), (30, 32, 40), (92, 34, 110), (120, 60, 20))
_SKIES: tuple[tuple[Rgb, Rgb], ...] = (
    ((120, 170, 215), (205, 222, 235)),
    ((92, 100, 140), (232, 176, 150)),
    ((150, 160, 172), (205, 208, 212)),
    ((38, 46, 84), (98, 92, 130)),
)


def _draw_street(rng: random.Random, size: tuple[int, int]) -> Image.Image:
    """Sky, a row of houses with windows, a pavement and a road."""
    width, height = size
    image = vertical(size, *rng.choice(_SKIES))
    draw = ImageDraw.Draw(image)
    curb = round(height * rng.uniform(0.76, 0.86))
    x = -rng.randint(0, 20)
    while x < width:
        wall, across, top = muted(rng, (0.42, 0.68)), rng.randint(34, 60), round(height * rng.uniform(0.06, 0.34))
        draw.rectangle((x, top, x + across, curb), fill=wall)
        draw.rectangle((x, top, x + across, top + 2), fill=shaded(wall, -28))
        pane = shaded(wall, rng.choice((-22, 24)))
        for window_y in range(top + 8, curb - 16, 16):
            for window_x in range(x + 6, x + across - 8, 13):
                draw.rectangle((window_x, window_y, window_x + 6, window_y + 9), fill=pane)
        x += across + rng.choice((0, 0, 5))
    draw.rectangle((0, curb, width, height), fill=(92, 93, 98))
    draw.rectangle((0, curb, width, curb + 5), fill=(168, 165, 158))
    for dash in range(rng.randint(0, 16), width, 26):
        draw.rectangle((dash, (curb + height) // 2 + 3, dash + 13, (curb + height) // 2 + 5), fill=(214, 210, 196))
    return image


def _draw_sign(image: Image.Image, rng: random.Random, word: str, box: Box, letters: float) -> Element:
    """One sign that fills `box`: a framed plate, a banner with points, or a lit panel on a pole."""
    draw = ImageDraw.Draw(image)
    paper, paint = rng.choice(_PAPERS), rng.choice(_PAINTS)
    plate, ink = (paper, paint) if rng.random() < 0.5 else (paint, paper)
    x0, y0, x1, y1 = box[0], box[1], box[2] - 1, box[3] - 1
    style = rng.choice(("plate", "banner", "pole"))
    if style == "pole":
        middle = (x0 + x1) // 2
        draw.rectangle((middle - 1, y1, middle + 1, min(image.height, y1 + 26)), fill=(58, 60, 66))
    draw.rectangle((x0 + 2, y0 + 2, x1 + 2, y1 + 2), fill=(40, 40, 46))
    if style == "banner":
        draw.rectangle((x0, y0, x1, y1), fill=plate)
        for edge in (y0, y1 - 1):
            draw.rectangle((x0, edge, x1, edge + 1), fill=ink)
    else:
        draw.rounded_rectangle((x0, y0, x1, y1), radius=4, fill=plate, outline=ink if style == "plate" else None)
    return write_word(image, word, box, letters, ink)


def draw_text(rng: random.Random) -> Drawn:
    """A street with four to seven signs; no word comes twice."""
    size = canvas_size(rng, (0.8, 1.3))
    image = _draw_street(rng, size)
    scale = unit(size)
    words = rng.sample(WORDS, rng.randint(*SIGNS))
    letters = [rng.uniform(*LETTERS) * scale for _ in words]
    plates = [
        (round(word_width(word, high) + 6 * scale), round(high + 7 * scale))
        for word, high in zip(words, letters, strict=True)
    ]
    # The letters must stay readable, so where the signs do not fit there are fewer of them, never smaller ones.
    boxes: list[Box] | None = None
    count = len(words)
    while boxes is None:
        boxes = try_scatter(rng, (2, 2, size[0] - 4, size[1] - 4), plates[:count], gap=4)
        count = max(SIGNS[0], count - 1) if boxes is None else count
    # From the top down: a sign covers the pole of the one above it, never the other way round.
    signs = sorted(zip(words[:count], boxes, letters[:count], strict=True), key=lambda sign: sign[1][1])
    elements = [_draw_sign(image, rng, *sign) for sign in signs]
    return Drawn(image, tuple(elements), "text")
