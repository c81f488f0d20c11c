"""Marks are legible on any picture, their numbers stay inside it and apart, and colours can be told apart by anyone."""

import itertools
import math

import numpy
import pytest
from PIL import Image

from SPHINX_V import Box, Mask, Point, Scribble, UsageError, draw_marks
from SPHINX_V.overlay import DARK, LIGHT, PALETTE, place_badges, text_color

SIZES = [(640, 427), (128, 160), (1280, 720), (40, 300), (9, 9), (1, 1)]


def some_marks(width, height):
    rows, columns = numpy.mgrid[:height, :width]
    mask = (columns - 0.8 * width) ** 2 + (rows - 0.3 * height) ** 2 <= (0.1 * width) ** 2 + 1
    circle = [
        (width * (0.5 + 0.1 * math.cos(t)), height * (0.7 + 0.1 * math.sin(t))) for t in numpy.linspace(0, 6.3, 20)
    ]
    return [
        Box.from_xywh(0.05 * width, 0.1 * height, 0.35 * width, 0.5 * height),
        Point(0.2 * width, 0.35 * height),
        Scribble(tuple(circle)),
        Mask(mask),
        Box(-5, 0.7 * height, 0.3 * width, height + 3),
        Point(width - 1, 0),
    ]


@pytest.mark.parametrize("size", SIZES)
def test_the_picture_is_new_and_of_the_same_size(size):
    picture = Image.effect_noise(size, 80).convert("RGB")
    before = picture.tobytes()
    drawn = draw_marks(picture, some_marks(*size))
    assert picture.tobytes() == before
    assert (drawn.size, drawn.mode) == (size, "RGB")
    assert drawn.tobytes() != before


@pytest.mark.parametrize("mode", ["L", "RGBA", "P"])
def test_other_modes_become_rgb(mode):
    assert draw_marks(Image.new(mode, (60, 40)), [Point(3, 4)]).mode == "RGB"


def test_without_marks_it_is_a_copy():
    picture = Image.new("RGB", (30, 20), "red")
    for none in (None, []):
        copy = draw_marks(picture, none)
        assert copy is not picture
        assert copy.tobytes() == picture.tobytes()


@pytest.mark.parametrize("mark", ["box", "point", "scribble", "mask"])
@pytest.mark.parametrize("background", [(255, 255, 255), (0, 0, 0), (128, 128, 128), PALETTE[0]])
def test_every_kind_has_a_dark_and_a_light_edge_on_any_background(mark, background):
    ring = numpy.zeros((300, 400), bool)
    ring[100:200, 150:250] = True
    marks = {
        "box": Box(150, 100, 250, 200),
        "point": Point(200, 150),
        "scribble": Scribble(((150, 100), (250, 200))),
        "mask": Mask(ring),
    }
    drawn = numpy.asarray(draw_marks(Image.new("RGB", (400, 300), background), [marks[mark]])).astype(int)
    area = drawn[95:205, 145:255] if mark != "point" else drawn[140:161, 190:211]
    for color in (DARK, LIGHT, PALETTE[0]):
        assert (abs(area - color).max(axis=-1) < 60).any(), color


def test_raw_lists_are_read_as_everywhere_else():
    picture = Image.new("RGB", (200, 100), "gray")
    raw = draw_marks(picture, [[20, 20, 50, 40], [150, 50]])
    assert raw.tobytes() == draw_marks(picture, [Box(20, 20, 70, 60), Point(150, 50)]).tobytes()
    with pytest.raises(UsageError, match="prompt 1"):
        draw_marks(picture, [[1, 2, 3]])


@pytest.mark.parametrize("size", SIZES)
def test_badges_stay_in_the_picture(size):
    height = min(15.0, *size)
    for x0, y0, x1, y1 in place_badges([*some_marks(*size), Point(-50, -50), Point(9999, 9999)], size, height):
        assert x0 >= 0
        assert y0 >= 0
        assert x1 <= size[0]
        assert y1 <= size[1]
        assert y1 - y0 == pytest.approx(height)


@pytest.mark.parametrize(
    "marks",
    [
        [Point(100, 100)] * 10,
        [Box(0, 0, 400, 300)] * 10,
        [Point(399, 1)] * 10,
        [Point(20 + 5 * k, 150) for k in range(10)],
        [Box(100 + k, 100 + k, 120 + k, 120 + k) for k in range(10)],
    ],
)
def test_badges_do_not_cover_each_other_where_there_is_room(marks):
    places = place_badges(marks, (400, 300), 15)
    for a, b in itertools.combinations(places, 2):
        assert min(a[2], b[2]) <= max(a[0], b[0]) or min(a[3], b[3]) <= max(a[1], b[1])


def test_a_badge_leaves_the_point_in_view():
    for x, y in ((200, 150), (0, 0), (399, 0), (0, 299), (399, 299)):
        ((x0, y0, x1, y1),) = place_badges([Point(x, y)], (400, 300), 15)
        assert not (x0 <= x <= x1 and y0 <= y <= y1)
        assert max(abs(x - (x0 + x1) / 2), abs(y - (y0 + y1) / 2)) < 30


def test_sizes_grow_with_the_picture():
    def changed(side):
        picture = Image.new("RGB", (side, side), "gray")
        drawn = draw_marks(picture, [Point(side / 2, side / 2)])
        return (numpy.asarray(drawn) != numpy.asarray(picture)).any(-1).sum()

    assert 10 * changed(400) < changed(2000) < 40 * changed(400)


@pytest.mark.parametrize("size", SIZES)
def test_fine_marks_leave_what_is_in_a_box_as_it_is(size):
    width, height = size
    picture = Image.effect_noise(size, 80).convert("RGB")
    box = Box(width // 3, height // 3, 2 * width // 3 + 1, 2 * height // 3 + 1)
    drawn = numpy.asarray(draw_marks(picture, [box], fine=True))
    changed = (drawn != numpy.asarray(picture)).any(-1)
    assert changed.any()
    if min(size) >= 300:  # below, there is no room for a number beside the box
        assert not changed[int(box.y0) : int(box.y1), int(box.x0) : int(box.x1)].any()


def test_a_fine_frame_around_the_whole_picture_is_in_the_picture():
    drawn = numpy.asarray(draw_marks(Image.new("RGB", (400, 300), "gray"), [Box(0, 0, 400, 300)], fine=True)).astype(
        int
    )
    for edge in (drawn[150, :8], drawn[150, -8:], drawn[:8, 200], drawn[-8:, 200]):
        assert (abs(edge - PALETTE[0]).max(-1) < 60).any()


def test_fine_numbers_stay_off_small_boxes_where_there_is_room():
    rows = [Box(100, 100 + 16 * k, 200, 112 + 16 * k) for k in range(5)]
    for x0, y0, x1, y1 in place_badges(rows, (400, 300), 20, spare_boxes=True):
        hidden = [max(0, min(x1, b.x1) - max(x0, b.x0)) * max(0, min(y1, b.y1) - max(y0, b.y0)) for b in rows]
        assert sum(hidden) == 0


# Full dichromacy: Machado, Oliveira and Fernandes 2009, severity 1.0, on linear RGB.
VISIONS = {
    "all three cones": numpy.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}


def linear(colors):
    scaled = numpy.asarray(colors) / 255
    return numpy.where(scaled <= 0.04045, scaled / 12.92, ((scaled + 0.055) / 1.055) ** 2.4)


def lab(rgb):
    to_xyz = numpy.array(
        [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.072175], [0.0193339, 0.119192, 0.9503041]]
    )
    xyz = rgb.clip(0, 1) @ to_xyz.T / (0.95047, 1, 1.08883)
    f = numpy.where(xyz > 0.008856, numpy.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return numpy.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=1)


@pytest.mark.parametrize("vision", VISIONS)
def test_ten_colours_differ_for_every_kind_of_vision(vision):
    assert len(PALETTE) == 10
    seen = lab(linear(PALETTE) @ numpy.array(VISIONS[vision]).T)
    assert min(numpy.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)) > 20


@pytest.mark.parametrize("color", PALETTE)
def test_numbers_contrast_with_their_badges(color):
    weights = (0.2126, 0.7152, 0.0722)
    bright, dark = sorted((linear([color])[0] @ weights, linear([text_color(color)])[0] @ weights), reverse=True)
    assert (bright + 0.05) / (dark + 0.05) > 3.9
