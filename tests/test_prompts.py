"""Marks as users give them: typed or raw, never changed, and refused with a sentence that helps."""

import copy
import dataclasses
import math
import random
import re

import numpy
import pytest

from SPHINX_V.errors import UsageError
from SPHINX_V.prompts import Box, Mask, Point, Scribble, as_prompt, as_prompts, check_prompts, is_point, overstepping


def mask_of(height, width, rows, columns):
    array = numpy.zeros((height, width), dtype=bool)
    array[rows, columns] = True
    return Mask(array)


class TestKinds:
    def test_bounds_are_corners_in_pixels(self):
        assert Point(3, 4.5).bounds() == (3.0, 4.5, 3.0, 4.5)
        assert Box(1, 2, 3, 4).bounds() == (1.0, 2.0, 3.0, 4.0)
        assert Box.from_xywh(49, 139, 196, 182) == Box(49, 139, 245, 321)

    def test_a_scribble_is_the_box_of_the_pixels_it_touches(self):
        assert Scribble([(10.2, 20.9), (12.0, 5.5), (11, 7)]).bounds() == (10, 5, 13, 21)
        assert Scribble([(10.2, 20.9)]).bounds() == (10, 20, 11, 21), "one dot has the area of its pixel"

    def test_a_mask_is_the_box_of_its_marked_pixels(self):
        assert mask_of(20, 30, slice(4, 9), slice(11, 13)).bounds() == (11, 4, 13, 9)
        assert mask_of(20, 30, 19, 29).bounds() == (29, 19, 30, 20), "the last pixel ends at the picture's edge"

    def test_any_non_zero_pixel_of_a_mask_is_marked(self):
        array = numpy.zeros((4, 6), dtype=numpy.uint8)
        array[1, 2], array[2, 3] = 255, 1
        assert Mask(array).bounds() == (2, 1, 4, 3)
        assert Mask(array.tolist()).bounds() == (2, 1, 4, 3)

    def test_only_points_are_points(self):
        others = [Box(0, 0, 1, 1), Scribble([(0, 0)]), mask_of(2, 2, 0, 0)]
        assert is_point(Point(0, 0))
        assert not any(is_point(prompt) for prompt in others)

    def test_numbers_may_be_numpy_scalars(self):
        box = Box(numpy.float32(1.5), numpy.int64(2), numpy.float64(3), 4)
        assert box == Box(1.5, 2, 3, 4)
        assert all(type(value) is float for value in box.bounds())

    @pytest.mark.parametrize("prompt", [Point(1, 2), Box(1, 2, 3, 4), Scribble([(1, 2)]), mask_of(2, 2, 0, 0)])
    def test_prompts_are_frozen_and_can_be_copied(self, prompt):
        for field in dataclasses.fields(prompt):
            with pytest.raises(dataclasses.FrozenInstanceError):
                setattr(prompt, field.name, 0)
        assert copy.deepcopy(prompt).bounds() == prompt.bounds()

    def test_a_mask_keeps_no_hold_on_the_callers_array(self):
        array = numpy.zeros((4, 6), dtype=bool)
        array[1, 2] = True
        mask = Mask(array)
        array[:] = True
        assert mask.bounds() == (2, 1, 3, 2)
        with pytest.raises(ValueError, match="read-only"):
            mask.array[0, 0] = True

    def test_a_scribble_keeps_no_hold_on_the_callers_list(self):
        points = [[1, 2], [3, 4]]
        scribble = Scribble(points)
        points[0][0] = points[1] = 99
        assert scribble.points == ((1.0, 2.0), (3.0, 4.0))


class TestRawLists:
    def test_two_numbers_are_a_point_and_four_are_xywh(self):
        assert as_prompts([[3, 4], [1, 2, 3, 4], (5, 6)]) == (Point(3, 4), Box(1, 2, 4, 6), Point(5, 6))

    def test_typed_and_raw_may_mix_and_typed_ones_pass_as_they_are(self):
        box = Box(1, 2, 3, 4)
        first, second = as_prompts([box, [1, 2]])
        assert first is box
        assert second == Point(1, 2)

    @pytest.mark.parametrize("kind", [numpy.float32, numpy.int64])
    def test_numpy_arrays(self, kind):
        assert as_prompts(numpy.array([[1, 2, 3, 4]], dtype=kind)) == (Box(1, 2, 4, 6),)
        assert as_prompts([numpy.array([1, 2], dtype=kind)]) == (Point(1, 2),)
        assert Scribble(numpy.array([[1, 2], [5, 6]], dtype=kind)).bounds() == (1, 2, 6, 7)

    def test_the_argument_is_never_changed(self):
        raw = [[49, 139, 196, 182], [3.5, 4]]
        array = numpy.array([[49.0, 139.0, 196.0, 182.0]])
        for _ in range(2):  # the reference adds its offset in place, so a second question moved the marks
            assert as_prompts(raw) == (Box(49, 139, 245, 321), Point(3.5, 4))
            assert as_prompts(array) == (Box(49, 139, 245, 321),)
        assert raw == [[49, 139, 196, 182], [3.5, 4]]
        assert array.tolist() == [[49, 139, 196, 182]]

    def test_none_and_empty_are_no_prompts(self):
        assert as_prompts(None) == as_prompts([]) == ()
        assert as_prompts(iter([[1, 2]])) == (Point(1, 2),)


class TestRefusals:
    """Every sentence says what was given and what to do; a number says which prompt."""

    @pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, numpy.float32("nan")])
    def test_not_finite(self, bad):
        for make in (lambda: Point(1, bad), lambda: Box(0, 0, bad, 3), lambda: Scribble([(0, 0), (bad, 1)])):
            with pytest.raises(UsageError, match=r"(nan|inf); coordinates must be finite pixels"):
                make()
        with pytest.raises(UsageError, match=r"prompt 2: .* must be finite"):
            as_prompts([[1, 2], [bad, 2]])

    @pytest.mark.parametrize("bad", ["left", None, [1], 1j, 10**400])
    def test_not_a_number(self, bad):
        with pytest.raises(UsageError, match=r"Point\.x is .* not a number; give pixels"):
            Point(bad, 1)

    @pytest.mark.parametrize("corners", [(5, 5, 5, 9), (5, 5, 9, 5), (9, 5, 5, 9), (5, 9, 9, 5)])
    def test_box_without_area(self, corners):
        with pytest.raises(UsageError, match=r"Box\(.*\) has no area.*use Box\.from_xywh"):
            Box(*corners)

    @pytest.mark.parametrize("size", [(0, 5), (5, 0), (-3, 5), (5, -3)])
    def test_xywh_without_area(self, size):
        with pytest.raises(
            UsageError, match=r"Box\.from_xywh\(1, 2, .*\) has no area: width and height must be above 0"
        ):
            Box.from_xywh(1, 2, *size)
        with pytest.raises(UsageError, match=r"prompt 1: .* has no area"):
            as_prompts([[1, 2, *size]])

    @pytest.mark.parametrize("bad", [[1], [1, 2, 3], [1, 2, 3, 4, 5], "box", 7, {"x": 1}, [[1, 2]]])
    def test_raw_prompt_of_another_form(self, bad):
        with pytest.raises(UsageError, match=r"prompt 1 is .*; give Point, Box, Scribble, Mask, or a list \[x, y\]"):
            as_prompts([bad])

    def test_one_box_that_is_not_in_a_list(self):
        with pytest.raises(UsageError, match="prompt 1 is 49; give"):
            as_prompts([49, 139, 196, 182])
        with pytest.raises(UsageError, match=r"prompts is Point\(x=1.0, y=2.0\); give a list"):
            as_prompts(Point(1, 2))

    def test_the_callers_word_for_a_prompt_is_used(self):
        with pytest.raises(UsageError, match="item 5 is 'x'; give"):
            as_prompt("x", "item 5")

    def test_scribble_without_points(self):
        with pytest.raises(UsageError, match="Scribble has 0 points; give at least 1"):
            Scribble([])
        with pytest.raises(UsageError, match=r"Scribble\.points is 5; give a sequence"):
            Scribble(5)
        with pytest.raises(UsageError, match=r"Scribble\.points\[1\] is \[3\]; give a pair"):
            Scribble([[1, 2], [3]])

    def test_empty_mask(self):
        with pytest.raises(UsageError, match=r"Mask marks no pixel.*at least one non-zero pixel"):
            Mask(numpy.zeros((4, 6)))

    def test_mask_of_several_layers(self):
        with pytest.raises(UsageError, match=r"Mask has shape \(4, 6, 3\); give one mask \[height, width\]"):
            Mask(numpy.ones((4, 6, 3)))


class TestAgainstThePicture:
    """A picture of 100 × 50 pixels and ten slots."""

    @staticmethod
    def check(*prompts):
        check_prompts(prompts, 100, 50, 10)
        return overstepping(prompts, 100, 50)

    def test_prompts_inside_are_silent_up_to_the_edges(self):
        marks = (Point(0, 0), Point(99.5, 49.5), Box(0, 0, 100, 50), mask_of(50, 100, 49, 99), Scribble([(99, 49)]))
        assert self.check(*marks) == []

    @pytest.mark.parametrize(
        "prompt",
        [
            Point(-1, 10),
            Point(10, 51),
            Box(100, 0, 120, 20),
            Box(-20, 0, 0, 20),
            Box(0, -9, 10, 0),
            Box(0, 50, 10, 60),
            Scribble([(200, 10), (210, 20)]),
            Scribble([(100.5, 10), (101, 20)]),
            Scribble([(-0.5, 10)]),
        ],
    )
    def test_wholly_outside_is_refused(self, prompt):
        with pytest.raises(UsageError, match=r"prompt 2 \w+\(.*\) lies wholly outside the picture of 100×50 pixels"):
            self.check(Point(1, 1), prompt)

    def test_an_outside_prompt_is_named_with_its_pixels(self):
        with pytest.raises(UsageError, match=r"Box\(120\.0, 10\.0, 130\.5, 20\.0\)"):
            self.check(Box(120, 10, 130.5, 20))

    @pytest.mark.parametrize(
        "prompt",
        [Box(-5, 0, 20, 20), Box(90, 40, 101, 50), Scribble([(99, 10), (100, 10)]), Scribble([(100, 9), (100, 50)])],
    )
    def test_partly_outside_is_told_and_taken_as_given(self, prompt):
        before = prompt.bounds()
        (sentence,) = self.check(Point(1, 1), prompt)
        assert re.match(r"prompt 2 .* reaches outside the picture of 100×50 pixels.*as given", sentence)
        assert prompt.bounds() == before

    def test_more_prompts_than_slots(self):
        self.check(*[Point(1, 1)] * 10)
        with pytest.raises(UsageError, match="11 prompts given, the model has 10 slots; ask about at most 10"):
            self.check(*[Point(1, 1)] * 11)

    def test_mask_of_another_size(self):
        with pytest.raises(UsageError, match=r"prompt 1: the mask is 50×100 \(W×H\), the picture 100×50; resize"):
            self.check(mask_of(100, 50, 0, 0))

    def test_random_boxes_are_refused_told_of_or_silent_as_they_lie(self):
        chance = random.Random(1)
        seen = {"outside": 0, "partly": 0, "inside": 0}
        for _ in range(400):
            x, y = chance.uniform(-60, 120), chance.uniform(-60, 70)
            w, h = chance.uniform(1, 60), chance.uniform(1, 60)
            # What is left of the box within the picture, by interval arithmetic.
            left = max(0, min(x + w, 100) - max(x, 0)) * max(0, min(y + h, 50) - max(y, 0))
            expected = "outside" if left == 0 else "inside" if math.isclose(left, w * h) else "partly"
            seen[expected] += 1
            try:
                found = "partly" if self.check(Box.from_xywh(x, y, w, h)) else "inside"
            except UsageError:
                found = "outside"
            assert found == expected, (x, y, w, h)
        assert min(seen.values()) > 20, seen
