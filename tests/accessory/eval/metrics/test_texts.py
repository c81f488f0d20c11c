"""Two texts compared: every number here is worked out by hand."""

import pytest

from accessory.eval.metrics.texts import (
    edit_distance,
    normalised_distance,
    plain_label,
    same_text,
    semantic_iou,
    spotted_text,
)


@pytest.mark.parametrize("one, other", [("EXIT", "exit"), (" a dog ", "a dog"), ("Yes.", "yes"), ("", "")])
def test_case_outer_space_and_full_stop_do_not_matter(one, other):
    assert same_text(one, other)


@pytest.mark.parametrize("one, other", [("red circle", "red  circle"), ("cat", "cats"), ("", "x"), ("a.b", "ab")])
def test_everything_else_matters(one, other):
    assert not same_text(one, other)


IOU = [
    ("dog", "dog", 1.0),
    ("Baseball Base", "baseball base", 1.0),
    ("a brown dog", "dog", 1 / 3),
    ("tennis racket", "tennis ball", 1 / 3),
    ("cat", "dog", 0.0),
    ("dog dog dog", "dog", 1.0),  # sets of words
    ("dog.", "dog", 0.0),  # punctuation belongs to the word, as the papers count
    ("", "dog", 0.0),
    ("", "", 0.0),
]


@pytest.mark.parametrize("one, other, value", IOU)
def test_semantic_iou_is_common_words_over_all_words(one, other, value):
    assert semantic_iou(one, other) == pytest.approx(value)
    assert semantic_iou(other, one) == pytest.approx(value)


DISTANCES = [("", "", 0), ("exit", "exit", 0), ("exit", "exist", 1), ("kitten", "sitting", 3), ("", "abc", 3)]


@pytest.mark.parametrize("one, other, distance", DISTANCES)
def test_edit_distance_counts_single_characters(one, other, distance):
    assert edit_distance(one, other) == edit_distance(other, one) == distance


def test_the_normalised_distance_is_over_the_longer_text():
    assert normalised_distance("exit", "exist") == 0.2
    assert normalised_distance("abc", "") == 1.0
    assert normalised_distance("", "") == 0.0


def test_underlines_and_colons_of_true_labels_are_spaces():
    assert plain_label("baseball_base") == "baseball base"
    assert plain_label("chair:back") == "chair back"


SPOTTED = [
    ("word (EXIT)", "EXIT"),
    ("a sign (NO (x) ENTRY)", "NO (x) ENTRY"),
    ("EXIT", "EXIT"),
    ("(555)", "(555)"),  # nothing stands in front of it: the parentheses are part of the text
    ("word (EXIT) on a wall", "word (EXIT) on a wall"),
    (" EXIT ", "EXIT"),
]


@pytest.mark.parametrize("answer, text", SPOTTED)
def test_an_ocr_answer_counts_by_what_is_in_parentheses(answer, text):
    assert spotted_text(answer) == text
