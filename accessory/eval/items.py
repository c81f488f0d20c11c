"""Benchmark items: one question about marks on a picture, with the true answer."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from SPHINX_V.errors import DataError, UsageError
from SPHINX_V.prompts import Box, Point, Prompt, as_prompt


@dataclass(frozen=True)
class BenchmarkItem:
    """A question with its marks in pixels of the picture, and what counts as right."""

    question_id: int | str
    dataset: str
    picture: Path
    question: str
    truth: str
    prompts: tuple[Prompt, ...]

    @property
    def points(self) -> bool:
        return all(isinstance(prompt, Point) for prompt in self.prompts)


def read_items(path: Path, image_root: Path) -> list[BenchmarkItem]:
    """The items of a benchmark file (form: spec of evaluation); raises DataError that names file, item and field."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path}: no such benchmark file.") from None
    except json.JSONDecodeError as error:
        raise DataError(f"{path}: not valid JSON: {error}") from None
    if not isinstance(values, list) or not values:
        raise DataError(f"{path}: a benchmark file is a list of at least one item.")
    items = [_item(value, f"{path}, item {number}", image_root) for number, value in enumerate(values)]
    seen: set[int | str] = set()
    for item in items:
        if item.question_id in seen:
            raise DataError(f"{path}: question_id {item.question_id} stands twice; ids must be unique within a file.")
        seen.add(item.question_id)
    return items


def _item(value: Any, where: str, image_root: Path) -> BenchmarkItem:
    fields = {"image_name": str, "question": str, "question_id": (int, str), "dataset_name": str, "gt_answers": str}
    if not isinstance(value, dict):
        raise DataError(f"{where}: is a {type(value).__name__}, not an object.")
    for field, kind in fields.items():
        if not isinstance(value.get(field), kind):  # type: ignore[arg-type]
            raise DataError(f"{where}: {field} is {value.get(field)!r}; the item form needs it.")
    marks = value.get("bbox") or value.get("points") or []
    if value.get("bbox") and value.get("points"):
        raise DataError(f"{where}: has bbox and points; an item's marks are of one kind.")
    if not isinstance(marks, list):
        raise DataError(f"{where}: the marks are {marks!r}; give a list of [x, y, w, h] or of [x, y].")
    expected = Box if value.get("bbox") else Point
    try:
        prompts = tuple(as_prompt(mark, f"mark {number}") for number, mark in enumerate(marks, start=1))
    except UsageError as error:
        raise DataError(f"{where}: {error}") from None
    if any(not isinstance(prompt, expected) for prompt in prompts):
        raise DataError(f"{where}: bbox holds [x, y, w, h], points hold [x, y]; got {marks!r}.")
    picture = image_root / value["image_name"]
    if not picture.is_file():
        raise DataError(f"{where}: picture {picture} does not exist; check the image root.")
    return BenchmarkItem(
        value["question_id"], value["dataset_name"], picture, value["question"], value["gt_answers"], prompts
    )
