"""The domain `panel`: a figure of two to four framed panels with objects, one of them perhaps a chart."""

from __future__ import annotations

import random
from dataclasses import dataclass

from PIL import Image, ImageDraw

from .backgrounds import background, muted, shaded
from .elements import Box, Drawn
from .layout import canvas_size, draw_labels, scatter
from .lettering import unit
from .shapes import paste_object

OBJECT_SIDE = (19.0, 24.0)  # in the model's 128 pixels
LEAST_OBJECTS = 5
MOST_OBJECTS = 10


@dataclass(frozen=True, slots=True)
class _Grid:
    """An arrangement of panels, the aspect (width over height) it suits and how many objects a panel holds."""

    columns: int
    rows: int
    aspect: tuple[float, float]
    capacity: int


_GRIDS = (_Grid(2, 2, (0.9, 1.15), 3), _Grid(2, 1, (1.35, 1.55), 4), _Grid(3, 1, (1.35, 1.55), 3))


def _panel_boxes(grid: _Grid, size: tuple[int, int]) -> list[Box]:
    """The frames (xyxy pixels) of the panels, with a margin around each."""
    margin = round(2 * unit(size))
    width, height = (size[0] - margin) / grid.columns, (size[1] - margin) / grid.rows
    return [
        (
            round(column * width) + margin,
            round(row * height) + margin,
            round((column + 1) * width),
            round((row + 1) * height),
        )
        for row in range(grid.rows)
        for column in range(grid.columns)
    ]


def _draw_bars(draw: ImageDraw.ImageDraw, rng: random.Random, box: Box) -> None:
    x0, y0, x1, y1 = box[0] + 8, box[1] + 8, box[2] - 8, box[3] - 8
    count = rng.randint(3, 5)
    step = (x1 - x0) / count
    for bar in range(count):
        top = y1 - rng.uniform(0.25, 1) * (y1 - y0)
        left = x0 + (bar + 0.2) * step
        draw.rectangle((left, top, left + 0.65 * step, y1), fill=muted(rng, (0.5, 0.7)))
    draw.line((x0, y0, x0, y1), fill=(70, 72, 80), width=2)
    draw.line((x0, y1, x1, y1), fill=(70, 72, 80), width=2)


def _draw_pie(draw: ImageDraw.ImageDraw, rng: random.Random, box: Box) -> None:
    radius = min(box[2] - box[0], box[3] - box[1]) / 2 - 8
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    cuts = sorted(rng.uniform(0, 360) for _ in range(rng.randint(3, 5)))
    for start, end in zip(cuts, [*cuts[1:], cuts[0] + 360], strict=True):
        slice_box = (x - radius, y - radius, x + radius, y + radius)
        draw.pieslice(slice_box, start, end, fill=muted(rng, (0.45, 0.8)), outline=(250, 250, 250))


def _draw_chart(image: Image.Image, rng: random.Random, box: Box) -> None:
    """A bar or pie chart in washed-out colours: decoration that no question is about."""
    draw = ImageDraw.Draw(image)
    draw.rectangle((box[0], box[1], box[2] - 1, box[3] - 1), fill=(246, 246, 242))
    (_draw_bars if rng.random() < 0.5 else _draw_pie)(draw, rng, box)


def draw_panel(rng: random.Random) -> Drawn:
    """A figure with five to nine objects in two to four panels; no label comes twice in the whole figure."""
    grid = rng.choice(_GRIDS)
    size = canvas_size(rng, grid.aspect)
    page = shaded((244, 243, 238), rng.randint(-12, 8))
    image = Image.new("RGB", size, page)
    boxes = _panel_boxes(grid, size)
    rng.shuffle(boxes)
    if len(boxes) > 2 and rng.random() < 0.5:
        _draw_chart(image, rng, boxes.pop())
    count = rng.randint(LEAST_OBJECTS, min(MOST_OBJECTS, grid.capacity * len(boxes)))
    labels = draw_labels(rng, count)
    elements = []
    for index, box in enumerate(boxes):
        image.paste(background(rng, (box[2] - box[0], box[3] - box[1])), box[:2])
        mine = labels[index :: len(boxes)]
        sides = [round(rng.uniform(*OBJECT_SIDE) * unit(size)) for _ in mine]
        inside = (box[0] + 3, box[1] + 3, box[2] - 5, box[3] - 5)
        places = scatter(rng, inside, [(side, side) for side in sides], gap=3)
        elements += [
            paste_object(image, rng, label, place[:2], place[2] - place[0])
            for label, place in zip(mine, places, strict=True)
        ]
    draw = ImageDraw.Draw(image)
    frame = shaded(page, -150)
    for x0, y0, x1, y1 in _panel_boxes(grid, size):
        draw.rectangle((x0, y0, x1 - 1, y1 - 1), outline=frame, width=2)
    return Drawn(image, tuple(elements), "panel")
