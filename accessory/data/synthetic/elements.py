"""What a picture is made of: the ground truth that every annotation is derived from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from PIL import Image

Box = tuple[int, int, int, int]
Zone = tuple[float, float, float, float]
Kind = Literal["object", "word"]
Domain = Literal["scene", "text", "screen", "panel"]


@dataclass(frozen=True, slots=True)
class Element:
    """One thing that can be marked.

    `label` is "red circle" for an object and the upper-case word for a word. `box` is x0, y0, x1, y1 in pixels of
    the picture (x1 and y1 are the first column and row outside). `core` is the part of the box, in the same frame,
    from which a point is drawn.
    """

    kind: Kind
    label: str
    box: Box
    core: Zone

    @property
    def color(self) -> str:
        """The colour of an object: the first half of its label."""
        return self.label.split()[0]

    @property
    def shape(self) -> str:
        """The shape of an object: the second half of its label."""
        return self.label.split()[-1]

    @property
    def center(self) -> tuple[float, float]:
        """The centre of the box, x, y in pixels."""
        return (self.box[0] + self.box[2]) / 2, (self.box[1] + self.box[3]) / 2


@dataclass(frozen=True, slots=True)
class Drawn:
    """A picture (RGB) and everything in it that has a name; no two elements share a label."""

    image: Image.Image
    elements: tuple[Element, ...]
    domain: Domain


def inner_zone(box: Box, fractions: Zone) -> Zone:
    """The part of `box` that lies between `fractions` (x0, y0, x1, y1 of its width and height)."""
    width, height = box[2] - box[0], box[3] - box[1]
    return (
        box[0] + fractions[0] * width,
        box[1] + fractions[1] * height,
        box[0] + fractions[2] * width,
        box[1] + fractions[3] * height,
    )
