"""Points, boxes, scribbles and masks in pixels of the original picture; the one place that knows the conventions.

Frame: x to the right, y down, origin at the top-left corner of the picture as displayed. Inside, boxes are `xyxy`;
the reference's raw lists (`[x, y]` = point, `[x, y, w, h]` = box) are converted at the door by `as_prompts`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from SPHINX_V.errors import UsageError

if TYPE_CHECKING:
    import numpy

PairOfNumbers = tuple[float, float]


def _finite(value: Any, what: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise UsageError(f"{what} is {value!r}, which is not a number; give pixels of the original picture.") from None
    if not math.isfinite(number):
        raise UsageError(f"{what} is {number}; coordinates must be finite pixels of the original picture.")
    return number


@dataclass(frozen=True)
class Point:
    """A marked point, in pixels of the original picture."""

    x: float
    y: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "x", _finite(self.x, "Point.x"))
        object.__setattr__(self, "y", _finite(self.y, "Point.y"))

    def bounds(self) -> tuple[float, float, float, float]:
        """`(x0, y0, x1, y1)` in pixels; both corners are the point itself."""
        return (self.x, self.y, self.x, self.y)


@dataclass(frozen=True)
class Box:
    """A marked rectangle with corners (x0, y0) and (x1, y1), in pixels of the original picture.

    Raises UsageError where x1 ≤ x0 or y1 ≤ y0.
    """

    x0: float
    y0: float
    x1: float
    y1: float

    def __post_init__(self) -> None:
        for name in ("x0", "y0", "x1", "y1"):
            object.__setattr__(self, name, _finite(getattr(self, name), f"Box.{name}"))
        if self.x1 <= self.x0 or self.y1 <= self.y0:
            raise UsageError(
                f"Box({self.x0:g}, {self.y0:g}, {self.x1:g}, {self.y1:g}) has no area: x1 must be greater than x0"
                " and y1 greater than y0. If these numbers are x, y, width, height, use Box.from_xywh."
            )

    @staticmethod
    def from_xywh(x: float, y: float, w: float, h: float) -> Box:
        """A box from its top-left corner and size, the form of COCO annotations."""
        x, y, w, h = (_finite(v, f"Box.from_xywh {n}") for v, n in zip((x, y, w, h), "xywh", strict=True))
        if w <= 0 or h <= 0:
            raise UsageError(
                f"Box.from_xywh({x:g}, {y:g}, {w:g}, {h:g}) has no area: width and height must be above 0."
            )
        return Box(x, y, x + w, y + h)

    def bounds(self) -> tuple[float, float, float, float]:
        """`(x0, y0, x1, y1)` in pixels."""
        return (self.x0, self.y0, self.x1, self.y1)


@dataclass(frozen=True)
class Scribble:
    """A free-hand stroke or outline: a sequence of (x, y) in pixels. It reaches the model as its bounding box."""

    points: tuple[PairOfNumbers, ...]

    def __post_init__(self) -> None:
        if not isinstance(self.points, Iterable):
            raise UsageError(f"Scribble.points is {self.points!r}; give a sequence of pairs (x, y) in pixels.")
        pairs = tuple(_pair(pair, f"Scribble.points[{i}]") for i, pair in enumerate(self.points))
        if not pairs:
            raise UsageError("Scribble has 0 points; give at least 1.")
        object.__setattr__(self, "points", pairs)

    def bounds(self) -> tuple[float, float, float, float]:
        """`(x0, y0, x1, y1)` of the pixels that the stroke touches, so even one dot has an area."""
        xs, ys = zip(*self.points, strict=True)
        return (
            float(math.floor(min(xs))),
            float(math.floor(min(ys))),
            float(math.floor(max(xs)) + 1),
            float(math.floor(max(ys)) + 1),
        )


@dataclass(frozen=True, eq=False)
class Mask:
    """A binary mask [H, W] of the size of the picture; non-zero pixels are marked. It reaches the model as its box."""

    array: numpy.ndarray = field(repr=False)

    def __post_init__(self) -> None:
        import numpy

        array = numpy.array(self.array) != 0  # a copy: the caller's array stays the caller's
        if array.ndim != 2:
            raise UsageError(f"Mask has shape {tuple(array.shape)}; give one mask [height, width] per region.")
        if not array.any():
            raise UsageError("Mask marks no pixel: zero area. Give a mask with at least one non-zero pixel.")
        array.setflags(write=False)
        object.__setattr__(self, "array", array)

    def bounds(self) -> tuple[float, float, float, float]:
        """`(x0, y0, x1, y1)` around the marked pixels, in pixels."""
        rows = self.array.any(axis=1).nonzero()[0]
        columns = self.array.any(axis=0).nonzero()[0]
        return (float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1))


Prompt = Point | Box | Scribble | Mask


def _pair(value: Any, what: str) -> PairOfNumbers:
    items = _numbers(value)
    if items is None or len(items) != 2:
        raise UsageError(f"{what} is {value!r}; give a pair (x, y) in pixels.")
    return (_finite(items[0], f"{what}.x"), _finite(items[1], f"{what}.y"))


def _numbers(value: Any) -> list[Any] | None:
    """The items of a list, tuple or one-dimensional array; None where the value is nothing of the kind."""
    if isinstance(value, (list, tuple)):
        return list(value)
    if hasattr(value, "tolist") and getattr(value, "ndim", 0) == 1:
        return list(value.tolist())
    return None


def as_prompt(value: Any, where: str = "prompt") -> Prompt:
    """One typed prompt from a prompt object or a raw list in reference form: `[x, y]` = point, `[x, y, w, h]` = box."""
    if isinstance(value, (Point, Box, Scribble, Mask)):
        return value
    items = _numbers(value)
    if items is None or len(items) not in (2, 4):
        raise UsageError(
            f"{where} is {value!r}; give Point, Box, Scribble, Mask, or a list [x, y] (point) or [x, y, w, h] (box)."
        )
    try:
        return Point(items[0], items[1]) if len(items) == 2 else Box.from_xywh(*items)
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from None


def as_prompts(values: Iterable[Any] | None) -> tuple[Prompt, ...]:
    """Typed prompts from what a user hands in; the argument is read, never changed."""
    if values is None:
        return ()
    if not isinstance(values, Iterable):
        raise UsageError(f"prompts is {values!r}; give a list of prompts, also for a single one: [prompt].")
    return tuple(as_prompt(value, f"prompt {i}") for i, value in enumerate(values, start=1))


def is_point(prompt: Prompt) -> bool:
    """Points are encoded by their one corner; every other kind by its bounding box."""
    return isinstance(prompt, Point)


def check_prompts(prompts: Sequence[Prompt], width: int, height: int, max_prompts: int) -> None:
    """Refuses prompts that cannot be meant for a picture of `width` × `height` pixels.

    Raises UsageError for more prompts than slots, for one wholly outside the picture, for a mask of another size. One
    partly outside is taken as given, as the reference does; `overstepping` tells of it.
    """
    if len(prompts) > max_prompts:
        raise UsageError(
            f"{len(prompts)} prompts given, the model has {max_prompts} slots;"
            f" ask about at most {max_prompts} at a time."
        )
    for number, prompt in enumerate(prompts, start=1):
        if isinstance(prompt, Mask) and prompt.array.shape != (height, width):
            raise UsageError(
                f"prompt {number}: the mask is {prompt.array.shape[1]}×{prompt.array.shape[0]} (W×H), the picture"
                f" {width}×{height}; resize the mask to the picture."
            )
        x0, y0, x1, y1 = _extent(prompt)
        outside = x0 > width or y0 > height or x1 < 0 or y1 < 0
        touching = isinstance(prompt, (Box, Mask)) and (x0 >= width or y0 >= height or x1 <= 0 or y1 <= 0)
        if outside or touching:
            raise UsageError(
                f"prompt {number} {_short(prompt)} lies wholly outside the picture of {width}×{height} pixels;"
                " coordinates are pixels of the original picture, not of a resized one."
            )


def overstepping(prompts: Sequence[Prompt], width: int, height: int) -> list[str]:
    """A sentence for each prompt that reaches outside a picture of `width` × `height` pixels."""
    found = []
    for number, prompt in enumerate(prompts, start=1):
        x0, y0, x1, y1 = prompt.bounds()
        if x0 < 0 or y0 < 0 or x1 > width or y1 > height:
            found.append(
                f"prompt {number} {_short(prompt)} reaches outside the picture of {width}×{height} pixels;"
                " it is taken as given."
            )
    return found


def _extent(prompt: Prompt) -> tuple[float, float, float, float]:
    """As `bounds`, but of a scribble around its positions: one along the picture's right edge touches pixels that are
    not there, and is as good as a point on that edge."""
    if not isinstance(prompt, Scribble):
        return prompt.bounds()
    xs, ys = zip(*prompt.points, strict=True)
    return (min(xs), min(ys), max(xs), max(ys))


def _short(prompt: Prompt) -> str:
    return f"{type(prompt).__name__}{tuple(round(v, 2) for v in prompt.bounds())}"
