"""Controls: the same questions with what should matter taken away; scores that survive prove nothing."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Literal

from accessory.eval.items import BenchmarkItem
from SPHINX_V.errors import DataError, UsageError
from SPHINX_V.processing.image import picture_size
from SPHINX_V.prompts import Box, Point, Prompt

Control = Literal["none", "swap_marks", "no_marks"]


def control_items(items: Sequence[BenchmarkItem], control: Control) -> list[BenchmarkItem]:
    """The items as a control asks them; "none" leaves them as they are.

    Raises UsageError for a control of items that have no marks: nothing would be taken away.
    """
    if control == "none":
        return list(items)
    if not any(item.prompts for item in items):
        raise UsageError(f"{control}: no item has a mark, so the control is the question itself; leave it out.")
    return swap_marks(items) if control == "swap_marks" else [replace(item, prompts=()) for item in items]


def swap_marks(items: Sequence[BenchmarkItem]) -> list[BenchmarkItem]:
    """Every item with the marks of another item on another picture, scaled into its own picture; all else unchanged.

    Items with equally many marks exchange them in a ring, so the answers keep their form. An item whose ring has no
    other picture takes its marks from the next item that has more, and where none has as many, from several items.
    Raises DataError where all other pictures together have too few.
    """
    sizes = {picture: picture_size(picture) for picture in {item.picture for item in items if item.prompts}}
    by_count: dict[int, list[int]] = {}
    for index, item in enumerate(items):
        by_count.setdefault(len(item.prompts), []).append(index)
    swapped = list(items)
    for index, item in enumerate(items):
        count = len(item.prompts)
        marks: list[Prompt] = []
        donors = _donors(items, index, by_count)
        while len(marks) < count:
            other = next(donors, None)
            if other is None:
                raise DataError(f"question {item.question_id}: no other pictures have {count} marks to swap with.")
            scale = _ratio(sizes[other.picture], sizes[item.picture])
            marks += [_scaled(mark, *scale) for mark in other.prompts[: count - len(marks)]]
        swapped[index] = replace(item, prompts=tuple(marks))
    return swapped


def _donors(
    items: Sequence[BenchmarkItem], index: int, by_count: Mapping[int, Sequence[int]]
) -> Iterator[BenchmarkItem]:
    """Items on other pictures, from the next one round to this one: first as many marks, then more, then the most."""
    count = len(items[index].prompts)
    yield from _ring(items, by_count[count], index)
    more = sorted(number for other, numbers in by_count.items() if other > count for number in numbers)
    yield from _ring(items, more, index)
    for other in sorted((other for other in by_count if 0 < other < count), reverse=True):
        yield from _ring(items, by_count[other], index)


def _ring(items: Sequence[BenchmarkItem], numbers: Sequence[int], index: int) -> Iterator[BenchmarkItem]:
    """The items of these ascending numbers, from the first one after `index` round to it, if on another picture."""
    start = bisect_right(numbers, index)
    for place in range(len(numbers)):
        other = items[numbers[(start + place) % len(numbers)]]
        if other.picture != items[index].picture:
            yield other


def _ratio(source: tuple[int, int], target: tuple[int, int]) -> tuple[float, float]:
    return target[0] / source[0], target[1] / source[1]


def _scaled(prompt: Prompt, x: float, y: float) -> Prompt:
    x0, y0, x1, y1 = prompt.bounds()
    return Point(x0 * x, y0 * y) if isinstance(prompt, Point) else Box(x0 * x, y0 * y, x1 * x, y1 * y)
