"""Questions and answers as cards of HTML: the picture with numbered marks, the answer beside the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from accessory.eval.items import BenchmarkItem
from accessory.eval.page import question_heading
from accessory.eval.verdicts import Verdict, beyond_the_marks, verdicts
from accessory.page.marks import PictureFile, badge, picture_tag, with_tags
from SPHINX_V.prompts import Prompt


@dataclass(frozen=True)
class Example:
    """A benchmark item with its answer, and the answer to the same question with the marks of another item."""

    item: BenchmarkItem
    prediction: str
    swapped: str | None = None
    swapped_prompts: tuple[Prompt, ...] = ()


@dataclass(frozen=True)
class Asked:
    """A free question about a picture, with its answer; nobody has written down what is right."""

    picture: Path
    prompts: tuple[Prompt, ...]
    question: str
    answer: str


def example_card(example: Example, picture: PictureFile, swapped: PictureFile | None) -> str:
    """One card: question, picture, the answer mark by mark, and below it the answer to another item's marks."""
    item = example.item
    rows = verdicts(example.prediction, item.truth)
    right = sum(row.right for row in rows)
    kind = escape(item.dataset.replace("_", " "))
    parts = [
        '<article class="card">',
        f'<p class="kind"><span>{kind}</span> <span>{right} of {len(rows)} right</span></p>',
        question_heading(item.question, item.history),
        '<div class="pane">',
        picture_tag(picture, item.prompts),
        f'<div class="said">{_answers(rows)}{_extra(example.prediction, item.truth)}</div>',
        "</div>",
    ]
    if example.swapped is not None:
        others = verdicts(example.swapped, item.truth)
        parts += [
            '<div class="pane swapped">',
            picture_tag(swapped, example.swapped_prompts) if swapped else "",
            '<div class="said"><h4>The same question with the marks of another item</h4>',
            f"{_answers(others, show_truth=False)}</div>",
            "</div>",
        ]
    return "\n".join([*parts, "</article>"])


def asked_card(asked: Asked, picture: PictureFile) -> str:
    """One card with a free question."""
    answer = with_tags(asked.answer.strip()) or '<span class="nothing">no answer</span>'
    parts = [
        '<article class="card">',
        question_heading(asked.question, ()),
        '<div class="pane">',
        picture_tag(picture, asked.prompts),
        f'<div class="said"><p class="answer">{answer}</p></div>',
        "</div>",
        "</article>",
    ]
    return "\n".join(parts)


def _answers(rows: Sequence[Verdict], show_truth: bool = True) -> str:
    return '<ul class="answers">' + "".join(_answer(row, show_truth) for row in rows) + "</ul>"


def _answer(row: Verdict, show_truth: bool) -> str:
    """One line: badge, answer, ✓ or ✗ (said aloud as words), and the truth where the answer is wrong."""
    plate = "" if row.number is None else badge(row.number)
    given = with_tags(row.given) if row.given else '<span class="nothing">no answer</span>'
    state, sign, word = ("right", "✓", "right") if row.right else ("wrong", "✗", "wrong")
    truth = "" if row.right or not show_truth else f'<span class="truth">truth: {with_tags(row.truth)}</span>'
    sign = f'<span class="sign" aria-hidden="true">{sign}</span><span class="aloud">{word}</span>'
    return f'<li class="{state}">{plate}<span class="given">{given}{truth}</span>{sign}</li>'


def _extra(prediction: str, truth: str) -> str:
    extra = beyond_the_marks(prediction, truth)
    return f'<p class="extra">Also said, and not counted: {with_tags(extra)}</p>' if extra else ""
