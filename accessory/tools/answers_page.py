"""Draws a page of answers as one picture: marked pictures, questions, and answers that are right or wrong."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw

from accessory.eval.items import BenchmarkItem, read_items
from accessory.eval.verdicts import Verdict, verdicts
from accessory.page.drawing import GROUND, INK, LINE, RIGHT, SHEET, SOFT, WRONG, draw_badge, font, wrapped
from accessory.page.pictures import marked_picture
from SPHINX_V.errors import DataError

# Two cards for labels, one for everything else; the page is filled in this order.
PLAN = (
    *("labels_box", "labels_point", "ocr_box", "relation_box"),
    *("labels_point", "labels_box", "ocr_point", "relation_point"),
)
MARKS = range(2, 5)  # a card has room for as many

COLUMNS = 4
CARD, PICTURE, TEXT, EDGE, GAP = 430, 398, 25, 40, 24
PICTURE_H = 380


def answers_page(run: Path) -> Image.Image:
    """The page from the predictions of a quickstart run. Items are taken by their place in the files, not by result.

    Raises DataError where predictions or benchmark items are missing or do not belong together.
    """
    chosen = choose(run)
    rows = -(-len(chosen) // COLUMNS)
    heights = [
        max(_height(item, answer) for item, answer in chosen[row * COLUMNS : (row + 1) * COLUMNS])
        for row in range(rows)
    ]
    columns = min(COLUMNS, len(chosen))
    size = (2 * EDGE + columns * CARD + (columns - 1) * GAP, 2 * EDGE + sum(heights) + (rows - 1) * GAP)
    page = Image.new("RGB", size, GROUND)
    for number, (item, answer) in enumerate(chosen):
        row, column = divmod(number, COLUMNS)
        x = EDGE + column * (CARD + GAP)
        y = EDGE + sum(heights[:row]) + row * GAP
        _draw_card(page, (x, y), heights[row], item, answer)
    return page


def choose(run: Path) -> list[tuple[BenchmarkItem, str]]:
    """Items with their answers: for each place in PLAN the next item with two to four marks on an unused picture."""
    read = {name: _read(run, name) for name in dict.fromkeys(PLAN)}
    used: set[Path] = set()
    chosen = []
    for name in PLAN:
        for item, answer in read[name]:
            if item.picture not in used and len(item.prompts) in MARKS:
                used.add(item.picture)
                chosen.append((item, answer))
                break
    if not chosen:
        raise DataError(f"{run}: no item has between {MARKS[0]} and {MARKS[-1]} marks; nothing to draw.")
    return chosen


def _read(run: Path, name: str) -> list[tuple[BenchmarkItem, str]]:
    heldout = run / "data" / "heldout"
    items = {item.question_id: item for item in read_items(heldout / f"{name}.json", heldout / "images")}
    path = run / "predictions" / f"{name}.jsonl"
    if not path.is_file():
        raise DataError(f"{path}: no such predictions; run bash scripts/quickstart.sh first.")
    read = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            value = json.loads(line)
            read.append((items[value["question_id"]], str(value["prediction"])))
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise DataError(f"{path}, line {number}: is no prediction for {name}.json ({error!r}).") from None
    return read


def _rows(item: BenchmarkItem, answer: str) -> list[tuple[Verdict, list[str], list[str]]]:
    """For every line of the answer: the verdict, what was said in lines, the truth in lines where it differs."""
    rows = []
    for verdict in verdicts(answer, item.truth):
        width = PICTURE - 40 - (0 if verdict.number is None else 42)
        given = wrapped(verdict.given or "no answer", TEXT, width)
        truth = [] if verdict.right else wrapped(f"truth: {verdict.truth}", TEXT - 4, width)
        rows.append((verdict, given, truth))
    return rows


def _height(item: BenchmarkItem, answer: str) -> int:
    question = wrapped(item.question, TEXT - 2, PICTURE)
    lines = sum(36 * len(given) + 30 * len(truth) + 6 for _, given, truth in _rows(item, answer))
    return 16 + PICTURE_H + 14 + 30 * len(question) + 12 + lines + 12


def _draw_card(page: Image.Image, corner: tuple[int, int], height: int, item: BenchmarkItem, answer: str) -> None:
    x, y = corner
    draw = ImageDraw.Draw(page)
    draw.rounded_rectangle((x, y, x + CARD, y + height), 14, fill=SHEET, outline=LINE, width=2)
    picture = marked_picture(item.picture, item.prompts, mark_size=1.7)
    picture.thumbnail((PICTURE, PICTURE_H), Image.Resampling.LANCZOS)
    place = (x + (CARD - picture.width) // 2, y + 16 + (PICTURE_H - picture.height) // 2)
    page.paste(picture, place)
    left, top = x + 16, y + 16 + PICTURE_H + 14
    for line in wrapped(item.question, TEXT - 2, PICTURE):
        draw.text((left, top), line, fill=SOFT, font=font(TEXT - 2))
        top += 30
    top += 12
    for verdict, given, truth in _rows(item, answer):
        _sign(draw, (left + PICTURE - 26, top + 4), verdict.right)
        indent = 0
        if verdict.number is not None:
            draw_badge(draw, (left, top + 1), verdict.number)
            indent = 42
        for line in given:
            draw.text((left + indent, top), line, fill=INK if verdict.right else WRONG, font=font(TEXT))
            top += 36
        for line in truth:
            draw.text((left + indent, top - 4), line, fill=SOFT, font=font(TEXT - 4))
            top += 30
        top += 6


def _sign(draw: ImageDraw.ImageDraw, corner: tuple[int, int], right: bool) -> None:
    """✓ or ✗ in strokes: the built-in font has neither."""
    x, y = corner
    strokes: Sequence[Sequence[tuple[int, int]]] = (((2, 12), (9, 19), (22, 3)),)
    if not right:
        strokes = (((4, 3), (20, 19)), ((20, 3), (4, 19)))
    for stroke in strokes:
        draw.line([(x + dx, y + dy) for dx, dy in stroke], fill=RIGHT if right else WRONG, width=4, joint="curve")
