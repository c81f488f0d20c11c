"""Controls: the same questions with what should matter taken away; scores that survive prove nothing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from PIL import Image

from accessory.eval.items import BenchmarkItem
from SPHINX_V.errors import DataError
from SPHINX_V.prompts import Box, Point, Prompt


def swap_marks(items: Sequence[BenchmarkItem]) -> list[BenchmarkItem]:
    """Every item with the marks of another item on another picture, scaled into its own picture; all else unchanged.

    Items with equally many marks exchange them in a ring, so the answers keep their form. An item whose ring has no
    other picture takes its marks from the next item that has at least as many.
    """
    sizes = {item.picture: _size(item) for item in items}
    rings: dict[int, list[int]] = defaultdict(list)
    for index, item in enumerate(items):
        rings[len(item.prompts)].append(index)
    swapped = list(items)
    for count, ring in rings.items():
        for place, index in enumerate(ring):
            item = items[index]
            others = [items[i] for i in ring[place + 1 :] + ring[:place] if items[i].picture != item.picture]
            others += [other for other in items if other.picture != item.picture and len(other.prompts) > count]
            if not others and count:
                raise DataError(f"question {item.question_id}: no other picture has {count} marks to swap with.")
            marks = others[0].prompts[:count] if count else ()
            scale = _ratio(sizes[others[0].picture], sizes[item.picture]) if count else (1.0, 1.0)
            swapped[index] = replace(item, prompts=tuple(_scaled(mark, *scale) for mark in marks))
    return swapped


def _size(item: BenchmarkItem) -> tuple[int, int]:
    with Image.open(item.picture) as picture:
        return picture.size


def _ratio(source: tuple[int, int], target: tuple[int, int]) -> tuple[float, float]:
    return target[0] / source[0], target[1] / source[1]


def _scaled(prompt: Prompt, x: float, y: float) -> Prompt:
    x0, y0, x1, y1 = prompt.bounds()
    return Point(x0 * x, y0 * y) if isinstance(prompt, Point) else Box(x0 * x, y0 * y, x1 * x, y1 * y)
