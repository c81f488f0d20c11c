"""What can be said of elements: the names of marks, places, directions, sizes and brief descriptions."""

from __future__ import annotations

from .elements import Element
from .plan import DOMINANCE, OUTGROWN, MarkKind
from .vocabulary import PLACES

# What a mark is called in a question, and how a question and an answer name one of them.
NOUNS: dict[MarkKind, str] = {"point": "point", "box": "region"}
_TAGS: dict[MarkKind, str] = {"point": "Mark", "box": "Region"}


def tag(kind: MarkKind, number: int) -> str:
    """The name of a mark, such as "<Region 2>"."""
    return f"<{_TAGS[kind]} {number}>"


def with_article(noun: str) -> str:
    """Such as "an orange star"."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def place(element: Element, size: tuple[int, int]) -> str:
    """Where the centre of `element` lies in a picture of `size` (width, height), such as "in the top left"."""
    x, y = element.center
    return PLACES[min(2, int(3 * y / size[1]))][min(2, int(3 * x / size[0]))]


def caption(element: Element, size: tuple[int, int]) -> str:
    """A brief description of `element` in a picture of `size` (width, height)."""
    what = f"the word {element.label}" if element.kind == "word" else with_article(element.label)
    return f"{what} {place(element, size)}"


def direction(first: Element, second: Element) -> str | None:
    """Where `first` lies as seen from `second`, one of DIRECTIONS; None where no axis clearly dominates."""
    dx, dy = first.center[0] - second.center[0], first.center[1] - second.center[1]
    if max(abs(dx), abs(dy)) < DOMINANCE * min(abs(dx), abs(dy)):
        return None
    if abs(dx) > abs(dy):
        return "left of" if dx < 0 else "right of"
    return "above" if dy < 0 else "below"


def comparison(first: Element, second: Element) -> str | None:
    """Whether the box of `first` is "larger" or "smaller" in area than that of `second`; None where it is not clear."""
    ratio = _area(first) / _area(second)
    if ratio >= OUTGROWN:
        return "larger"
    return "smaller" if ratio <= 1 / OUTGROWN else None


def _area(element: Element) -> int:
    x0, y0, x1, y1 = element.box
    return (x1 - x0) * (y1 - y0)
