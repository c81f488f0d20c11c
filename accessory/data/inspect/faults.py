"""What can be wrong with an item: its form, its marks on the picture, its marks in the text; each kind with a name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from accessory.data.annotation import Annotation, parse_annotation
from accessory.data.labels import parse_labels, task_of
from SPHINX_V.errors import DataError, UsageError
from SPHINX_V.processing.conversation import named_marks
from SPHINX_V.prompts import Prompt, check_prompts, is_point

# Kind → what it means, in the order of reports.
KINDS = {
    "annotation-file": "a file that is missing, unreadable or no list",
    "item": "an item that is no object, or a line that is no JSON",
    "image": "a picture's path that is none, or marks without a picture",
    "marks": "a mark that is no box or no point: its form, a size of 0 or below, a number that is not finite",
    "both-kinds": "boxes and points in one item",
    "too-many-marks": "more marks than the model has slots",
    "conversation": "turns that do not alternate, that lack a text, a question or an answer",
    "missing-picture": "a picture that is not there",
    "unreadable-picture": "a picture that cannot be opened, is too large or animated",
    "outside": "a mark that reaches outside its picture",
    "mark-names": "a text that names a mark that is not there, or a point as a region",
    "answer-lines": "an answer about each mark that leaves marks out",
    "no-target": "no whole answer fits into the length (with --max_words)",
    "duplicate": "the same picture, marks and conversation as an item before",
}
PER_MARK = ("labels", "ocr", "brief", "detailed")  # questions whose answer has a line for each mark
_GOOD_TALK = [{"from": "human", "value": "?"}, {"from": "gpt", "value": "!"}]


class Fault(NamedTuple):
    """One thing that is wrong: its kind (of KINDS), the file, the item (None: the file itself) and the reason."""

    kind: str
    file: str
    item: int | None
    reason: str

    def __str__(self) -> str:
        return f"{self.file}{'' if self.item is None else f', item {self.item}'}: {self.reason}"


def schema_kind(value: Any, max_prompts: int) -> str:
    """Which kind of fault keeps `parse_annotation` from reading this item."""
    if not isinstance(value, Mapping):
        return "item"
    marks = [value.get(field) for field in ("bbox", "points")]
    lists = [mark for mark in marks if isinstance(mark, list) and mark]
    if len(lists) == 2:
        return "both-kinds"
    if any(len(mark) > max_prompts for mark in lists):
        return "too-many-marks"
    # What makes the item readable when it is replaced by something good is what was wrong.
    if _readable({**value, "conversations": _GOOD_TALK}, max_prompts):
        return "conversation"
    if _readable({**value, "conversations": _GOOD_TALK, "image": "picture"}, max_prompts):
        return "image"
    return "marks"


def _readable(value: Mapping[str, Any], max_prompts: int) -> bool:
    try:
        parse_annotation(value, "", max_prompts)
    except DataError:
        return False
    return True


def outside(prompts: Sequence[Prompt], size: tuple[int, int], tolerance: float) -> Iterator[str]:
    """A sentence for each mark that reaches more than `tolerance` pixels outside a picture of `size` (width, height),
    and for one wholly outside, which training refuses."""
    for number, prompt in enumerate(prompts, start=1):
        x0, y0, x1, y1 = prompt.bounds()
        over = max(-x0, -y0, x1 - size[0], y1 - size[1])
        refused = ""
        try:
            check_prompts([prompt], *size, max_prompts=1)
        except UsageError:
            refused = "wholly "
        if refused or over > tolerance:
            yield (
                f"mark {number}, {type(prompt).__name__}({x0:g}, {y0:g}"
                + ("" if is_point(prompt) else f", {x1:g}, {y1:g}")
                + f"), reaches {over:g} pixels {refused}outside the picture of {size[0]}×{size[1]} pixels"
            )


def text_faults(annotation: Annotation) -> Iterator[tuple[str, str]]:
    """(kind, sentence) for every disagreement of the marks in the text with those of the item."""
    count = len(annotation.prompts)
    points = [is_point(prompt) for prompt in annotation.prompts]
    for turn, (question, answer) in enumerate(((turn.question, turn.answer or "") for turn in annotation.turns), 1):
        for what, text in (("question", question), ("answer", answer)):
            for word, number in named_marks(text):
                if not 1 <= number <= count:
                    yield "mark-names", f"{what} {turn} names <{word} {number}>, the item has {count} marks"
                elif points[number - 1] != (word == "Mark"):
                    kind, right = ("point", "Mark") if points[number - 1] else ("box", "Region")
                    yield (
                        "mark-names",
                        f"{what} {turn} names <{word} {number}>, which is a {kind}: write <{right} {number}>",
                    )
        asked = task_of(question)
        if asked is None:
            continue
        task, of_points = asked
        if points and points[0] != of_points:
            given, said = ("points", "regions") if points[0] else ("boxes", "points")
            yield "mark-names", f"question {turn} speaks of {said}, the marks are {given}"
        if task in PER_MARK:
            left_out = sorted(set(range(1, count + 1)) - parse_labels(answer).keys())
            if left_out:
                numbers = ", ".join(map(str, left_out))
                yield "answer-lines", f"answer {turn} has no line for mark {numbers} of {count}"
