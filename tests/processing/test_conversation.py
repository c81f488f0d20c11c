"""The template of released weights, and what is said about odd turns and marks."""

import copy

import pytest

from SPHINX_V.errors import UsageError
from SPHINX_V.processing.conversation import Turn, as_turns, clean, misnamed_marks, named_marks, render
from SPHINX_V.prompts import Box, Point, Scribble

SYSTEM = (
    "A chat between a curious human and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the human's questions."
)


def targets(turns):
    rendered = render(as_turns(turns))
    return [rendered.text[start:stop] for start, stop in rendered.targets]


def test_the_prompt_of_the_reference(golden_facts):
    rendered = render(as_turns([[golden_facts["question"], None]]))
    assert rendered.text == golden_facts["texts"]["prompt"]
    assert rendered.targets == ()


def test_the_template_word_by_word():
    rendered = render([Turn("Who?", "A cat."), Turn("Where?", "There."), Turn("Why?")])
    assert rendered.text == (
        f"{SYSTEM}\n\n### Human: Who?\n### Assistant: A cat.\n### Human: Where?\n### Assistant: There.\n###"
        " Human: Why?\n### Assistant:"
    )


def test_a_target_is_the_answer_with_its_space_and_its_stop_string():
    assert targets([["Who?", "A cat."], ["Where?", "There."]]) == [" A cat.\n###", " There.\n###"]
    assert targets([["Who?", "A cat."], ["Where?", None]]) == [" A cat.\n###"]


def test_the_target_is_the_answer_also_where_the_question_repeats_it():
    turns = [['Say "A cat.\n###" again: A cat.', "A cat."], [" Assistant: A cat.", "A cat."]]
    rendered = render(as_turns(turns))
    for start, stop in rendered.targets:
        assert rendered.text[:start].endswith("\n### Assistant:")
        assert rendered.text[start:stop] == " A cat.\n###"
    assert rendered.targets[1][1] == len(rendered.text)


@pytest.mark.parametrize(
    "text", ["<image>\nWho?", "Who?<image>", "  Who? \n", "<image><image>Who?", "W<image>ho?", "<image> Who? <image>"]
)
def test_the_image_tag_is_removed_and_the_text_stripped(text):
    assert clean(text) == "Who?"
    assert render([Turn(text, text)]).text == render([Turn("Who?", "Who?")]).text


def test_turns_are_read_and_never_changed():
    raw = [["<image> a", "b"], ["c", None]]
    before = copy.deepcopy(raw)
    assert as_turns(raw) == (Turn("<image> a", "b"), Turn("c", None))
    assert raw == before
    assert as_turns([("a", "b"), Turn("c")]) == (Turn("a", "b"), Turn("c"))
    assert as_turns(turn for turn in raw) == as_turns(raw)


@pytest.mark.parametrize(
    ("turns", "sentence"),
    [
        ([], "conversation is empty"),
        ([["", None]], r"turn 1 has no question \(got ''\); write one"),
        ([["a", "b"], [" <image>\n", None]], "turn 2 has no question"),
        ([[None, "b"]], "turn 1 has no question"),
        ([["a", None], ["b", None]], "turn 1 of 2 has no answer; only the last turn may be open"),
        ([["a", 5]], "turn 1: the answer is 5; give a text, or None"),
        ([["a"]], r"turn 1 is \['a'\]; give \[question, answer\]"),
        (["What is it?"], r"turn 1 is 'What is it\?'; give \[question, answer\]"),
        (["ab", "cd"], "turn 1 is 'ab'"),
        ("What is it?", r"turns is 'What is it\?'; give a list of turns, such as \[\[question, None\]\]"),
        (None, "turns is None; give a list"),
        (5, "turns is 5; give a list"),
        ([["a\ud800", None]], "turn 1 holds half of a surrogate pair"),
        ([["a", "b"], ["c", "d\udfff"]], "turn 2 holds half of a surrogate pair"),
    ],
)
def test_odd_turns_are_refused(turns, sentence):
    with pytest.raises(UsageError, match=sentence):
        as_turns(turns)


def test_an_empty_answer_is_an_answer():
    assert targets([["Who?", ""]]) == [" \n###"]


class TestMarkNames:
    """`<Mark n>` names points, `<Region n>` everything else, and n counts from 1."""

    BOX, POINT, DRAWN = Box(0, 0, 1, 1), Point(0, 0), Scribble([(0, 0)])

    @staticmethod
    def told(question, prompts):
        return misnamed_marks([Turn(question)], prompts)

    def test_right_names_are_silent(self):
        marks = [self.BOX, self.POINT, self.DRAWN]
        assert self.told("Is <Region 1> left of <Mark 2> and <Region 3>?", marks) == []
        assert self.told("What is there? <region 9> <Region> <Mark x>", marks) == []

    def test_region_4_with_three_prompts(self):
        (sentence,) = self.told("What is <Region 4>?", [self.BOX] * 3)
        assert "<Region 4>" in sentence
        assert "3 prompts" in sentence

    def test_region_0_and_a_number_without_end(self):
        assert len(self.told("What is <Region 0>?", [self.BOX])) == 1
        assert self.told("What is <Region " + "9" * 5000 + ">?", [self.BOX]) == []

    def test_mark_for_a_box(self):
        (sentence,) = self.told("What is <Mark 1>?", [self.BOX])
        assert "prompt 1 is a Box" in sentence
        assert "<Region 1>, not <Mark 1>" in sentence

    def test_region_for_a_point_and_mark_for_a_scribble(self):
        sentences = self.told("<Region 1> or <Mark 2>?", [self.POINT, self.DRAWN])
        assert ["prompt 1 is a Point" in sentences[0], "prompt 2 is a Scribble" in sentences[1]] == [True, True]

    def test_a_name_is_told_of_once_and_looked_for_in_every_question(self):
        turns = [Turn("<Region 2>?", "<Region 7>"), Turn("<Region 2> <Region 3>?")]
        assert len(misnamed_marks(turns, [self.BOX])) == 2


def test_marks_named_in_a_text():
    text = "Is <Region 2> above <Mark 1>, Region 3 or <region 4>? <Region 2> and <Region 02>!"
    assert named_marks(text) == [("Region", 2), ("Mark", 1)]
