"""The domain `screen`: phone and web windows with icons, buttons, check boxes, switches and text fields."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from PIL import ImageDraw

from .backgrounds import muted, shaded, vertical
from .elements import Box, Drawn, Element
from .layout import canvas_size, draw_labels
from .lettering import MIN_LETTERS, unit, word_width, write_word
from .shapes import paste_object
from .vocabulary import WORDS, Rgb

_ICON = 19.5  # the longer side of an icon in the model's 128 pixels
_ROW = 17.0  # the height of a row with a word, likewise
_ACCENTS: tuple[Rgb, ...] = ((24, 96, 190), (18, 120, 104), (112, 60, 170), (176, 50, 84), (60, 72, 92))


@dataclass(frozen=True, slots=True)
class _Theme:
    """The colours of a window."""

    page: Rgb
    ink: Rgb
    faint: Rgb
    accent: Rgb


def _draw_theme(rng: random.Random) -> _Theme:
    accent = rng.choice(_ACCENTS)
    if rng.random() < 0.7:
        return _Theme(shaded((238, 240, 244), rng.randint(-6, 8)), (28, 32, 40), (188, 193, 202), accent)
    return _Theme((38, 42, 52), (240, 242, 246), (92, 98, 112), shaded(accent, 24))


class _Window:
    """A picture being drawn, with the lengths of the model's pixel and the elements drawn so far."""

    def __init__(self, rng: random.Random, size: tuple[int, int]) -> None:
        self.rng, self.theme, self.unit = rng, _draw_theme(rng), unit(size)
        self.image = vertical(size, self.theme.page, shaded(self.theme.page, -8))
        self.draw = ImageDraw.Draw(self.image)
        self.words: Iterator[str] = iter(rng.sample(WORDS, len(WORDS)))
        self.elements: list[Element] = []

    def px(self, length: float) -> int:
        """Pixels of the picture in `length` pixels of the model's input."""
        return round(length * self.unit)

    def write(self, word: str, box: Box, ink: Rgb) -> None:
        """Write `word` in the middle of `box`."""
        self.elements.append(write_word(self.image, word, box, MIN_LETTERS * self.unit, ink))

    def bar(self, height: float) -> int:
        """The title bar with its word, three strokes for a menu and a dot; returns where it ends (y)."""
        bottom, width = self.px(height), self.image.width
        self.draw.rectangle((0, 0, width, bottom), fill=self.theme.accent)
        middle, edge = bottom // 2, self.px(4)
        for offset in (-4, 0, 4):
            self.draw.line((edge, middle + offset, edge + 9, middle + offset), fill=(255, 255, 255), width=2)
        self.draw.ellipse((width - edge - 8, middle - 4, width - edge, middle + 4), fill=shaded(self.theme.accent, 70))
        side = self.px(13)
        self.write(next(self.words), (side, 2, width - side, bottom - 1), (255, 255, 255))
        return bottom

    def icons(self, area: Box, columns: int, rows: int, count: int) -> None:
        """`count` icons on tiles, in random cells of a grid that fills `area`."""
        side = self.px(_ICON)
        tile = muted(self.rng, (0.6, 0.74))
        cells = sorted(self.rng.sample(range(columns * rows), count))
        for cell, label in zip(cells, draw_labels(self.rng, count), strict=True):
            x = area[0] + round((cell % columns + 0.5) * (area[2] - area[0]) / columns) - side // 2
            y = area[1] + round((cell // columns + 0.5) * (area[3] - area[1]) / rows) - side // 2
            edge = self.px(1.5)
            self.draw.rounded_rectangle((x - edge, y - edge, x + side + edge, y + side + edge), radius=6, fill=tile)
            self.elements.append(paste_object(self.image, self.rng, label, (x, y), side))

    def row(self, area: Box) -> None:
        """A row with a word in `area`: a button, a text field, or a line with a check box or a switch."""
        x0, y0, x1, y1 = area
        word, beside = next(self.words), self.px(14)
        roomy = x1 - x0 - beside >= word_width(word, MIN_LETTERS * self.unit)
        style = self.rng.choice(("button", "field", "check", "switch") if roomy else ("button", "field"))
        middle, on = (y0 + y1) // 2, self.rng.random() < 0.5
        if style == "button":
            self.draw.rounded_rectangle((x0, y0, x1 - 1, y1 - 1), radius=5, fill=self.theme.accent)
            self.write(word, area, (255, 255, 255))
        elif style == "field":
            self.draw.rounded_rectangle((x0, y0, x1 - 1, y1 - 1), radius=3, outline=self.theme.faint, width=2)
            self.write(word, area, self.theme.ink)
        elif style == "check":
            self._check(x0 + 1, middle, self.px(9), on)
            self.write(word, (x0 + beside, y0, x1, y1), self.theme.ink)
        else:
            self._switch(x1 - self.px(12), middle, on)
            self.write(word, (x0, y0, x1 - beside, y1), self.theme.ink)

    def _check(self, x: int, middle: int, side: int, on: bool) -> None:
        box = (x, middle - side // 2, x + side, middle + side // 2)
        self.draw.rounded_rectangle(
            box, radius=2, fill=self.theme.accent if on else None, outline=self.theme.faint, width=2
        )
        if on:
            tick = ((x + 3, middle), (x + side // 2 - 1, middle + side // 3 - 1), (x + side - 3, middle - side // 4))
            self.draw.line(tick, fill=(255, 255, 255), width=2)

    def _switch(self, x: int, middle: int, on: bool) -> None:
        wide, radius = self.px(11), self.px(3)
        track = self.theme.accent if on else self.theme.faint
        self.draw.rounded_rectangle((x, middle - radius, x + wide, middle + radius), radius=radius, fill=track)
        knob = x + wide - radius if on else x + radius
        self.draw.ellipse((knob - radius, middle - radius, knob + radius, middle + radius), fill=(255, 255, 255))


def _draw_phone(rng: random.Random) -> _Window:
    """A title bar, then two rows of icons and three rows with words, in either order."""
    window = _Window(rng, canvas_size(rng, (0.6, 0.68)))
    width, height = window.image.size
    top = window.bar(18) + window.px(2)
    icons, rows = window.px(50), 3
    row, gap = window.px(_ROW), (height - top - icons - rows * window.px(_ROW)) // (rows + 1)
    icons_first = rng.random() < 0.6
    icons_top = top if icons_first else height - icons
    window.icons((1, icons_top, width - 1, icons_top + icons), 3, 2, rng.randint(5, 6))
    y = top + icons if icons_first else top + gap
    for _ in range(rows):
        window.row((window.px(5), y, width - window.px(5), y + row))
        y += row + gap
    return window


def _draw_web(rng: random.Random) -> _Window:
    """A title bar, a column of rows with words and a grid of icons beside it."""
    window = _Window(rng, canvas_size(rng, (1.25, 1.5)))
    width, height = window.image.size
    top = window.bar(18) + window.px(2)
    rows = 3
    gap = (height - top - rows * window.px(_ROW)) // (rows + 1)
    column, left = window.px(52), rng.random() < 0.6
    x = 0 if left else width - column
    line = column if left else width - column
    window.draw.line((line, top, line, height), fill=window.theme.faint)
    y = top + gap
    for _ in range(rows):
        window.row((x + window.px(3), y, x + column - window.px(3), y + window.px(_ROW)))
        y += window.px(_ROW) + gap
    grid = (column + 2, top, width - 2, height - 2) if left else (2, top, width - column - 2, height - 2)
    window.icons(grid, 3, 2, rng.randint(5, 6))
    return window


def draw_screen(rng: random.Random) -> Drawn:
    """A phone or web window with five or six icons and four words."""
    window = _draw_phone(rng) if rng.random() < 0.5 else _draw_web(rng)
    return Drawn(window.image, tuple(window.elements), "screen")
