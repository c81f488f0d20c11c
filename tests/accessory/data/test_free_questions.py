"""Free questions of the synthetic data set: that every answer is true, and that nothing can be told without looking."""

from __future__ import annotations

import re
from collections import Counter, defaultdict

import pytest

from accessory.data.synthetic import Drawn, Element, Item, ask, draw_picture
from accessory.data.synthetic.plan import DOMAINS, EXTENTS, TOPICS, Extent
from accessory.data.synthetic.records import benchmark_item
from accessory.data.synthetic.seeds import stream
from accessory.data.synthetic.telling import direction, place
from accessory.data.synthetic.vocabulary import COLORS


@pytest.fixture(scope="module")
def drawn() -> list[Drawn]:
    return [draw_picture(DOMAINS[index % len(DOMAINS)], (6, index)) for index in range(400)]


def test_heldout_conversations_end_at_any_turn_and_ask_only_what_depends_on_the_marks(drawn):
    lengths: Counter[int] = Counter()
    for index, picture in enumerate(drawn):
        item = ask(picture, ("qa", "box"), stream(index))
        assert item is not None
        assert not any(re.match("how many|please ", question, re.IGNORECASE) for question, _ in item.turns)
        record = benchmark_item(item, "a.png", index)
        turns = [tuple(turn) for turn in record.get("history", [])]
        assert (*turns, (record["question"], record["gt_answers"])) == item.turns
        lengths[len(turns)] += 1
    assert set(lengths) == {0, 1, 2}
    assert min(lengths.values()) > 0.2 * len(drawn)


def by_number(item: Item, text: str) -> list[Element]:
    """The marks that a text names, in the order of their naming."""
    return [item.marks[int(number) - 1] for number in re.findall(r"<(?:Region|Mark) (\d+)>", text)]


def check_free_answer(item: Item, size: tuple[int, int], question: str, answer: str) -> str:
    """Reads a free answer, checks every part of it against the elements and returns what it is about."""
    said, _, verdict = answer.removesuffix(".").partition(", so ")
    marks = by_number(item, said)
    if found := re.fullmatch(r"There (?:is|are) (.+)", said):
        assert found[1] == ("one", "two", "three", "four", "five", "six")[len(item.marks) - 1]
        return "count"
    if found := re.fullmatch(r"<.+?> lies (.+) <.+?>", said):
        assert found[1] == direction(*marks)
        assert by_number(item, question) == marks
        asked = re.search(r"> (left of|right of|above|below) <", question)
        assert verdict == ("" if asked is None else "yes" if asked[1] == found[1] else "no")
        return "direction"
    if found := re.fullmatch(r"<.+?> is (larger|smaller)", said):
        [mark], pair = marks, by_number(item, question)
        [other] = [one for one in pair if one is not mark]
        assert area(mark) >= 1.5 * area(other) if found[1] == "larger" else area(other) >= 1.5 * area(mark)
        if verdict:  # the answer is of the mark that the question begins with
            assert pair[0] is mark
            asked_smaller = "smaller than" in question
            assert verdict == ("yes" if asked_smaller == (found[1] == "smaller") else "no")
        return "larger"
    if found := re.fullmatch(r"<.+?> is (?:an? )?([a-z]+) and <.+?> is (?:an? )?([a-z]+)", said):
        about = "color" if found[1] in COLORS else "shape"
        assert [getattr(mark, about) for mark in marks] == [found[1], found[2]]
        assert f"same {about}" in question
        assert verdict == ("yes" if found[1] == found[2] else "no")
        return "same"
    [mark] = marks
    found = re.fullmatch(r"<.+?> (?:is|says) (?:an? |the word )?(.+)", said)
    assert found is not None
    about = next(
        name
        for name, values in (
            ("what", [mark.label]),
            ("color", [mark.color]),
            ("shape", [mark.shape]),
            ("place", [place(mark, size)]),
        )
        if found[1] in values
    )
    if verdict:
        assert (verdict == "yes") == (re.search(rf"\b{found[1]}\b", question) is not None)
        return "is"
    if re.match("which (mark|region|point|of the)", question, re.IGNORECASE):
        assert [one for one in item.marks if found[1] in (one.color, one.shape, one.label)] == [mark]
        return "which"
    return about


def area(element: Element) -> int:
    x0, y0, x1, y1 = element.box
    return (x1 - x0) * (y1 - y0)


@pytest.mark.parametrize("kind", ["box", "point"])
def test_free_answers_are_true_and_yes_and_no_are_balanced(drawn, kind):
    verdicts: dict[str, Counter[str]] = defaultdict(Counter)
    for index, picture in enumerate(drawn):
        item = ask(picture, ("qa", kind), stream(index), EXTENTS["train"])
        assert item is not None
        for question, answer in item.turns:
            if not question.startswith("Please "):
                about = check_free_answer(item, picture.image.size, question, answer)
                verdicts[about][answer.rpartition(", so ")[2] if ", so " in answer else "told"] += 1
    assert set(verdicts) == set(TOPICS) - {"word"}  # a word is told of as a word: what it is
    assert all(count.total() > 20 for count in verdicts.values())
    for about in ("is", "same", "larger", "direction"):
        yes, no = verdicts[about]["yes."], verdicts[about]["no."]
        assert 0.35 < yes / (yes + no) < 0.65, about


def test_a_conversation_tells_nothing_twice_and_names_what_it_is_about(drawn):
    followed = 0
    for index, picture in enumerate(drawn):
        item = ask(picture, ("qa", "box"), stream(index), Extent(2, (6, 6), 0, TOPICS))
        assert item is not None
        # Which one is larger can be asked again, of another pair.
        told = [answer.partition(", so")[0].rstrip(".") for _, answer in item.turns]
        told = [text for text in told if not text.endswith(("larger", "smaller"))]
        assert len(set(told)) == len(told)
        for number, (question, answer) in enumerate(item.turns):
            if re.search(r"\bit\b", question):
                followed += number > 0
                before = item.turns[number - 1][1] if number else "<Region 1>"
                assert set(by_number(item, answer)) == set(by_number(item, before))
                assert number or len(item.marks) == 1
            if re.match(r"And|What about", question, re.IGNORECASE):
                followed += 1
                pair = item.turns[number - 1 : number + 1]
                before, now = (check_free_answer(item, picture.image.size, *turn) for turn in pair)
                assert now == before
    assert followed > 100
