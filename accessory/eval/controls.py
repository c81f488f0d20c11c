"""Controls: the same questions with what should matter taken away; scores that survive prove nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from PIL import Image

from accessory.eval.items import BenchmarkItem
from SPHINX_V.errors import DataError
from SPHINX_V.prompts import Box, Point, Prompt


def swap_marks(items: Sequence[BenchmarkItem]) -> list[BenchmarkItem]:
    """Every item with the marks of another item on another picture, scaled into its own picture; all else unchanged.

    Items with equally many marks exchange them in a ring, so the answers keep their form. An item whose ring has no
    other picture takes its marks from the next item that has more, and where none has as many, from several items.
    Raises DataError where all other pictures together have too few.
    """
    sizes = {item.picture: _size(item) for item in items}
    swapped = list(items)
    for index, item in enumerate(items):
        count = len(item.prompts)
        marks: list[Prompt] = []
        for other in _donors(items, index):
            if len(marks) < count:
                scale = _ratio(sizes[other.picture], sizes[item.picture])
                marks += [_scaled(mark, *scale) for mark in other.prompts[: count - len(marks)]]
        if len(marks) < count:
            raise DataError(f"question {item.question_id}: no other pictures have {count} marks to swap with.")
        swapped[index] = replace(item, prompts=tuple(marks))
    return swapped


def _donors(items: Sequence[BenchmarkItem], index: int) -> list[BenchmarkItem]:
    """Items on other pictures, from the next one round to this one: first as many marks, then more, then the most."""
    item = items[index]
    others = [other for other in (*items[index + 1 :], *items[:index]) if other.picture != item.picture]
    count = len(item.prompts)
    same = [other for other in others if len(other.prompts) == count]
    more = [other for other in others if len(other.prompts) > count]
    fewer = sorted((other for other in others if len(other.prompts) < count), key=lambda other: -len(other.prompts))
    return [*same, *more, *fewer]


def _size(item: BenchmarkItem) -> tuple[int, int]:
    with Image.open(item.picture) as picture:
        return picture.size


def _ratio(source: tuple[int, int], target: tuple[int, int]) -> tuple[float, float]:
    return target[0] / source[0], target[1] / source[1]


def _scaled(prompt: Prompt, x: float, y: float) -> Prompt:
    x0, y0, x1, y1 = prompt.bounds()
    return Point(x0 * x, y0 * y) if isinstance(prompt, Point) else Box(x0 * x, y0 * y, x1 * x, y1 * y)
