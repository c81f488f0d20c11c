"""Asks about a picture: turns its elements into marked questions with their answers."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import permutations

from .elements import Drawn, Element
from .plan import ANOTHER_TURN, DOMINANCE, MARK_WEIGHTS, MAX_TURNS, MarkKind, Series
from .vocabulary import DIRECTIONS, PLACES

# What a mark is called in a question, and how a question and an answer name one of them.
_NOUNS: dict[MarkKind, str] = {"point": "point", "box": "region"}
_TAGS: dict[MarkKind, str] = {"point": "Mark", "box": "Region"}


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


def _tag(kind: MarkKind, number: int) -> str:
    return f"<{_TAGS[kind]} {number}>"


def _sample(rng: random.Random, elements: Sequence[Element]) -> tuple[Element, ...]:
    """Some of `elements` (at least one), in random order."""
    wanted = rng.choices(list(MARK_WEIGHTS), list(MARK_WEIGHTS.values()))[0]
    return tuple(rng.sample(elements, min(wanted, len(elements))))


def place(element: Element, size: tuple[int, int]) -> str:
    """Where the centre of `element` lies in a picture of `size` (width, height), such as "in the top left"."""
    x, y = element.center
    return PLACES[min(2, int(3 * y / size[1]))][min(2, int(3 * x / size[0]))]


def caption(element: Element, size: tuple[int, int]) -> str:
    """A brief description of `element` in a picture of `size` (width, height)."""
    if element.kind == "word":
        what = f"the word {element.label}"
    else:
        what = f"{'an' if element.color[0] in 'aeiou' else 'a'} {element.label}"
    return f"{what} {place(element, size)}"


def direction(first: Element, second: Element) -> str | None:
    """Where `first` lies as seen from `second`, one of DIRECTIONS; None where no axis clearly dominates."""
    dx, dy = first.center[0] - second.center[0], first.center[1] - second.center[1]
    if max(abs(dx), abs(dy)) < DOMINANCE * min(abs(dx), abs(dy)):
        return None
    if abs(dx) > abs(dy):
        return "left of" if dx < 0 else "right of"
    return "above" if dy < 0 else "below"


def _listed(kind: MarkKind, question: str, marks: tuple[Element, ...], texts: Sequence[str]) -> _Asked:
    answer = "\n".join(f"{_tag(kind, number)}: {text}" for number, text in enumerate(texts, start=1))
    return marks, ((question.format(noun=_NOUNS[kind]), answer),)


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
            sentences.append(f"{_tag(kind, len(marks))} is {step[1]} {_tag(kind, len(marks) - 1)}.")
        if sentences:
            question = f"Please analyze the relationship between all marked {_NOUNS[kind]}s in the image."
            return tuple(marks), ((question, "\n".join(sentences)),)
    return None


def _answer_one(about: str, mark: Element, tag: str) -> Turn:
    if about == "word":
        return f"What word is written in {tag}?", f"{mark.label}."
    value = mark.color if about == "color" else mark.shape
    return f"What {about} is {tag}?", f"{value.capitalize()}."


def _same(about: str, first: Element, second: Element) -> bool:
    return first.color == second.color if about == "color" else first.shape == second.shape


def _subjects(about: str, drawn: Drawn, rng: random.Random) -> tuple[Element, ...] | None:
    """The elements that a question `about` "color", "shape", "word", "same color" or "same shape" is asked of."""
    kind = "word" if about == "word" else "object"
    elements = [element for element in drawn.elements if element.kind == kind]
    if not about.startswith("same "):
        return (rng.choice(elements),) if elements else None
    groups: dict[bool, list[tuple[Element, Element]]] = {True: [], False: []}
    for pair in permutations(elements, 2):
        groups[_same(about.removeprefix("same "), *pair)].append(pair)
    # Only pictures that can give both answers are asked, so that yes and no come equally often.
    return rng.choice(groups[rng.random() < 0.5]) if all(groups.values()) else None


def _ask_qa(drawn: Drawn, kind: MarkKind, rng: random.Random) -> _Asked | None:
    topics = ["color", "shape", "word", "same color", "same shape"]
    rng.shuffle(topics)
    found = ((about, subjects) for about in topics if (subjects := _subjects(about, drawn, rng)))
    about, subjects = next(found, (None, ()))
    if about is None:
        return None
    others = [element for element in drawn.elements if element not in subjects]
    extra = rng.sample(others, min(len(others), rng.randint(1, 3)))
    marks = rng.sample([*subjects, *extra], len(subjects) + len(extra))
    tags = [_tag(kind, marks.index(subject) + 1) for subject in subjects]
    if about.startswith("same "):
        what = about.removeprefix("same ")
        answer = "Yes." if _same(what, *subjects) else "No."
        turns = [(f"Do {tags[0]} and {tags[1]} have the same {what}?", answer)]
    else:
        turns = [_answer_one(about, subjects[0], tags[0])]
    while len(turns) < MAX_TURNS and rng.random() < ANOTHER_TURN:
        mark = rng.choice(marks)
        topic = "word" if mark.kind == "word" else rng.choice(("color", "shape"))
        another = _answer_one(topic, mark, _tag(kind, marks.index(mark) + 1))
        if another in turns:
            break
        turns.append(another)
    return tuple(marks), tuple(turns)


_ASKERS: dict[str, Callable[[Drawn, MarkKind, random.Random], _Asked | None]] = {
    "labels": _ask_labels,
    "ocr": _ask_ocr,
    "brief": _ask_brief,
    "qa": _ask_qa,
}


def _coordinates(element: Element, kind: MarkKind, rng: random.Random) -> tuple[float, ...]:
    x0, y0, x1, y1 = element.box
    if kind == "box":
        return x0, y0, x1 - x0, y1 - y0
    zone = element.core
    return round(rng.uniform(zone[0], zone[2]), 1), round(rng.uniform(zone[1], zone[3]), 1)


def ask(drawn: Drawn, series: Series, rng: random.Random, most_related: int = 2) -> Item | None:
    """An item of `series` about `drawn`, its marks in random order; None where the picture has nothing to ask.

    A relation is asked of 2 to `most_related` marks.
    """
    task, kind = series
    if task == "relation":
        asked = _ask_relation(drawn, kind, rng, most_related)
    else:
        asked = _ASKERS[task](drawn, kind, rng)
    if asked is None:
        return None
    marks, turns = asked
    return Item(series, marks, tuple(_coordinates(mark, kind, rng) for mark in marks), turns)
