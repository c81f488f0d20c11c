"""The chosen items as one picture: cards with the marked picture, the question and the answer."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from PIL import Image, ImageDraw

from accessory.data.inspect.choice import Chosen
from accessory.page.drawing import GROUND, INK, LINE, SHEET, SOFT, WRONG, draw_badge, font, wrapped
from accessory.page.pictures import marked_picture
from SPHINX_V.errors import DataError
from SPHINX_V.processing.conversation import clean

COLUMNS = 4
CARD, EDGE, GAP, PAD = 440, 36, 24, 16
INNER = CARD - 2 * PAD
PICTURE_H = 400
TEXT, SMALL = 22, 18  # letters, pixels high
BADGE = 26
QUESTION_LINES, ANSWER_LINES, FAULT_LINES = 3, 10, 4
MARK_SIZE = 1.7

# `<Region 2>` becomes its badge; at the beginning of a line with the colon, without its word.
_LINE = re.compile(r"^\s*<?(?:Region|Mark) (\d{1,3})>?:\s*")
_TAG = re.compile(r"<(Region|Mark) (\d{1,3})>")

Word = tuple[str, int | None]  # a word, or a mark's number, which is drawn as a badge
Lines = list[list[Word]]


def draw_sheet(chosen: Sequence[tuple[str, Chosen]]) -> Image.Image:
    """All cards in rows of four, each row as high as its highest card; `chosen` has file names with items."""
    cards = [_card(name, item) for name, item in chosen]
    rows = [cards[start : start + COLUMNS] for start in range(0, len(cards), COLUMNS)]
    heights = [max(card.height for card in row) for row in rows]
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
    canvas = Image.new("RGB", (INNER, 4000), SHEET)
    draw = ImageDraw.Draw(canvas)
    draw.text((0, 0), _fitting(f"{name} · item {item.number}", SMALL), fill=SOFT, font=font(SMALL))
    y = SMALL + 14
    picture = _picture(item)
    if picture is not None:
        canvas.paste(picture, ((INNER - picture.width) // 2, y))
        y += picture.height + 14
    for fault in item.faults:
        for line in _cut(wrapped(fault, SMALL, INNER), FAULT_LINES):
            draw.text((0, y), line, fill=WRONG, font=font(SMALL))
            y += SMALL + 6
        y += 6
    for question, answer in item.turns[:2]:
        y = _draw_text(draw, y, clean(question), SMALL, SOFT, QUESTION_LINES) + 6
        y = _draw_text(draw, y, clean(answer), TEXT, INK, ANSWER_LINES) + 12
    if len(item.turns) > 2:
        draw.text((0, y), f"… and {len(item.turns) - 2} more turns", fill=SOFT, font=font(SMALL))
        y += SMALL + 12
    return canvas.crop((0, 0, INNER, min(4000, y + PAD)))


def _picture(item: Chosen) -> Image.Image | None:
    if item.picture is None:
        return None
    try:
        picture = marked_picture(item.picture, item.prompts, mark_size=MARK_SIZE)
    except DataError:  # among the item's faults already
        return None
    picture.thumbnail((INNER, PICTURE_H), Image.Resampling.LANCZOS)
    return picture


def _draw_text(draw: ImageDraw.ImageDraw, y: float, text: str, size: int, color: str, most: int) -> float:
    """Draws at most `most` lines with badges for marks; returns where the next text begins."""
    lines = [line for paragraph in text.splitlines() for line in _lines(paragraph, size)]
    for line in _cut(lines, most, [[("…", None)]]):
        x = 0.0
        for word, number in line:
            if number is None:
                draw.text((x, y), word, fill=color, font=font(size))
                x += font(size).getlength(word + " ")
            else:
                draw_badge(draw, (x, y + (size * 1.1 - BADGE) / 2 + 1), number, BADGE)
                x += BADGE + font(size).getlength(" ")
        y += size + 12
    return y


def _lines(paragraph: str, size: int) -> Lines:
    lines: Lines = [[]]
    x = 0.0
    space = font(size).getlength(" ")
    for word, number in _words(paragraph):
        wide = font(size).getlength(word) if number is None else BADGE
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
        yield from ((word, None) for word in [*paragraph[end : match.start()].split(), match[1]])
        yield "", int(match[2])
        end = match.end()
    yield from ((word, None) for word in paragraph[end:].split())


def _cut(lines: list, most: int, ellipsis: list | None = None) -> list:  # type: ignore[type-arg]
    """The first `most` lines; where there are more, the last of them says so."""
    return lines if len(lines) <= most else [*lines[: most - 1], *(ellipsis or ["…"])]


def _fitting(text: str, size: int) -> str:
    """The end of a text that is too wide: files are told apart by the ends of their names."""
    if font(size).getlength(text) <= INNER:
        return text
    while text and font(size).getlength("…" + text) > INNER:
        text = text[1:]
    return "…" + text
