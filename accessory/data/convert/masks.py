"""Masks as COCO writes them (run lengths, polygons, panoptic PNGs) → boolean arrays; the point that stands for one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy
from PIL import Image, ImageDraw

from SPHINX_V.errors import DataError


def decode_counts(text: str) -> list[int]:
    """Run lengths from COCO's compressed text; raises DataError for text that is none.

    6 bits a character, 5 of them data; each run from the fourth on is stored as the difference to the run two before.
    """
    counts: list[int] = []
    value, bits = 0, 0
    for character in text:
        code = ord(character) - 48
        if not 0 <= code < 64:
            raise DataError(f"character {character!r} is not one of compressed run lengths; check the counts.")
        value |= (code & 31) << bits
        bits += 5
        if code & 32:
            continue
        if code & 16:  # the sign
            value -= 1 << bits
        counts.append(value + counts[-2] if len(counts) > 2 else value)
        value, bits = 0, 0
    if bits:
        raise DataError("the run lengths end within a number; the counts are cut off.")
    return counts


def run_length_mask(counts: Any, height: int, width: int) -> numpy.ndarray:
    """A mask [height, width] from run lengths, compressed text or a list, column by column, background first."""
    runs = decode_counts(counts) if isinstance(counts, str) else counts
    if not isinstance(runs, list) or not all(isinstance(run, int) for run in runs):
        raise DataError(f"counts is {counts!r:.80}; give compressed text or a list of whole numbers.")
    if any(run < 0 for run in runs) or sum(runs) != height * width:
        raise DataError(
            f"the run lengths add up to {sum(runs)} (smallest {min(runs, default=0)}), a mask of"
            f" {width}×{height} has {width * height} pixels."
        )
    flat = numpy.repeat(numpy.arange(len(runs)) % 2 == 1, runs)
    return flat.reshape(width, height).T


def polygon_mask(polygons: Sequence[Any], height: int, width: int) -> numpy.ndarray:
    """A mask [height, width] that covers all `polygons`, each [x1, y1, x2, y2, …] in pixels of the picture.

    Every pixel that an outline touches counts, so that the thinnest polygon marks something.
    """
    canvas = Image.new("L", (width, height))
    draw = ImageDraw.Draw(canvas)
    for polygon in polygons:
        numbers = isinstance(polygon, list) and all(isinstance(value, (int, float)) for value in polygon)
        if not numbers or len(polygon) < 6 or len(polygon) % 2:
            raise DataError(f"polygon {polygon!r:.80}; give [x1, y1, x2, y2, …] of at least three corners.")
        # PIL counts from pixel centres, COCO from their corners.
        corners = [value - 0.5 for value in polygon]
        draw.polygon(corners, fill=1, outline=1)
    return numpy.asarray(canvas) != 0


def segmentation_mask(segmentation: Any, height: int, width: int) -> numpy.ndarray | None:
    """The mask [height, width] of an annotation's `segmentation`; None where there is none. Raises DataError."""
    if segmentation in (None, [], {}):
        return None
    if isinstance(segmentation, list):
        return polygon_mask(segmentation, height, width)
    if not isinstance(segmentation, dict) or "counts" not in segmentation:
        raise DataError(f"segmentation is {segmentation!r:.80}; give polygons, or run lengths with counts and size.")
    if segmentation.get("size") != [height, width]:
        raise DataError(f"segmentation.size is {segmentation.get('size')!r}, the picture is [{height}, {width}].")
    return run_length_mask(segmentation["counts"], height, width)


def read_panoptic_ids(path: Path, height: int, width: int) -> numpy.ndarray:
    """Segment ids [height, width] of a panoptic PNG: red + 256 · green + 65536 · blue. Raises DataError."""
    try:
        with Image.open(path, formats=("PNG",)) as picture:
            colors = numpy.asarray(picture.convert("RGB")).astype(numpy.int64)
    except (OSError, SyntaxError) as error:  # PIL reports a broken PNG as SyntaxError
        raise DataError(f"{path}: no readable panoptic PNG ({error}); check --panoptic_png.") from None
    if colors.shape[:2] != (height, width):
        raise DataError(f"{path}: is {colors.shape[1]}×{colors.shape[0]}, the picture {width}×{height}.")
    return colors @ numpy.array([1, 256, 65536])


def central_pixel(mask: numpy.ndarray) -> tuple[int, int]:
    """(x, y) of the marked pixel nearest to the centroid, so that it always lies on the object; the mask marks one."""
    rows, columns = mask.nonzero()
    distances = (rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2
    nearest = int(distances.argmin())
    return int(columns[nearest]), int(rows[nearest])
