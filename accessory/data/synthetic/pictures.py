"""Draws a picture of any domain from its seed."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from SPHINX_V.errors import UsageError

from .elements import Domain, Drawn
from .panel import draw_panel
from .scene import draw_scene
from .screen import draw_screen
from .seeds import stream
from .text import draw_text

_DRAWERS: dict[Domain, Callable[[random.Random], Drawn]] = {
    "scene": draw_scene,
    "text": draw_text,
    "screen": draw_screen,
    "panel": draw_panel,
}


def draw_picture(domain: Domain, seed: int | Sequence[int]) -> Drawn:
    """The picture of `domain` that `seed` (non-negative) stands for: always the same one.

    The image is RGB with a longer side of 144..208 pixels. Raises UsageError for an unknown domain.
    """
    if domain not in _DRAWERS:
        raise UsageError(f"unknown domain {domain!r}: use one of {', '.join(_DRAWERS)}")
    return _DRAWERS[domain](stream(seed))
