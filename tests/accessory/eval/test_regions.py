"""The parser of region answers: forms by hand, and what holds for every text."""

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from accessory.eval.regions import parse_regions, truth_by_mark

FORMS = [
    ("Region 1: dog\nRegion 2: cat", {1: "dog", 2: "cat"}),
    ("<Region 1>: dog\n<Region 2>: cat", {1: "dog", 2: "cat"}),
    ("<Mark 1>: dog\n<Mark 2>: cat", {1: "dog", 2: "cat"}),
    ("<Region 1>:dog\n<Region 2>:cat", {1: "dog", 2: "cat"}),
    ("region 1 : dog\nMARK 2: cat", {1: "dog", 2: "cat"}),
    ("- **Region 1**: dog\n* **Region 2:** cat", {1: "dog", 2: "cat"}),
    ("1. dog\n2. cat", {1: "dog", 2: "cat"}),
    ("1) dog\n2) cat", {1: "dog", 2: "cat"}),
    ("(1) dog\n(2) cat", {1: "dog", 2: "cat"}),
    ("1: dog\n2: cat", {1: "dog", 2: "cat"}),
    ("Region 1: dog, Region 2: cat.", {1: "dog", 2: "cat."}),
    ("<Region 1>: dog <Region 2>: cat", {1: "dog", 2: "cat"}),
    ("Region 1: a dog\nwith a red collar\nRegion 2: cat", {1: "a dog with a red collar", 2: "cat"}),
    ("Region 1:\na dog\n\nRegion 2:\n\na cat", {1: "a dog", 2: "a cat"}),
    ("Region 2: cat\r\nRegion 1: dog\r\n", {1: "dog", 2: "cat"}),
    ("Region 1: time: 10:30\nRegion 2: cat", {1: "time: 10:30", 2: "cat"}),
    ("Region 1：dog\nRegion 2：cat", {1: "dog", 2: "cat"}),
]


@pytest.mark.parametrize("text, answers", FORMS)
def test_every_form_of_an_answer_is_read(text, answers):
    found = parse_regions(text, {1, 2})
    assert found.answers == answers
    assert (found.missing, found.repeated, found.invented, found.extra) == ((), (), (), "")


def test_missing_repeated_and_invented_regions_are_named():
    found = parse_regions("Region 1: dog\nRegion 1: wolf\nRegion 7: moon\nRegion 3:", {1, 2, 3})
    assert found.answers == {1: "dog"}
    assert (found.missing, found.repeated, found.invented) == ((2, 3), (1,), (7,))
    assert found.extra == "Region 1: wolf\nRegion 7: moon"
    assert found.readable


def test_a_remark_after_an_empty_line_is_no_part_of_the_answer():
    found = parse_regions("Sure.\nRegion 1: dog\n\nI hope that helps.", {1, 2})
    assert found.answers == {1: "dog"}
    assert found.extra == "Sure.\nI hope that helps."


def test_a_text_without_names_is_the_answer_of_a_single_mark_and_of_no_other():
    assert parse_regions("A dog.\n\nIt sleeps.", {1}).answers == {1: "A dog. It sleeps."}
    several = parse_regions("A dog and a cat.", {1, 2})
    assert (several.answers, several.missing, several.readable) == ({}, (1, 2), False)
    assert several.extra == "A dog and a cat."


def test_a_list_in_the_description_of_a_single_mark_is_part_of_it():
    assert parse_regions("Two things:\n1. a hat\n2. a coat", {1}).answers == {1: "Two things: 1. a hat 2. a coat"}


PROSE = [
    "<Region 1> is to the left of <Region 2>.",
    "The sign on Region 2: exit",
    "At 10:30 there are 2 dogs.",
    "1.5 metres",
]


@pytest.mark.parametrize("text", PROSE)
def test_prose_is_not_taken_for_a_list_of_answers(text):
    assert parse_regions(text, {1, 2}).answers == {}


def test_a_region_spoken_of_within_an_answer_opens_no_other():
    found = parse_regions("Region 1: the man whose sign on Region 2: says exit\nRegion 2: a sign", {1, 2})
    assert found.answers == {1: "the man whose sign on Region 2: says exit", 2: "a sign"}


def test_an_answer_about_another_mark_is_not_given_to_the_one_that_was_asked_about():
    found = parse_regions("Region 2: dog", {1})
    assert (found.answers, found.missing, found.invented) == ({}, (1,), (2,))


def test_truths_are_read_by_number_or_whole():
    assert truth_by_mark("Region 1: baseball_base\nRegion 2: belt\n", 2) == {1: "baseball_base", 2: "belt"}
    assert truth_by_mark("A wooden chair.", 1) == {1: "A wooden chair."}
    assert truth_by_mark("They stand side by side.", 2) == {}
    assert truth_by_mark("", 1) == {}


labels = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp")), min_size=1).map(
    lambda text: " ".join(text.split())
)
# What looks like the opening of an answer cannot come back as a part of one.
plain_labels = labels.filter(
    lambda text: text and not any(c in text for c in "<>:：,;|.") and not text.lower().startswith(("region", "mark"))
)
STYLES = ["Region {}: {}", "<Region {}>: {}", "<Mark {}>: {}", "{}. {}", "{}) {}", "({}) {}", "**Region {}**: {}"]


@settings(deadline=None)
@given(st.lists(plain_labels, min_size=2, max_size=10), st.sampled_from(STYLES), st.randoms())
def test_what_is_written_in_any_style_and_order_is_read_back(texts, style, random):
    numbers = list(range(1, len(texts) + 1))
    random.shuffle(numbers)
    written = "\n".join(style.format(number, texts[number - 1]) for number in numbers)
    found = parse_regions(written, set(numbers))
    assert found.answers == dict(enumerate(texts, start=1))
    assert (found.missing, found.repeated, found.invented, found.extra) == ((), (), (), "")


pieces = st.lists(
    st.one_of(
        st.text(max_size=12),
        st.sampled_from(["\n", "\n\n", ": ", ", "]),
        st.integers(0, 12).flatmap(
            lambda n: st.sampled_from([f"Region {n}: ", f"<Mark {n}>: ", f"{n}. ", f"\n<Region {n}>:", f"Region {n}"])
        ),
    ),
    max_size=20,
).map("".join)
marks_asked = st.sets(st.integers(1, 10), max_size=10)


@settings(max_examples=300, deadline=None)
@given(pieces, marks_asked)
def test_every_mark_is_answered_or_missing_and_nothing_else_is_answered(text, marks):
    found = parse_regions(text, marks)
    assert set(found.answers) | set(found.missing) == marks
    assert not set(found.answers) & set(found.missing)
    assert set(found.repeated) <= set(found.answers)
    assert not set(found.invented) & marks
    assert all(answer == answer.strip() and answer and "\n" not in answer for answer in found.answers.values())


@settings(max_examples=300, deadline=None)
@given(pieces, marks_asked)
def test_no_word_of_an_answer_is_lost_or_made_up(text, marks):
    found = parse_regions(text, marks)
    kept = "".join([*found.answers.values(), found.extra])
    # Names of marks, separators, bold type and bullets may go; letters of anything else may not.
    count = {character: text.count(character) for character in set(text) if character.isalpha()}
    for character in set(kept):
        if character.isalpha():
            assert kept.count(character) <= count[character]
    if not found.readable:
        assert "".join(kept.split()) == "".join(text.split())


@settings(deadline=None)
@given(pieces, marks_asked)
def test_the_answers_written_anew_are_read_as_the_same(text, marks):
    answers = parse_regions(text, marks).answers
    # Every name of a mark that opens an answer has a colon behind it.
    assume(not any(colon in said for said in answers.values() for colon in ":："))
    written = "\n".join(f"<Region {number}>: {said}" for number, said in answers.items())
    assert parse_regions(written, {*answers, 0}).answers == answers
