"""The chosen items as one picture: cards with the marked picture, the question and the answer."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TypeVar

from PIL import Image, ImageDraw

from accessory.data.inspect.choice import Chosen, marked
from accessory.page.drawing import GROUND, INK, LINE, SHEET, SOFT, WRONG, draw_badge, font, wrapped
from SPHINX_V.processing.conversation import clean

COLUMNS = 4
CARD, EDGE, GAP, PAD = 440, 36, 24, 16
INNER = CARD - 2 * PAD
PICTURE_H = 400
TEXT, SMALL = 22, 18  # letters, pixels high
BADGE = 26
SHOWN_TURNS = 2
QUESTION_LINES, ANSWER_LINES, FAULT_LINES = 3, 10, 4
HIGHEST = 4000  # pixels: more than the lines above can take
MARK_SIZE = 1.7

# `<Region 2>` becomes its badge; at the beginning of a line with the colon, without its word.
_LINE = re.compile(r"^\s*<?(?:Region|Mark) (\d{1,3})>?:\s*")
_TAG = re.compile(r"([^\s<]*)<(Region|Mark) (\d{1,3})>([^\s<]*)")

Word = tuple[str, int | None]  # a word; with a mark's number, the badge and what stands close behind it
Lines = list[list[Word]]
T = TypeVar("T")


def draw_sheet(chosen: Sequence[tuple[str, Chosen]]) -> Image.Image:
    """All cards in rows of four, each row as high as its highest card; `chosen` has file names with items."""
    cards = [_card(name, item) for name, item in chosen]
    rows = [cards[start : start + COLUMNS] for start in range(0, len(cards), COLUMNS)]
    heights = [max(card.height for card in row) + PAD for row in rows]
    columns = max(1, min(COLUMNS, len(cards)))
    width = 2 * EDGE + columns * CARD + (columns - 1) * GAP
    sheet = Image.new("RGB", (width, 2 * EDGE + sum(heights) + GAP * max(0, len(rows) - 1)), GROUND)
    draw = ImageDraw.Draw(sheet)
    top = EDGE
    for row, height in zip(rows, heights):
        for column, card in enumerate(row):
            x = EDGE + column * (CARD + GAP)
            draw.rounded_rectangle((x, top, x + CARD, top + height), 14, fill=SHEET, outline=LINE, width=2)
            sheet.paste(card, (x + PAD, top + PAD))
        top += height + GAP
    return sheet


def _card(name: str, item: Chosen) -> Image.Image:
    """The inside of a card, with its lower padding, on the colour of a sheet."""
    canvas = Image.new("RGB", (INNER, HIGHEST), SHEET)
    draw = ImageDraw.Draw(canvas)
    draw.text((0, 0), _fitting(f"{name} · item {item.number}", SMALL), fill=SOFT, font=font(SMALL))
    y = SMALL + 14
    picture = marked(item, MARK_SIZE)
    if picture is not None:
        picture.thumbnail((INNER, PICTURE_H), Image.Resampling.LANCZOS)
        x = (INNER - picture.width) // 2
        canvas.paste(picture, (x, y))
        # White screenshots have no edge of their own.
        draw.rectangle((x, y, x + picture.width - 1, y + picture.height - 1), outline=LINE)
        y += picture.height + 14
    for fault in item.faults:
        for line in _cut(wrapped(fault.replace("×", " x "), SMALL, INNER), FAULT_LINES, "…"):  # the font has no ×
            draw.text((0, y), line, fill=WRONG, font=font(SMALL))
            y += SMALL + 6
        y += 10
    for question, answer in item.turns[:SHOWN_TURNS]:
        y = _draw_text(draw, y, clean(question), SMALL, SOFT, QUESTION_LINES) + 6
        y = _draw_text(draw, y, clean(answer), TEXT, INK, ANSWER_LINES) + 12
    more = len(item.turns) - SHOWN_TURNS
    if more > 0:
        draw.text((0, y), f"… and {more} more turn{'' if more == 1 else 's'}", fill=SOFT, font=font(SMALL))
        y += SMALL + 12
    return canvas.crop((0, 0, INNER, min(HIGHEST, y + PAD)))


def _draw_text(draw: ImageDraw.ImageDraw, y: int, text: str, size: int, color: str, most: int) -> int:
    """Draws at most `most` lines with badges for marks; returns where the next text begins."""
    lines = [line for paragraph in text.splitlines() for line in _lines(paragraph, size)]
    ellipsis: list[Word] = [("…", None)]
    for line in _cut(lines, most, ellipsis):
        x = 0.0
        for word, number in line:
            if number is not None:
                draw_badge(draw, (x, y + (size * 1.1 - BADGE) / 2 + 1), number, BADGE)
                x += BADGE + 2
            draw.text((x, y), word, fill=color, font=font(size))
            x += font(size).getlength(word + " ")
        y += size + 12
    return y


def _lines(paragraph: str, size: int) -> Lines:
    lines: Lines = [[]]
    x = 0.0
    space = font(size).getlength(" ")
    for word, number in _words(paragraph):
        wide = font(size).getlength(word) + (0 if number is None else BADGE + 2)
        if lines[-1] and x + wide > INNER:
            lines.append([])
            x = 0.0
        lines[-1].append((word, number))
        x += wide + space
    return lines


def _words(paragraph: str) -> Iterator[Word]:
    opening = _LINE.match(paragraph)
    if opening:
        yield "", int(opening[1])
        paragraph = paragraph[opening.end() :]
    end = 0
    for match in _TAG.finditer(paragraph):
        yield from ((word, None) for word in [*paragraph[end : match.start()].split(), match[1] + match[2]])
        yield match[4], int(match[3])
        end = match.end()
    yield from ((word, None) for word in paragraph[end:].split())


def _cut(lines: list[T], most: int, ellipsis: T) -> list[T]:
    """The first `most` lines; where there are more, the last of them says so."""
    return lines if len(lines) <= most else [*lines[: most - 1], ellipsis]


def _fitting(text: str, size: int) -> str:
    """The end of a text that is too wide: files are told apart by the ends of their names."""
    if font(size).getlength(text) <= INNER:
        return text
    while text and font(size).getlength("…" + text) > INNER:
        text = text[1:]
    return "…" + text
