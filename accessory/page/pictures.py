"""Pictures for people to look at: enlarged before the marks are drawn, so that numbers stay crisp."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy
from PIL import Image

from SPHINX_V.overlay import draw_marks
from SPHINX_V.processing.image import open_picture
from SPHINX_V.prompts import Box, Mask, Point, Prompt, Scribble

SIDE = 640  # pixels of the longer side that a small picture may grow to
LARGEST = 1280  # pixels of the longer side that a large picture is reduced to


def marked_picture(
    path: Path,
    prompts: Sequence[Prompt],
    side: int = SIDE,
    mark_size: float = 1.0,
    largest: int = LARGEST,
    fine: bool = False,
) -> Image.Image:
    """The picture with its numbered marks, RGB. A small one is enlarged a whole number of times, up to `side` pixels, a
    large one is reduced to `largest`.

    `mark_size`: 2 for a picture that will be shown at half its pixels. `fine`: marks that cover nothing that is marked.
    Raises DataError as `open_picture` does.
    """
    picture = open_picture(path)
    longer = max(picture.size)
    scale = max(1, side // longer) if longer <= largest else largest / longer
    if scale != 1:
        size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    return draw_marks(picture, [scaled(prompt, scale) for prompt in prompts], size=mark_size, fine=fine)


def scaled(prompt: Prompt, scale: float) -> Prompt:
    """The prompt on the picture made `scale` times as large.

    Points and strokes name pixels, whose middle lies half a pixel further; boxes name edges.
    """
    if scale == 1:
        return prompt
    shift = (scale - 1) / 2
    if isinstance(prompt, Point):
        return Point(prompt.x * scale + shift, prompt.y * scale + shift)
    if isinstance(prompt, Scribble):
        return Scribble(tuple((x * scale + shift, y * scale + shift) for x, y in prompt.points))
    if isinstance(prompt, Mask):
        return _scaled_mask(prompt, scale)
    return Box(*(value * scale for value in prompt.bounds()))


def _scaled_mask(mask: Mask, scale: float) -> Mask | Box:
    """A mask so small that no pixel of it is left becomes its box."""
    height, width = mask.array.shape
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    resized = Image.fromarray(mask.array.astype(numpy.uint8)).resize(size, Image.Resampling.NEAREST)
    array = numpy.asarray(resized)
    return Mask(array) if array.any() else Box(*(value * scale for value in mask.bounds()))
