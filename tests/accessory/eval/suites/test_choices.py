"""VCR: the letter answered, the likelihood of the choices, and both halves together."""

import pytest

from accessory.eval.suites.choices import letter_of
from tests.accessory.eval.small_suites import answered, numbers, score

LETTERS = [
    ("B", "B"),
    ("b", "B"),
    ("(C)", "C"),
    ("D.", "D"),
    ("B. because he smiles", "B"),
    ("The answer is C.", "C"),
    ("Answer: A", "A"),
    ("He smiles, so (B) is right", "B"),
    ("A man smiles", None),
    ("a man smiles", None),
    ("E", None),  # there are four choices
    ("I do not know", None),
    ("A. or B.", "A"),
    ("", None),
]


@pytest.mark.parametrize("answer, letter", LETTERS)
def test_letters(answer, letter):
    assert letter_of(answer, 4) == letter


CHOICES = ("yes", "no", "maybe", "never")


def half(key, part, said, truth, likelihoods=()):
    return answered(said, truth, f"{key}:{part}", choices=CHOICES, likelihoods=likelihoods)


def test_both_halves_must_be_right():
    # The longest choice is likeliest per token, the shortest in sum.
    weights = ((-2.0, 1), (-3.0, 2), (-4.0, 4), (-9.0, 3))
    said = [
        half("q1", "Q-A", "B", "B", weights),
        half("q1", "QA-R", "C", "C", weights),
        half("q2", "Q-A", "A", "A", weights),
        half("q2", "QA-R", "D", "A", weights),
        half("q3", "Q-A", "whatever", "C", weights),
        half("q3", "QA-R", "A", "A", weights),
    ]
    found = score("choices", said)
    third = pytest.approx(100 / 3)
    assert numbers(found) == {
        "Q→A": pytest.approx(200 / 3),
        "QA→R": pytest.approx(200 / 3),
        "Q→AR": third,
        "Q→A, likelihood": third,  # A is right for q2
        "QA→R, likelihood": pytest.approx(200 / 3),  # and for q2 and q3
        "Q→AR, likelihood": third,
        "Q→A, likelihood per token": third,  # C is right for q3
        "QA→R, likelihood per token": third,  # and for q1
        "Q→AR, likelihood per token": 0.0,
    }
    assert found.tally.unparsable == 1


def test_files_without_likelihoods_say_so():
    found = score("choices", [half("q1", "Q-A", "B", "B")])
    missing = {one.name: one.note for one in found.scores if one.value is None}
    assert missing["Q→A, likelihood"] == "the predictions hold no likelihood"
    assert numbers(found)["Q→A"] == 100.0
