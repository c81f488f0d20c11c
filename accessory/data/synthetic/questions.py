"""Asks about a picture: turns its elements into marked questions with their answers."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .elements import Drawn, Element
from .free import converse
from .plan import EXTENTS, MARK_WEIGHTS, Extent, MarkKind, Series
from .telling import NOUNS, caption, direction, tag
from .vocabulary import DIRECTIONS


@dataclass(frozen=True, slots=True)
class Item:
    """One conversation about marked elements.

    `marks` are in the order of their numbers. `coordinates` holds, for each, x, y (points) or x, y, width, height
    (boxes) in pixels of the picture. `turns` are (question, answer) pairs without the image tag.
    """

    series: Series
    marks: tuple[Element, ...]
    coordinates: tuple[tuple[float, ...], ...]
    turns: tuple[tuple[str, str], ...]


Turn = tuple[str, str]
_Asked = tuple[tuple[Element, ...], tuple[Turn, ...]]


def _sample(rng: random.Random, elements: Sequence[Element]) -> tuple[Element, ...]:
    """Some of `elements` (at least one), in random order."""
    wanted = rng.choices(list(MARK_WEIGHTS), list(MARK_WEIGHTS.values()))[0]
    return tuple(rng.sample(elements, min(wanted, len(elements))))


def _listed(kind: MarkKind, question: str, marks: tuple[Element, ...], texts: Sequence[str]) -> _Asked:
    answer = "\n".join(f"{tag(kind, number)}: {text}" for number, text in enumerate(texts, start=1))
    return marks, ((question.format(noun=NOUNS[kind]), answer),)


def _ask_labels(drawn: Drawn, kind: MarkKind, rng: random.Random) -> _Asked | None:
    objects = [element for element in drawn.elements if element.kind == "object"]
    if not objects:
        return None
    marks = _sample(rng, objects)
    question = "Please identify the labels of each marked {noun} in the image."
    return _listed(kind, question, marks, [mark.label for mark in marks])


def _ask_ocr(drawn: Drawn, kind: MarkKind, rng: random.Random) -> _Asked | None:
    words = [element for element in drawn.elements if element.kind == "word"]
    if not words:
        return None
    marks = _sample(rng, words)
    question = "Please provide the ocr results of each marked {noun} in the image."
    return _listed(kind, question, marks, [mark.label for mark in marks])


def _ask_brief(drawn: Drawn, kind: MarkKind, rng: random.Random) -> _Asked | None:
    marks = _sample(rng, drawn.elements)
    question = "Please provide a brief description of each marked {noun} in the image."
    return _listed(kind, question, marks, [caption(mark, drawn.image.size) for mark in marks])


def _next_mark(rng: random.Random, last: Element, rest: Sequence[Element]) -> tuple[Element, str] | None:
    """One of `rest` and where it lies from `last`; the direction is drawn first: the elements alone would favour the
    picture's longer axis."""
    by_direction: dict[str, list[Element]] = {name: [] for name in DIRECTIONS}
    for element in rest:
        found = direction(element, last)
        if found is not None:
            by_direction[found].append(element)
    possible = [name for name, elements in by_direction.items() if elements]
    if not possible:
        return None
    name = rng.choice(possible)
    return rng.choice(by_direction[name]), name


def _ask_relation(drawn: Drawn, kind: MarkKind, rng: random.Random, most_marks: int) -> _Asked | None:
    """How each mark lies to the one before it."""
    wanted = rng.randint(2, most_marks)
    # A walk can begin where nothing lies clearly to one side; the next beginning is tried then.
    for first in rng.sample(drawn.elements, len(drawn.elements)):
        marks, sentences = [first], []
        while len(marks) < wanted:
            step = _next_mark(rng, marks[-1], [element for element in drawn.elements if element not in marks])
            if step is None:
                break
            marks.append(step[0])
            sentences.append(f"{tag(kind, len(marks))} is {step[1]} {tag(kind, len(marks) - 1)}.")
        if sentences:
            question = f"Please analyze the relationship between all marked {NOUNS[kind]}s in the image."
            return tuple(marks), ((question, "\n".join(sentences)),)
    return None


_ASKERS: dict[str, Callable[[Drawn, MarkKind, random.Random], _Asked | None]] = {
    "labels": _ask_labels,
    "ocr": _ask_ocr,
    "brief": _ask_brief,
}


def _coordinates(element: Element, kind: MarkKind, rng: random.Random) -> tuple[float, ...]:
    x0, y0, x1, y1 = element.box
    if kind == "box":
        return x0, y0, x1 - x0, y1 - y0
    zone = element.core
    return round(rng.uniform(zone[0], zone[2]), 1), round(rng.uniform(zone[1], zone[3]), 1)


def ask(drawn: Drawn, series: Series, rng: random.Random, extent: Extent = EXTENTS["heldout"]) -> Item | None:
    """An item of `series` about `drawn`, its marks in random order; None where the picture has nothing to ask."""
    task, kind = series
    if task == "relation":
        asked = _ask_relation(drawn, kind, rng, extent.related)
    elif task == "qa":
        asked = converse(drawn, kind, rng, extent)
    else:
        asked = _ASKERS[task](drawn, kind, rng)
    if asked is None:
        return None
    marks, turns = asked
    return Item(series, marks, tuple(_coordinates(mark, kind, rng) for mark in marks), turns)
