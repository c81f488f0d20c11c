"""Swapped marks: whose they are, where they land, and that nothing else changes."""

import copy

import pytest

from accessory.eval.controls import swap_marks
from SPHINX_V.errors import DataError
from SPHINX_V.prompts import Box, Point
from tests.accessory.eval.small_items import item, picture_at


def points(*places):
    return tuple(Point(x, y) for x, y in places)


@pytest.fixture
def pictures(tmp_path):
    """Four pictures of one size, and one twice as wide and half as high."""
    plain = [picture_at(tmp_path / f"{name}.png") for name in "abcd"]
    return [*plain, picture_at(tmp_path / "wide.png", (200, 25))]


def test_items_with_equally_many_marks_exchange_them_in_a_ring(pictures):
    items = [item(pictures[n], points((n, 1), (n, 2)), n) for n in range(3)]
    assert [one.prompts[0].x for one in swap_marks(items)] == [1, 2, 0]


def test_rings_of_different_counts_do_not_mix(pictures):
    items = [item(pictures[n], points(*[(n, mark) for mark in range(1 + n % 2)]), n) for n in range(4)]
    swapped = swap_marks(items)
    assert [one.prompts[0].x for one in swapped] == [2, 3, 0, 1]
    assert [len(one.prompts) for one in swapped] == [1, 2, 1, 2]


def test_marks_never_come_from_the_same_picture(pictures):
    items = [item(pictures[n // 3], points((n, 1)), n) for n in range(9)]
    for before, after in zip(items, swap_marks(items), strict=True):
        donor = items[int(after.prompts[0].x)]
        assert donor.picture != before.picture


def test_only_the_marks_change(pictures):
    items = [item(pictures[n], points((n, 1)), n, truth=f"truth {n}") for n in range(2)]
    for before, after in zip(items, swap_marks(items), strict=True):
        assert after.prompts != before.prompts
        assert (after.picture, after.question, after.truth, after.question_id, after.dataset) == (
            before.picture,
            before.question,
            before.truth,
            before.question_id,
            before.dataset,
        )


def test_marks_are_scaled_into_the_picture_they_are_shown_on(pictures):
    items = [item(pictures[0], (Box(10, 20, 30, 40),), 1), item(pictures[4], (Box(100, 5, 200, 25),), 2)]
    first, second = swap_marks(items)
    # 100×50 ↔ 200×25: x doubles and y halves, and back.
    assert first.prompts == (Box(50, 10, 100, 50),)
    assert second.prompts == (Box(20, 10, 60, 20),)


def test_points_stay_points_and_boxes_stay_boxes(pictures):
    mixed = (Point(1, 2), Box(1, 2, 3, 4))
    first, _ = swap_marks([item(pictures[0], mixed, 1), item(pictures[1], mixed, 2)])
    assert [type(prompt) for prompt in first.prompts] == [Point, Box]


def test_the_only_item_with_its_count_takes_from_one_with_more(pictures):
    items = [item(pictures[0], points((1, 1)), 1), item(pictures[1], points((5, 5), (6, 6)), 2)]
    assert swap_marks([*items, item(pictures[2], points((7, 7), (8, 8)), 3)])[0].prompts == points((5, 5))


def test_the_item_with_the_most_marks_takes_from_several(pictures):
    many = item(pictures[0], points((1, 1), (2, 2), (3, 3)), 1)
    others = [item(pictures[1], points((5, 5)), 2), item(pictures[2], points((7, 7), (8, 8)), 3)]
    assert swap_marks([many, *others])[0].prompts == points((7, 7), (8, 8), (5, 5))


def test_too_few_marks_elsewhere_are_an_error_that_names_the_question(pictures):
    items = [item(pictures[0], points((1, 1), (2, 2)), 41), item(pictures[1], points((5, 5)), 42)]
    with pytest.raises(DataError, match=r"question 41.* 2 marks"):
        swap_marks(items)


def test_items_without_marks_stay_without(pictures):
    (alone,) = swap_marks([item(pictures[0], (), 1)])
    assert alone.prompts == ()


def test_arguments_are_not_changed(pictures):
    items = [item(pictures[n], points((n, 1)), n) for n in range(3)]
    before = copy.copy(items)
    swap_marks(items)
    assert items == before
