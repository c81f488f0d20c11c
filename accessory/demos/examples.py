"""Example pictures of the four domains, drawn at start by the generator of the embedded data, with marks to begin with."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import Any

from accessory.data.synthetic import Drawn, ask, draw_picture
from accessory.data.synthetic.elements import Domain
from accessory.data.synthetic.plan import Series
from accessory.data.synthetic.seeds import stream


@dataclass(frozen=True)
class Example:
    """A picture as the page gets it: `source` is a data URI of a PNG, `marks` have the form of `serve.marks`."""

    name: str
    label: str
    source: str
    marks: tuple[dict[str, Any], ...]


# Chosen for the eye among the first seeds: the elements apart from each other, the colours different.
_CHOSEN: tuple[tuple[Domain, str, int, Series], ...] = (
    ("scene", "Scene", 7, ("labels", "box")),
    ("text", "Text", 3, ("ocr", "box")),
    ("screen", "Screen", 5, ("labels", "point")),
    ("panel", "Panels", 4, ("brief", "box")),
)
_MOST_MARKS = 3


def examples() -> tuple[Example, ...]:
    """One picture per domain, always the same ones."""
    return tuple(_example(*chosen) for chosen in _CHOSEN)


def _example(domain: Domain, label: str, seed: int, series: Series) -> Example:
    drawn = draw_picture(domain, seed)
    file = io.BytesIO()
    drawn.image.save(file, "PNG")
    source = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
    return Example(f"{domain}.png", label, source, _marks(drawn, series, seed))


def _marks(drawn: Drawn, series: Series, seed: int) -> tuple[dict[str, Any], ...]:
    item = ask(drawn, series, stream(seed, 0))
    if item is None:
        return ()
    marks: list[dict[str, Any]] = []
    for number, numbers in enumerate(item.coordinates[:_MOST_MARKS], start=1):
        whole = [round(value) for value in numbers]
        if len(whole) == 4:
            whole[2:] = [whole[0] + whole[2], whole[1] + whole[3]]
        marks.append({"kind": "point" if len(whole) == 2 else "box", "coords": whole, "id": number})
    return tuple(marks)
