"""Example pictures of the four domains, drawn at start by the generator of the embedded data, with first marks."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import Any

from accessory.data.synthetic import Element, draw_picture
from accessory.data.synthetic.elements import Domain, Kind


@dataclass(frozen=True)
class Example:
    """A picture as the page gets it: `source` is a data URI of a PNG, `marks` have the form of `serve.marks`."""

    name: str
    label: str
    source: str
    marks: tuple[dict[str, Any], ...]


# Chosen for the eye: wide pictures, their elements apart from each other. Domain, label, seed, kind of what is marked
# first, and how.
_CHOSEN: tuple[tuple[Domain, str, int, Kind, str], ...] = (
    ("scene", "Scene", 9, "object", "box"),
    ("text", "Text", 6, "word", "box"),
    ("screen", "Screen", 0, "object", "point"),
    ("panel", "Panels", 1, "object", "box"),
)
_MARKS = 3


def examples() -> tuple[Example, ...]:
    """One picture per domain, always the same ones."""
    return tuple(_example(*chosen) for chosen in _CHOSEN)


def _example(domain: Domain, label: str, seed: int, kind: Kind, mark: str) -> Example:
    drawn = draw_picture(domain, seed)
    file = io.BytesIO()
    drawn.image.save(file, "PNG")
    source = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
    elements = [element for element in drawn.elements if element.kind == kind][:_MARKS]
    marks = tuple({"kind": mark, "coords": _coords(each, mark), "id": n} for n, each in enumerate(elements, start=1))
    return Example(f"{domain}.png", label, source, marks)


def _coords(element: Element, mark: str) -> list[int]:
    if mark == "box":
        return list(element.box)
    x0, y0, x1, y1 = element.core
    return [int((x0 + x1) / 2), int((y0 + y1) / 2)]
