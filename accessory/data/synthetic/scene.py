"""The domain `scene`: coloured shapes scattered over a background."""

from __future__ import annotations

import random

from .backgrounds import background
from .elements import Drawn
from .layout import canvas_size, draw_labels, scatter
from .shapes import paste_object

# Never fewer than five: with few objects a model learns to name what is in the picture instead of reading the marks.
OBJECTS = (5, 8)
OBJECT_SIDE = (0.15, 0.215)  # of the longer side of the picture


def draw_scene(rng: random.Random) -> Drawn:
    """A scene of five to eight objects."""
    size = canvas_size(rng, (0.66, 1.5))
    image = background(rng, size)
    labels = draw_labels(rng, rng.randint(*OBJECTS))
    sides = [round(max(size) * rng.uniform(*OBJECT_SIDE)) for _ in labels]
    boxes = scatter(rng, (3, 3, size[0] - 5, size[1] - 5), [(side, side) for side in sides], gap=4)
    elements = [
        paste_object(image, rng, label, box[:2], box[2] - box[0]) for label, box in zip(labels, boxes, strict=True)
    ]
    return Drawn(image, tuple(elements), "scene")
