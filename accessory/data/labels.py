"""Region answers (`<Region 1>: red circle`) ↔ one label per mark, relations, and the wording of the questions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal, get_args

from SPHINX_V.processing.conversation import clean

Task = Literal["labels", "ocr", "brief", "detailed", "summary", "relation"]

_WORDING: dict[str, str] = {
    "labels": "Please identify the labels of each marked {place} in the image.",
    "ocr": "Please provide the ocr results of each marked {place} in the image.",
    "brief": "Please provide a brief description of each marked {place} in the image.",
    "detailed": "Please provide a detailed description of each marked {place} in the image.",
    "summary": "Please provide a summarized description based on all the marked {place}s in the image.",
    "relation": "Please analyze the relationship between all marked {place}s in the image.",
}

_RELATION = re.compile(r"<(?:Region|Mark) (\d+)> is ([^<>]+?) <(?:Region|Mark) (\d+)>(?! is\b)")
_LINE = re.compile(r"^\s*<?(?:Region|Mark)\s+(\d+)>?\s*:\s*(.*)$")


def question(task: Task, points: bool) -> str:
    """The wording that the model is trained with, for points or for boxes."""
    return _WORDING[task].format(place="point" if points else "region")


_TASKS: dict[str, tuple[Task, bool]] = {
    question(task, points): (task, points) for task in get_args(Task) for points in (True, False)
}


def task_of(text: str) -> tuple[Task, bool] | None:
    """Which question this is, and whether it speaks of points; None for a free question. `<image>` does not count."""
    return _TASKS.get(clean(text))


def answer(labels: Sequence[str], points: bool) -> str:
    """One line per mark: `<Region 1>: label`, or `<Mark 1>: label` for points."""
    word = "Mark" if points else "Region"
    return "\n".join(f"<{word} {number}>: {label}" for number, label in enumerate(labels, start=1))


def parse_relations(text: str) -> dict[int, str]:
    """What an answer's sentences say between two marks (`<Region 1> is left of <Region 2>`: "left of"), by the later
    mark: in a causal model its slot has seen the other."""
    found = ((int(first), said, int(second)) for first, said, second in _RELATION.findall(text))
    return {max(first, second): said for first, said, second in found if first != second}


def parse_labels(text: str) -> dict[int, str]:
    """Labels by mark number from an answer's lines; a repeated number keeps its first label, others are ignored."""
    labels: dict[int, str] = {}
    for line in text.splitlines():
        match = _LINE.match(line)
        if match and match.group(2).strip():
            labels.setdefault(int(match.group(1)), match.group(2).strip())
    return labels
