"""Box jitter: within the bounds of the recipe, inside the picture, decided by (seed, epoch, item)."""

import numpy
import pytest

from accessory.data.augment import item_generator, jitter_boxes
from SPHINX_V.prompts import Box, Point

WIDTH, HEIGHT = 640, 480
BOX = Box.from_xywh(200, 150, 100, 70)


def drawn(box, times=2000, width=WIDTH, height=HEIGHT):
    generator = numpy.random.default_rng(0)
    return [jitter_boxes([box], width, height, generator)[0] for _ in range(times)]


def test_the_corner_moves_by_whole_pixels_up_to_an_eighth():
    boxes = drawn(BOX)
    assert {box.x0 - 200 for box in boxes} == set(range(-12, 13)), "int(100 / 8) = 12"
    assert {box.y0 - 150 for box in boxes} == set(range(-8, 9)), "int(70 / 8) = 8"


def test_the_sides_are_scaled_by_up_to_15_percent_the_corner_staying():
    boxes = drawn(BOX)
    wide = numpy.array([(box.x1 - box.x0) / 100 for box in boxes])
    high = numpy.array([(box.y1 - box.y0) / 70 for box in boxes])
    for scale in (wide, high):
        assert 0.85 <= scale.min() < 0.86
        assert 1.14 < scale.max() <= 1.15
        assert abs(scale.mean() - 1) < 0.01
    assert abs(numpy.corrcoef(wide, high)[0, 1]) < 0.1, "the two sides are scaled independently"


def test_a_box_below_eight_pixels_does_not_move():
    for box in drawn(Box.from_xywh(10, 20, 7, 7), times=50):
        assert (box.x0, box.y0) == (10, 20)


@pytest.mark.parametrize(
    "box", [Box(0, 0, 640, 480), Box(600, 440, 640, 480), Box(0, 0, 1, 1), Box(639.5, 0, 640, 0.5), Box(-20, 5, 30, 50)]
)
def test_the_result_lies_inside_the_picture_and_has_an_area(box):
    for jittered in drawn(box, times=500):
        assert 0 <= jittered.x0 < jittered.x1 <= WIDTH
        assert 0 <= jittered.y0 < jittered.y1 <= HEIGHT


def test_a_box_outside_the_picture_is_left_to_the_checks():
    outside = Box(700, 10, 710, 20)
    assert set(drawn(outside, times=20)) == {outside}


def test_points_pass_and_the_argument_stays():
    prompts = [Point(1, 2), BOX]
    result = jitter_boxes(prompts, WIDTH, HEIGHT, numpy.random.default_rng(0))
    assert result[0] == Point(1, 2)
    assert result[1] != BOX
    assert prompts == [Point(1, 2), Box(200, 150, 300, 220)]


def test_seed_epoch_and_item_decide():
    def jitter(seed, epoch, index):
        return jitter_boxes([BOX], WIDTH, HEIGHT, item_generator(seed, epoch, index))

    assert jitter(0, 1, 2) == jitter(0, 1, 2)
    assert len({jitter(*key) for key in ((0, 1, 2), (1, 1, 2), (0, 2, 2), (0, 1, 3), (0, 2, 1))}) == 5
