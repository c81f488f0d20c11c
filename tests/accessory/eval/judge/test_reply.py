"""Replies of judges: every usual writing of two grades is read, and nothing is read into other writings."""

import itertools
import random

import pytest

from accessory.eval.judge.reply import parse_choice, parse_grades

WRITINGS = [
    "{a} {b}", "{a}, {b}", "{a},{b}", "{a}; {b}", "{a} | {b}", "{a}\t{b}", "{a}:{b}", "{a} & {b}", "({a}, {b})",
    "[{a}, {b}]", "{a} and {b}", "{a} vs. {b}", "{a}-{b}", "{a} - {b}", "{a} – {b}", "{a}/10 {b}/10",
    "{a}/10, {b}/10", "{a} / 10 and {b} / 10", "{a} out of 10, {b} out of 10", "{a}/10.0 {b}/10.0",
    "Score: {a} and {b}", "Scores: {a} {b}", "Ratings (1-10): {a}, {b}", "On a scale of 1 to 10: {a} {b}",
    "**{a} {b}**", "`{a} {b}`", "# {a} {b}", "> {a} {b}", "__{a}__ __{b}__", "A: {a}, B: {b}", "A: {a} B: {b}",
    "A={a} B={b}", "(A) {a} (B) {b}", "Answer A: {a}; Answer B: {b}", "Answer A: {a}/10, answer B: {b}/10",
    "**Answer A:** {a}  **Answer B:** {b}", "Answer A gets {a} and answer B gets {b}",
    "Assistant 1: {a} Assistant 2: {b}", "Assistant 1: {a}/10, Assistant 2: {b}/10",
    "Scores for assistants 1 and 2: {a} {b}", "A (reference): {a}, B (model): {b}", '{{"A": {a}, "B": {b}}}',
    '{{"score_a": {a}, "score_b": {b}}}', "{a} {b}.", "{a} {b} - answer A names all 3 regions",
    "{a} {b} (Region 2 is wrong in B)", "{a}, {b}: B makes up 2 things",
    "\n\n{a} {b}\n\nAnswer A earns 9 of 10 points.", "```\n{a} {b}\n```",
    "Here are the grades:\n{a} {b}\nBoth are right.", "<think>Perhaps 3 3?\nNo.</think>\n\n{a} {b}\nWhy.",
]  # fmt: skip
GRADES = [1.0, 1.5, 2.0, 7.0, 9.75, 10.0]


@pytest.mark.parametrize("writing", WRITINGS)
def test_every_writing_gives_its_two_grades(writing):
    for a, b in itertools.product(GRADES, repeat=2):
        text = writing.format(a=f"{a:g}", b=f"{b:g}")
        assert parse_grades(text) == (a, b), text


@pytest.mark.parametrize("writing", WRITINGS)
def test_a_grade_out_of_range_is_never_read(writing):
    for bad in ("0", "0.9", "10.5", "11", "100", "-3", "-1"):
        texts = [writing.format(a=bad, b="7"), writing.format(a="7", b=bad)]
        if "-" in bad and writing == "{a}-{b}":
            texts.pop()  # "7--3" is nobody's writing
        assert [parse_grades(text) for text in texts] == [None] * len(texts), bad


NO_GRADES = [
    "", "  \n ", "I cannot see the picture.", "8", "8/10", "Score: 8", "8 7 6", "8, 7, 6", "8 7 and 9", "8 7/5",
    "8/5 7/5", "eight seven", "80% 70%", "8th 7th", "1e1 1e0", "v8 7", "8.5.1 7", "1. 8\n2. 7",
    "Answer A: 8\nAnswer B: 7", "B: 7, A: 8", "Answer 2: 7, Answer 1: 8", "8 (for detail 9)",
    "Score: 8 (7 for clarity, 9 for detail)", "Answer A names 3 regions.\n8 7", "<think>8 7",
    "I compared 2 answers and give 8 7", "8 in 2024", "NaN NaN", "inf 7",
]  # fmt: skip


@pytest.mark.parametrize("text", NO_GRADES)
def test_what_is_unclear_is_not_guessed(text):
    assert parse_grades(text) is None


def test_a_reply_cut_in_its_first_line_is_not_read():
    # "8 10" cut after its first digit would be "8 1".
    assert parse_grades("8 1", cut=True) is None
    assert parse_grades("8 1\nAnswer B is", cut=True) == (8, 1)
    assert parse_grades("8 1") == (8, 1)


def test_any_text_gives_grades_in_range_or_none():
    chance = random.Random(0)
    pieces = [
        "8",
        "7.5",
        "10",
        "/10",
        "-",
        "1",
        "A:",
        "B:",
        "Answer",
        " ",
        ",",
        "\n",
        "**",
        "(",
        ")",
        "{",
        "%",
        "é",
        "0",
        ".",
    ]
    read = 0
    for _ in range(20_000):
        text = "".join(chance.choices(pieces, k=chance.randrange(12)))
        grades = parse_grades(text)
        if grades is not None:
            read += 1
            assert len(grades) == 2
            assert all(1 <= grade <= 10 for grade in grades), text
    assert read > 100


CHOICES = [
    "The wing is not mentioned.",
    "The wing is mentioned and is grey.",
    "The wing is mentioned, but is not grey.",
]
LETTERS = [
    "B", "b", "B.", "B)", "(B)", "**B**", "`B`", " B \n", "Answer: B", "The answer is B.", "Option B",
    "My choice is (B)", "B. The wing is mentioned and is grey.", "B. the wing is mentioned",
    "(B) The wing is mentioned and is grey. I am sure.", "The wing is mentioned and is grey.",
    "the wing is mentioned  and is grey", "B\nBecause it says so.", "<think>A?</think>B",
]  # fmt: skip


@pytest.mark.parametrize("text", LETTERS)
def test_a_choice_is_read_by_letter_and_by_text(text):
    assert parse_choice(text, CHOICES) == 1


@pytest.mark.parametrize(
    "text",
    [
        "",
        "D",
        "E. Something else",
        "A wing is grey.",
        "B. The wing is not mentioned.",
        "Yes",
        "A or B",
        "I do not know",
    ],
)
def test_no_choice_is_read_into_other_words(text):
    assert parse_choice(text, CHOICES) is None
