"""Cards drawn as pixels: colours of the page, text in lines of a width, badges of marks."""

from __future__ import annotations

import functools

from PIL import ImageDraw, ImageFont

from SPHINX_V.overlay import PALETTE, text_color

GROUND, SHEET, LINE, INK, SOFT = "#f6f5f1", "#ffffff", "#dcdad2", "#1c2430", "#5a6472"
RIGHT, WRONG = "#1b7a48", "#b3271e"

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@functools.lru_cache(maxsize=16)
def font(size: float) -> Font:
    """The font that comes with Pillow, `size` pixels high."""
    return ImageFont.load_default(size)


def wrapped(text: str, size: float, width: float) -> list[str]:
    """Words in lines of at most `width` pixels; a longer word gets a line of its own."""
    lines: list[str] = []
    for paragraph in text.splitlines():
        line = ""
        for word in paragraph.split():
            longer = f"{line} {word}".strip()
            if line and font(size).getlength(longer) > width:
                lines.append(line)
                longer = word
            line = longer
        lines.append(line)
    return lines


def draw_badge(draw: ImageDraw.ImageDraw, corner: tuple[float, float], number: int, side: float = 30) -> None:
    """A mark's number on a rounded plate of its colour; `corner` is the plate's top left."""
    x, y = corner
    color = PALETTE[(number - 1) % len(PALETTE)]
    draw.rounded_rectangle((x, y, x + side, y + side), side * 0.27, fill=color)
    draw.text((x + side / 2, y + side / 2), str(number), fill=text_color(color), font=font(side * 0.7), anchor="mm")
