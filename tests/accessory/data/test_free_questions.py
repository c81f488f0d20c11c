"""Free questions of the synthetic data set: that every answer is true, and that nothing can be told without looking."""

from __future__ import annotations

import re
from collections import Counter, defaultdict

import pytest

from accessory.data.synthetic import Drawn, Element, Item, ask, draw_picture
from accessory.data.synthetic.plan import DOMAINS, EXTENTS, TOPICS, Extent
from accessory.data.synthetic.records import benchmark_item
from accessory.data.synthetic.seeds import stream
from accessory.data.synthetic.telling import direction


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


def check_free_answer(item: Item, question: str, answer: str) -> str:
    """Reads a free answer, checks every part of it against the elements and returns what it is about."""
    *reasons, last = answer.split("\n")
    verdict = last if last in ("Yes.", "No.") else ""
    reasons += [] if verdict else [last]
    if found := re.fullmatch(r"There (?:is|are) (.+)\.", last):
        assert found[1] == ("one", "two", "three", "four", "five", "six")[len(item.marks) - 1]
        return "count"
    if found := re.fullmatch(r"<\w+ (\d)> is (.+) <\w+ (\d)>\.", reasons[0]):
        # Of two marks with neighbouring numbers the later one is told of, whichever the question begins with.
        assert int(found[1]) == int(found[3]) + 1
        told, asked = by_number(item, reasons[0]), by_number(item, question)
        return check_size(told, asked, question, found[2], verdict) or check_direction(
            told, asked, question, found[2], verdict
        )
    values = [re.fullmatch(r"<\w+ \d>: (.+)", reason)[1] for reason in reasons]  # type: ignore[index]
    marks = by_number(item, "".join(reasons))
    abouts = {kind(mark, value) for mark, value in zip(marks, values, strict=True)}
    assert len(abouts) == 1
    if len(marks) == 2:
        assert by_number(item, question) == marks
        assert f"same {abouts.pop()}" in question
        assert verdict == ("Yes." if values[0] == values[1] else "No.")
        return "same"
    if verdict:
        assert (verdict == "Yes.") == (re.search(rf"\b{values[0]}\b", question) is not None)
        return "is"
    return abouts.pop()


def kind(mark: Element, value: str) -> str:
    """Which of a mark's properties `value` is."""
    known = {mark.label: "word" if mark.kind == "word" else "what", mark.color: "color", mark.shape: "shape"}
    return "word" if mark.kind == "word" and value == mark.label else known[value]


def check_direction(told: list[Element], asked: list[Element], question: str, said: str, verdict: str) -> str:
    assert said == direction(*told)
    wanted = re.search(r"> (left of|right of|above|below) <", question)
    assert verdict == ("" if wanted is None else "Yes." if wanted[1] == direction(*asked) else "No.")
    return "direction"


def check_size(told: list[Element], asked: list[Element], question: str, said: str, verdict: str) -> str:
    """Empty where the sentence is not about sizes."""
    if not said.endswith(" than"):
        return ""
    more, less = told if said == "larger than" else told[::-1]
    assert area(more) >= 1.5 * area(less)
    if wanted := re.search(r"> (larger|bigger|smaller) than <", question):
        assert verdict == ("Yes." if (asked[0] is more) == (wanted[1] != "smaller") else "No.")
    else:
        assert verdict == ""
    return "larger"


def area(element: Element) -> int:
    x0, y0, x1, y1 = element.box
    return (x1 - x0) * (y1 - y0)


@pytest.mark.parametrize("marks", ["box", "point"])
def test_free_answers_are_true_and_yes_and_no_are_balanced(drawn, marks):
    verdicts: dict[str, Counter[str]] = defaultdict(Counter)
    for index, picture in enumerate(drawn):
        item = ask(picture, ("qa", marks), stream(index), EXTENTS["train"])
        assert item is not None
        for question, answer in item.turns:
            if not question.startswith("Please "):
                verdicts[check_free_answer(item, question, answer)][answer.rpartition("\n")[2]] += 1
    assert set(verdicts) == set(TOPICS)
    assert all(count.total() > 20 for count in verdicts.values())
    for about in ("is", "same", "larger", "direction"):
        yes, no = verdicts[about]["Yes."], verdicts[about]["No."]
        assert 0.35 < yes / (yes + no) < 0.65, about


def test_a_conversation_tells_nothing_twice_and_names_what_it_is_about(drawn):
    followed = 0
    for index, picture in enumerate(drawn):
        item = ask(picture, ("qa", "box"), stream(index), Extent(2, (6, 6), 0, TOPICS))
        assert item is not None
        told = [line for _, answer in item.turns for line in answer.split("\n") if line not in ("Yes.", "No.")]
        assert len(set(told)) == len(told)
        for number, (question, answer) in enumerate(item.turns):
            if re.search(r"\bit\b", question):
                followed += number > 0
                before = item.turns[number - 1][1] if number else "<Region 1>"
                assert set(by_number(item, answer)) == set(by_number(item, before))
                assert number or len(item.marks) == 1
            if re.match(r"And|What about", question, re.IGNORECASE):
                followed += 1
                before, now = (check_free_answer(item, *turn) for turn in item.turns[number - 1 : number + 1])
                assert {now, before} <= {"what", "word"} or now == before
    assert followed > 100
