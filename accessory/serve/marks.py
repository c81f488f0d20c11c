"""Marks as they come over a wire, from a browser or a client of the server: checked, then typed prompts.

The form: `{"kind": "point|box|scribble|mask", "coords": […], "units": "px|norm", "id": n}`. Coordinates are pixels of
the picture as displayed ("px", the default) or fractions of its width and height ("norm"): `[x, y]` of a point,
`[x0, y0, x1, y1]` of a box, `[[x, y], …]` along a scribble or around a mask.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from SPHINX_V.errors import UsageError
from SPHINX_V.prompts import Box, Point, Prompt, Scribble, check_prompts

MOST_VERTICES = 4096  # of one scribble or mask
_FIELDS = ("kind", "coords", "units", "id")
_LENGTHS = {"point": 2, "box": 4}
_SHOWN = 60  # characters of a wrong value that an error repeats


def parse_marks(values: Any, size: tuple[int, int], most: int) -> tuple[Prompt, ...]:
    """The marks of a list in the form above, in its order, in pixels of a picture of `size` (width, height).

    A mask becomes the box around its outline, which is all that the model sees of it. Raises UsageError for what is not
    of that form, for more than `most` marks, for ids that are not 1, 2, … in order, and for marks outside the picture.
    """
    if not isinstance(values, Sequence) or isinstance(values, (str, bytes)):
        raise UsageError(f"the marks are {_short(values)}; give a list of objects with kind and coords.")
    if len(values) > most:
        raise UsageError(f"{len(values)} marks given, the model has {most} slots; ask about at most {most} at a time.")
    prompts = tuple(_parse_mark(value, size, number) for number, value in enumerate(values, start=1))
    check_prompts(prompts, *size, most)
    return prompts


def _parse_mark(value: Any, size: tuple[int, int], number: int) -> Prompt:
    where = f"mark {number}"
    if not isinstance(value, Mapping):
        raise UsageError(f"{where} is {_short(value)}; give an object with kind and coords.")
    unknown = [field for field in value if field not in _FIELDS]
    if unknown:
        raise UsageError(f"{where} has the unknown field {_short(unknown[0])}; the fields are {', '.join(_FIELDS)}.")
    identity = value.get("id")
    if identity is not None and (isinstance(identity, bool) or identity != number):
        raise UsageError(f"{where} has the id {_short(identity)}; marks are numbered 1, 2, … in their order.")
    units = value.get("units", "px")
    if units not in ("px", "norm"):
        raise UsageError(f"{where}: units is {_short(units)}; give 'px' or 'norm'.")
    scale = size if units == "norm" else (1, 1)
    kind, coords = value.get("kind"), value.get("coords")
    if isinstance(kind, str) and kind in _LENGTHS:
        x0, y0, *rest = _scaled(coords, _LENGTHS[kind], scale, f"{where}, a {kind}")
        try:
            return Box(x0, y0, *rest) if rest else Point(x0, y0)
        except UsageError as error:
            raise UsageError(f"{where}: {error}") from None
    if kind not in ("scribble", "mask"):
        raise UsageError(f"{where}: kind is {_short(kind)}; give 'point', 'box', 'scribble' or 'mask'.")
    pairs = _vertices(coords, scale, f"{where}, a {kind}", least=3 if kind == "mask" else 1)
    if kind == "scribble":
        return Scribble(pairs)
    xs, ys = zip(*pairs, strict=True)
    if min(xs) == max(xs) or min(ys) == max(ys):
        raise UsageError(f"{where}, a mask, has no area; give an outline around what is meant.")
    return Box(min(xs), min(ys), max(xs), max(ys))


def _vertices(coords: Any, scale: tuple[int, int], where: str, least: int) -> tuple[tuple[float, float], ...]:
    if not isinstance(coords, Sequence) or isinstance(coords, (str, bytes)):
        raise UsageError(f"{where}: coords is {_short(coords)}; give a list of pairs [x, y].")
    if not least <= len(coords) <= MOST_VERTICES:
        raise UsageError(f"{where}: {len(coords)} vertices; give {least} to {MOST_VERTICES}.")
    pairs = (_scaled(pair, 2, scale, f"{where}, vertex {i}") for i, pair in enumerate(coords, start=1))
    return tuple((x, y) for x, y in pairs)


def _scaled(coords: Any, length: int, scale: tuple[int, int], where: str) -> list[float]:
    """`length` numbers x, y, x, y, … in pixels."""
    if not isinstance(coords, Sequence) or isinstance(coords, (str, bytes)) or len(coords) != length:
        raise UsageError(f"{where}: coords is {_short(coords)}; give {length} numbers.")
    for number in coords:
        # Compared before it is made a float: an integer of a million digits has none.
        is_number = isinstance(number, (int, float)) and not isinstance(number, bool)
        if not is_number or not -1e9 < number < 1e9 or not math.isfinite(number):
            raise UsageError(f"{where}: {_short(number)} is no coordinate; give finite numbers.")
    return [number * scale[at % 2] for at, number in enumerate(coords)]


def _short(value: Any) -> str:
    """A value as an error shows it, of bounded length and cost."""
    if isinstance(value, (list, tuple, Mapping)):
        return f"a {type(value).__name__} of {len(value)}"
    if isinstance(value, int) and not -(10**18) < value < 10**18:
        return "a number of many digits"
    text = repr(value[:_SHOWN] if isinstance(value, str) else value)
    return text if len(text) <= _SHOWN + 2 else f"{text[:_SHOWN]}…"
