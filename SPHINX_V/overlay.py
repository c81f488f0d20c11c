"""Draws numbered marks on a picture so that they can be told apart on any picture, bright, dark or busy.

Every line has a dark and a light edge around its colour, so one of them always stands out; a mark's number stands on a
badge of its colour. Drawing happens on a larger layer that is scaled down, which smooths the edges.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont

from SPHINX_V.prompts import Box, Mask, Point, Prompt, Scribble, as_prompts

Color = tuple[int, int, int]
Rectangle = tuple[float, float, float, float]

# Ten colours that differ by at least 20 (CIE76) from each other, also with protanopia, deuteranopia and tritanopia.
PALETTE: tuple[Color, ...] = (
    (255, 64, 140), (59, 129, 235), (235, 223, 59), (12, 235, 131), (104, 57, 128),
    (166, 91, 41), (255, 115, 208), (13, 13, 255), (166, 8, 71), (155, 166, 8),
)  # fmt: skip
DARK: Color = (20, 20, 24)
LIGHT: Color = (255, 255, 255)
_MASK_OPACITY = 90
_LARGEST_SMOOTHED = 1600  # pictures with a longer side have enough pixels of their own


@dataclass(frozen=True)
class _Style:
    """Sizes in pixels of the picture."""

    line: float  # width of the coloured line
    edge: float  # width of each of the two edges around it
    dot: float  # radius of a point's dot
    badge: float  # height of a number's badge

    @staticmethod
    def of(width: int, height: int, size: float) -> _Style:
        """Sizes that grow with the picture and stay legible on a small one; no badge is larger than the picture."""
        side = max(width, height)
        return _Style(
            line=size * max(2.0, side / 260),
            edge=size * max(1.0, side / 700),
            dot=size * max(2.5, side / 140),
            badge=min(size * max(15.0, side / 28), width, height),
        )

    @staticmethod
    def fine(width: int, height: int, size: float) -> _Style:
        """Half as large on a large picture; on a small one, as large as it takes to read a number."""
        side = max(width, height)
        return _Style(
            line=size * max(2.0, side / 600),
            edge=size * max(1.0, side / 1200),
            dot=size * max(3.0, side / 280),
            badge=min(size * max(22.0, side / 48), width, height),
        )

    @property
    def reach(self) -> float:
        """From the middle of a line to its outer edge."""
        return self.line / 2 + 2 * self.edge


def draw_marks(
    picture: Image.Image, prompts: Iterable[Prompt | Sequence[float]] | None, *, size: float = 1.0, fine: bool = False
) -> Image.Image:
    """A new RGB picture with marks 1, 2, … in their colours; the argument is not changed.

    `prompts` are in pixels of the picture, typed or raw lists (`[x, y]`, `[x, y, w, h]`); what lies outside the picture
    is cut off, its badge stays inside. `size` 2 draws lines and numbers twice as large, for a picture that is shown at
    half its size. `fine` is for a reader who must see what is in the marked places: thin lines around boxes, not on
    their edges, small dots, and numbers beside boxes where there is room. Raises UsageError as `as_prompts` does.
    """
    marks = as_prompts(prompts)
    canvas = picture.convert("RGB")
    if canvas is picture:
        canvas = picture.copy()
    style = (_Style.fine if fine else _Style.of)(*canvas.size, size)
    for number, mark in enumerate(marks):
        if isinstance(mark, Mask):
            _paint_mask(canvas, mark, PALETTE[number % len(PALETTE)], style)
    scale = 3 if max(canvas.size) <= _LARGEST_SMOOTHED else 1
    layer = Image.new("RGBA", (canvas.width * scale, canvas.height * scale), (*LIGHT, 0))
    pen = _Pen(ImageDraw.Draw(layer), scale, style)
    # Large shapes first: a small mark inside a large one stays on top.
    for number in sorted(range(len(marks)), key=lambda n: -_area(marks[n])):
        mark = marks[number]
        shown = _around(mark, canvas.size, style.reach) if fine and isinstance(mark, Box) else mark
        pen.mark(shown, PALETTE[number % len(PALETTE)])
    for number, place in enumerate(place_badges(marks, canvas.size, style.badge, spare_boxes=fine)):
        pen.badge(str(number + 1), place, PALETTE[number % len(PALETTE)])
    if scale != 1:
        layer = layer.resize(canvas.size, Image.Resampling.BOX)
    canvas.paste(layer, mask=layer.getchannel("A"))
    return canvas


def text_color(background: Color) -> Color:
    """Dark or light, whichever contrasts more with the background (WCAG relative luminance)."""
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in (c / 255 for c in background)]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    # Contrast with white is 1.05 / (L + 0.05), with black (L + 0.05) / 0.05; they meet at 0.179.
    return DARK if luminance > 0.179 else LIGHT


def _area(mark: Prompt) -> float:
    x0, y0, x1, y1 = mark.bounds()
    return (x1 - x0) * (y1 - y0)


def _around(box: Box, size: tuple[int, int], reach: float) -> Box:
    """The box whose outline, `reach` to either side, lies around `box`; at the picture's edge it stays inside."""
    x0, y0 = max(box.x0 - reach, reach), max(box.y0 - reach, reach)
    x1, y1 = min(box.x1 + reach, size[0] - reach), min(box.y1 + reach, size[1] - reach)
    return Box(x0, y0, x1, y1) if x0 < x1 and y0 < y1 else box


class _Pen:
    """Draws on a layer that is `scale` times the picture; all arguments are in pixels of the picture."""

    def __init__(self, draw: ImageDraw.ImageDraw, scale: int, style: _Style) -> None:
        self._draw = draw
        self._scale = scale
        self._style = style

    def mark(self, mark: Prompt, color: Color) -> None:
        style = self._style
        for fill, extra in ((DARK, 2 * style.edge), (LIGHT, style.edge), (color, 0.0)):
            if isinstance(mark, Point):
                self._disc(mark.x, mark.y, style.dot + extra, fill)
            elif isinstance(mark, Box):
                self._frame(mark, style.line / 2 + extra, fill)
            elif isinstance(mark, Scribble):
                self._stroke(mark.points, style.line + 2 * extra, fill)

    def badge(self, text: str, place: Rectangle, color: Color) -> None:
        """A rounded plate with the number; its edges lie inside `place`."""
        x0, y0, x1, y1 = place
        height = y1 - y0
        edge = min(self._style.edge, height / 10)
        for fill, inset in ((DARK, 0.0), (LIGHT, edge), (color, 2 * edge)):
            corners = [v * self._scale for v in (x0 + inset, y0 + inset, x1 - inset, y1 - inset)]
            # Pillow includes the last row and column.
            corners[2:] = [max(corners[0], corners[2] - 1), max(corners[1], corners[3] - 1)]
            self._draw.rounded_rectangle(corners, (height * 0.3 - inset) * self._scale, fill=(*fill, 255))
        room = min(height, (x1 - x0) * 1.6 / max(1, len(text))) - 4 * edge
        font = ImageFont.load_default(max(1.0, room * 0.86 * self._scale))
        middle = ((x0 + x1) / 2 * self._scale, (y0 + y1) / 2 * self._scale)
        left, top, right, bottom = self._draw.textbbox((0, 0), text, font=font)
        corner = (middle[0] - (left + right) / 2, middle[1] - (top + bottom) / 2)
        self._draw.text(corner, text, font=font, fill=(*text_color(color), 255))

    def _disc(self, x: float, y: float, radius: float, fill: Color) -> None:
        x, y, radius = (x + 0.5) * self._scale, (y + 0.5) * self._scale, radius * self._scale
        self._draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=(*fill, 255))

    def _frame(self, box: Box, half: float, fill: Color) -> None:
        """The outline of a box, `half` a width to either side of its border."""
        grown = [box.x0 - half, box.y0 - half, box.x1 + half, box.y1 + half]
        corners = [round(v * self._scale) for v in grown]
        self._draw.rectangle(corners, outline=(*fill, 255), width=max(1, round(2 * half * self._scale)))

    def _stroke(self, points: Sequence[tuple[float, float]], width: float, fill: Color) -> None:
        for x, y in points:
            self._disc(x, y, width / 2, fill)
        if len(points) > 1:
            line = [((x + 0.5) * self._scale, (y + 0.5) * self._scale) for x, y in points]
            self._draw.line(line, fill=(*fill, 255), width=max(1, round(width * self._scale)))


def _paint_mask(canvas: Image.Image, mask: Mask, color: Color, style: _Style) -> None:
    """Tints the marked pixels and draws a double outline around them, in place. A mask of another size is cut."""
    reach = round(style.line + 2 * style.edge) + 2
    x0, y0, x1, y1 = (int(v) for v in mask.bounds())
    x0, y0, x1, y1 = x0 - reach, y0 - reach, x1 + reach, y1 + reach
    inside = Image.fromarray(mask.array.astype(numpy.uint8) * 255).crop((x0, y0, x1, y1))
    canvas.paste(Image.new("RGB", inside.size, color), (x0, y0), inside.point(lambda v: _MASK_OPACITY if v else 0))
    grown = style.line + 2 * style.edge
    for fill, radius in ((DARK, grown), (LIGHT, grown - style.edge), (color, grown - 2 * style.edge)):
        outline = ImageChops.subtract(_dilate(inside, radius), inside).filter(ImageFilter.GaussianBlur(0.6))
        canvas.paste(Image.new("RGB", inside.size, fill), (x0, y0), outline)


def _dilate(mask: Image.Image, radius: float) -> Image.Image:
    """Grows the white of an L picture by a disc of `radius` pixels."""
    marked = numpy.asarray(mask) > 0
    # Row by row of the disc: a run of pixels is marked where a running sum over the run is not zero.
    sums = numpy.pad(marked.astype(numpy.int32).cumsum(axis=1), ((0, 0), (1, 0)))
    height, width = marked.shape
    columns = numpy.arange(width)
    grown = numpy.zeros_like(marked)
    for dy in range(-int(radius), int(radius) + 1):
        half = int((radius**2 - dy**2) ** 0.5)
        runs = sums[:, numpy.minimum(columns + half + 1, width)] > sums[:, numpy.maximum(columns - half, 0)]
        grown[max(0, dy) : height + min(0, dy)] |= runs[max(0, -dy) : height + min(0, -dy)]
    return Image.fromarray(grown.astype(numpy.uint8) * 255)


def place_badges(
    marks: Sequence[Prompt], size: tuple[int, int], height: float, *, spare_boxes: bool = False
) -> list[Rectangle]:
    """A rectangle per mark for its number: inside the picture, near the mark, and clear of other badges and of points.

    `size` is (width, height) of the picture; rectangles are (x0, y0, x1, y1) in its pixels. `spare_boxes` keeps them
    clear of what lies in boxes too, the more so the larger a share of the box they would hide.
    """
    boxes = [(mark.bounds(), _area(mark)) for mark in marks if spare_boxes and isinstance(mark, Box)]
    dots = [
        (mark.x - height / 3, mark.y - height / 3, mark.x + height / 3, mark.y + height / 3)
        for mark in marks
        if isinstance(mark, Point)
    ]
    placed: list[Rectangle] = []
    for number, mark in enumerate(marks, start=1):
        width = min(height * (1.0 if number < 10 else 1.35), size[0])

        def cost(place: Rectangle) -> float:
            # A number under another number is lost; one on a point hides what is marked; distance is the least evil.
            on_badges = sum(_overlap(place, other) for other in placed)
            on_dots = sum(_overlap(place, dot) for dot in dots)
            hidden = sum(_overlap(place, box) * min(1.0, height**2 / area) for box, area in boxes)
            return 100 * on_badges + 10 * on_dots + hidden

        best: Rectangle | None = None
        lowest = float("inf")
        for rank, (x, y) in enumerate(_corners(mark, width, height)):
            x, y = min(max(x, 0.0), size[0] - width), min(max(y, 0.0), size[1] - height)
            place = (x, y, x + width, y + height)
            total = cost(place) + rank * 1e-3 * width * height
            if total < lowest:
                best, lowest = place, total
            if cost(place) == 0:
                break
        assert best is not None, "every mark has candidate places"
        placed.append(best)
    return placed


def _corners(mark: Prompt, width: float, height: float) -> Iterator[tuple[float, float]]:
    """Top-left corners for a badge, the best first: at the mark, then in rings that grow around it."""
    x0, y0, x1, y1 = mark.bounds()
    if isinstance(mark, Point):
        gap = height * 0.35
        yield from ((x0 + gap, y0 - gap - height), (x0 - gap - width, y0 - gap - height))
        yield from ((x0 + gap, y0 + gap), (x0 - gap - width, y0 + gap))
    else:
        yield from ((x0, y0 - height), (x0, y0), (x1 - width, y0 - height), (x1 - width, y0))
        yield from ((x0, y1), (x0, y1 - height), (x1 - width, y1), (x1 - width, y1 - height))
    for ring in range(1, 7):
        for dx, dy in ((0, -1), (1, 0), (-1, 0), (0, 1), (1, -1), (-1, -1), (1, 1), (-1, 1)):
            yield (x0 - width / 2 + dx * ring * width * 1.1, y0 - height / 2 + dy * ring * height * 1.1)


def _overlap(a: Rectangle, b: Rectangle) -> float:
    """Area that two rectangles share."""
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
