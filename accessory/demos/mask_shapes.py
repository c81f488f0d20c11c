"""Masks for the page: as a tinted picture, as an outline that becomes a mark, and from an outline back to pixels.

Frame as everywhere: pixels of the original picture, x to the right, y down. The corners of an outline lie between
pixels (0 … width), so the outline around everything is [[0, 0], [width, 0], [width, height], [0, height]].
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence

import numpy
from PIL import Image

from SPHINX_V.errors import UsageError
from SPHINX_V.prompts import Mask

# An outline is refined until it holds this share of the pixels that it or its region marks …
_LIKENESS = 0.97
# … or has as many corners as nobody would move by hand.
_MOST_CORNERS = 300


def mask_png(mask: Mask) -> bytes:
    """A PNG of the picture's size: white and opaque where the mask marks, transparent elsewhere."""
    height, width = mask.array.shape
    rgba = numpy.full((height, width, 4), 255, dtype=numpy.uint8)
    rgba[~mask.array] = 0
    file = io.BytesIO()
    # Masks have few edges: the fastest setting already makes them small.
    Image.fromarray(rgba, "RGBA").save(file, format="PNG", compress_level=1)
    return file.getvalue()


def mask_outline(mask: Mask) -> list[list[int]]:
    """The outline of the largest region as corners [x, y], clockwise, each between pixels; at least 3 of them.

    Regions are connected over the sides of pixels; the largest is the one whose outline encloses most, and what is cut
    out of it counts as enclosed, because one outline cannot say it. Filled again (`outline_mask`), the outline marks
    nearly the same pixels: 97 % of what either marks are in both, unless that takes more than 300 corners.
    """
    x0, y0, x1, y1 = (int(v) for v in mask.bounds())
    loop = _largest_loop(mask.array[y0:y1, x0:x1])
    width, height = x1 - x0, y1 - y0
    exact = _filled(loop, width, height)
    slack = max(0.4, 0.02 * math.hypot(width, height))
    best = _simplified(loop, slack)
    while len(best) > _MOST_CORNERS:
        slack *= 1.5
        best = _simplified(loop, slack)
    # Below half a pixel nothing is left out but corners of straight lines.
    while slack >= 0.5 and _likeness(_filled(best, width, height), exact) < _LIKENESS:
        slack /= 1.5
        finer = _simplified(loop, slack)
        if len(finer) > _MOST_CORNERS:
            break
        best = finer
    return [[int(x) + x0, int(y) + y0] for x, y in best]


def outline_mask(outline: Sequence[Sequence[float]], width: int, height: int) -> Mask:
    """The pixels of a picture of `width` × `height` whose middle lies inside a closed outline (even-odd rule).

    Raises UsageError for fewer than 3 corners, for what is no number, and where no pixel's middle is inside.
    """
    try:
        corners = numpy.asarray(outline, dtype=float)
    except (TypeError, ValueError):
        corners = numpy.empty(0)
    if corners.ndim != 2 or corners.shape[0] < 3 or corners.shape[1] != 2 or not numpy.isfinite(corners).all():
        raise UsageError(f"The outline is {outline!r:.80}; give at least 3 corners [x, y] in pixels of the picture.")
    marked = _filled(corners, width, height)
    if not marked.any():
        raise UsageError(
            f"The outline of {len(corners)} corners encloses no pixel of the picture of {width}×{height}; draw it"
            " larger."
        )
    return Mask(marked)


def _likeness(one: numpy.ndarray, other: numpy.ndarray) -> float:
    """Pixels in both, as a share of those in either."""
    return float((one & other).sum() / max(1, (one | other).sum()))


def _largest_loop(marked: numpy.ndarray) -> numpy.ndarray:
    """Corners [N, 2] of the outline, clockwise on screen, that encloses most; `marked` [H, W] marks something.

    Each side between a marked and an unmarked pixel is an edge with the marked one on its right. Where two pixels meet
    only by a corner, an edge turns right, so that they are apart.
    """
    padded = numpy.pad(marked, 1)
    inside = padded[1:-1, 1:-1]
    # (dx, dy) of an edge, the neighbour on the other side, and where the edge begins relative to its pixel.
    sides = (
        ((1, 0), padded[:-2, 1:-1], (0, 0)),  # above: to the right
        ((0, 1), padded[1:-1, 2:], (1, 0)),  # right: down
        ((-1, 0), padded[2:, 1:-1], (1, 1)),  # below: to the left
        ((0, -1), padded[1:-1, :-2], (0, 1)),  # left: up
    )
    columns = marked.shape[1] + 1
    begins, ends, turns = [], [], []
    for direction, ((dx, dy), neighbour, (x, y)) in enumerate(sides):
        rows, cols = numpy.nonzero(inside & ~neighbour)
        begins.append((rows + y) * columns + cols + x)
        ends.append((rows + y + dy) * columns + cols + x + dx)
        turns.append(numpy.full(len(rows), direction))
    begin, end, turn = numpy.concatenate(begins), numpy.concatenate(ends), numpy.concatenate(turns)
    # An edge is named by the corner at which it begins and its direction; at most one has a name.
    names = begin * 4 + turn
    order = numpy.argsort(names)
    names = names[order]
    following = numpy.full(len(names), -1)
    for change in (1, 0, -1):  # right, straight on, left
        wanted = end * 4 + (turn + change) % 4
        at = numpy.minimum(numpy.searchsorted(names, wanted), len(names) - 1)
        take = (following < 0) & (names[at] == wanted)
        following[take] = order[at[take]]
    return _walked(begin, turn, following, columns)


def _walked(begin: numpy.ndarray, turn: numpy.ndarray, following: numpy.ndarray, columns: int) -> numpy.ndarray:
    """Of the loops that `following` makes of edges, the corners of the one that encloses most."""
    successors, seen = following.tolist(), bytearray(len(following))
    xs, ys = begin % columns, begin // columns
    # What each edge adds to the area that its loop encloses, below zero where it runs around a hole.
    shares = numpy.where(turn == 0, -ys, numpy.where(turn == 2, ys, 0))
    best: list[int] = []
    most = 0
    for first in range(len(successors)):
        if seen[first]:
            continue
        loop, edge = [], first
        while not seen[edge]:
            seen[edge] = 1
            loop.append(edge)
            edge = successors[edge]
        area = int(shares[loop].sum())
        if area > most:
            best, most = loop, area
    corners = numpy.stack([xs[best], ys[best]], axis=1)
    directions = turn[best]
    return corners[directions != numpy.roll(directions, 1)]


def _simplified(loop: numpy.ndarray, slack: float) -> numpy.ndarray:
    """The loop with fewer corners, none of the left-out ones farther than `slack` from it (Douglas and Peucker).

    It is cut at its first corner and at the one farthest from that, which stay.
    """
    count = len(loop)
    far = int(((loop - loop[0]) ** 2).sum(axis=1).argmax())
    closed = numpy.concatenate([loop, loop[:1]]).astype(float)
    keep = numpy.zeros(count + 1, dtype=bool)
    keep[[0, far, count]] = True
    spans = [(0, far), (far, count)]
    while spans:
        start, stop = spans.pop()
        if stop - start < 2:
            continue
        distances = _distances(closed[start + 1 : stop], closed[start], closed[stop])
        worst = int(distances.argmax())
        if distances[worst] > slack:
            at = start + 1 + worst
            keep[at] = True
            spans += [(start, at), (at, stop)]
    if keep[:count].sum() < 3:
        # All within `slack` of one line: the corner farthest from it gives the outline an area.
        distances = _distances(closed[:count], closed[0], closed[far])
        keep[int(distances.argmax())] = True
    return loop[keep[:count]]


def _distances(points: numpy.ndarray, start: numpy.ndarray, stop: numpy.ndarray) -> numpy.ndarray:
    """Distances of points [N, 2] from the segment between two others."""
    along = stop - start
    length = float(along @ along)
    share = numpy.clip((points - start) @ along / length, 0, 1) if length else numpy.zeros(len(points))
    return numpy.hypot(*(points - start - share[:, None] * along).T)


def _filled(corners: numpy.ndarray, width: int, height: int) -> numpy.ndarray:
    """[height, width]: the middles of which pixels lie inside the closed outline, by the even-odd rule.

    Every edge flips, in each row whose middle it crosses, all pixels from the crossing on.
    """
    flips = numpy.zeros((height, width + 1), dtype=bool)
    points = corners.astype(float)
    for (x0, y0), (x1, y1) in zip(points, numpy.roll(points, -1, axis=0)):
        if y0 == y1:
            continue
        low, high = min(y0, y1), max(y0, y1)
        first, last = max(0, math.ceil(low - 0.5)), min(height, math.ceil(high - 0.5))
        rows = numpy.arange(first, last)
        crossings = x0 + (rows + 0.5 - y0) * ((x1 - x0) / (y1 - y0))
        flips[rows, numpy.clip(numpy.ceil(crossings - 0.5), 0, width).astype(int)] ^= True
    return numpy.logical_xor.accumulate(flips, axis=1)[:, :width]
