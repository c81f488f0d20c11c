"""The conversation template: turns → one text, with the character spans that are training targets."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from SPHINX_V.errors import UsageError
from SPHINX_V.prompts import Prompt, is_point

SYSTEM = (
    "A chat between a curious human and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the human's questions."
)
STOP = "\n###"
IMAGE_TAG = "<image>"
_SURROGATE = re.compile("[\ud800-\udfff]")
_NAMED_MARK = re.compile(r"<(Region|Mark) (\d{1,9})>")


@dataclass(frozen=True)
class Turn:
    """One question and its answer; `answer` is None for the turn that the model is to answer."""

    question: str
    answer: str | None = None


@dataclass(frozen=True)
class Rendered:
    """The text of a conversation; `targets` are the character spans [start, end) of answers with their stop string."""

    text: str
    targets: tuple[tuple[int, int], ...]


def as_turns(values: Iterable[Any]) -> tuple[Turn, ...]:
    """Turns from `[[question, answer or None], …]`; only the last may be open. The argument is not changed."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise UsageError(f"turns is {values!r}; give a list of turns, such as [[question, None]].")
    values, turns = list(values), []
    for number, value in enumerate(values, start=1):
        if isinstance(value, Turn):
            turn = value
        elif isinstance(value, (list, tuple)) and len(value) == 2:
            turn = Turn(value[0], value[1])
        else:
            raise UsageError(f"turn {number} is {value!r}; give [question, answer] or [question, None].")
        if not isinstance(turn.question, str) or not clean(turn.question):
            raise UsageError(f"turn {number} has no question (got {turn.question!r}); write one.")
        if turn.answer is not None and not isinstance(turn.answer, str):
            raise UsageError(
                f"turn {number}: the answer is {turn.answer!r}; give a text, or None for the model to answer."
            )
        if turn.answer is None and number < len(values):
            raise UsageError(f"turn {number} of {len(values)} has no answer; only the last turn may be open.")
        if any(_SURROGATE.search(text) for text in (turn.question, turn.answer or "")):
            raise UsageError(
                f"turn {number} holds half of a surrogate pair, which is no character; check its encoding."
            )
        turns.append(turn)
    if not turns:
        raise UsageError("the conversation is empty; give at least one turn [question, None].")
    return tuple(turns)


def clean(text: str) -> str:
    """Removes `<image>` wherever it stands and strips: pictures are placed by the model, not by the text."""
    return text.replace(IMAGE_TAG, "").strip()


def render(turns: Sequence[Turn]) -> Rendered:
    """The template of released weights. An answer's span starts at the space after `Assistant:`."""
    text = f"{SYSTEM}\n{STOP}"
    targets = []
    for turn in turns:
        text += f" Human: {clean(turn.question)}{STOP} Assistant:"
        if turn.answer is not None:
            start = len(text)
            text += f" {clean(turn.answer)}{STOP}"
            targets.append((start, len(text)))
    return Rendered(text, tuple(targets))


def named_marks(text: str) -> list[tuple[str, int]]:
    """The marks that a text names, each once, in order: ("Region", 2) for `<Region 2>`, ("Mark", 1) for `<Mark 1>`."""
    return list(dict.fromkeys((word, int(digits)) for word, digits in _NAMED_MARK.findall(text)))


def misnamed_marks(turns: Sequence[Turn], prompts: Sequence[Prompt]) -> list[str]:
    """A sentence for each name in a question that fits no prompt: `<Region 4>` with three of them, `<Mark n>` for a box
    or `<Region n>` for a point."""
    found = []
    for word, number in dict.fromkeys(named for turn in turns for named in named_marks(turn.question)):
        if not 1 <= number <= len(prompts):
            found.append(f"the question names <{word} {number}>, but {len(prompts)} prompts are given.")
        elif is_point(prompts[number - 1]) != (word == "Mark"):
            right = "Mark" if is_point(prompts[number - 1]) else "Region"
            kind = type(prompts[number - 1]).__name__
            found.append(
                f"prompt {number} is a {kind}, which the model knows as <{right} {number}>, not <{word} {number}>."
            )
    return found
