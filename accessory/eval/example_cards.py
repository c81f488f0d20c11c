"""Examples of a suite as cards of HTML: the best, the worst and some drawn at random, each mark with its score."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from accessory.eval.options import ReportOptions
from accessory.eval.page import question_heading
from accessory.eval.predictions import Prediction
from accessory.eval.scores import ItemScore, MarkScore
from accessory.eval.scoring import Outcome
from accessory.page.marks import PictureFile, badge, picture_tag, with_tags

LONGEST = 700  # characters of an answer that a card shows


@dataclass(frozen=True)
class Chosen:
    """An example with the reason why it is shown."""

    why: str
    prediction: Prediction
    score: ItemScore


def choose_examples(outcome: Outcome, options: ReportOptions, seed: int = 0) -> list[Chosen]:
    """The best, the worst and random items, none twice; where items have no scores, random ones only."""
    pairs = [pair for pair in zip(outcome.predictions, outcome.scores.items) if not pair[0].fault]
    scored = sorted(
        (place for place, (_, score) in enumerate(pairs) if score.value is not None),
        key=lambda place: -(pairs[place][1].value or 0.0),
    )
    best = scored[: options.best]
    worst = [place for place in scored[::-1][: options.worst] if place not in best]
    others = [place for place in range(len(pairs)) if place not in {*best, *worst}]
    drawn = sorted(random.Random(seed).sample(others, min(options.random, len(others))))
    groups = (("best", best), ("worst", worst), ("random", drawn))
    return [Chosen(why, *pairs[place]) for why, places in groups for place in places]


def scored_card(example: Chosen, picture: PictureFile | None) -> str:
    """One card: why it is shown, its score, the question, the picture, and the answer mark by mark beside the truth."""
    one, score = example.prediction, example.score
    value = "not scored" if score.value is None else f"score {score.value:.2f}"
    parts = [
        '<article class="card">',
        f'<p class="kind"><span><strong class="why">{example.why}</strong> question {escape(str(one.question_id))}'
        f"</span> <span>{value}</span></p>",
        question_heading(_shortened(one.question), one.history),
        '<div class="pane">',
        _picture(picture, one),
        f'<div class="said">{_lines(score.marks or (MarkScore(None, one.prediction, one.answer),))}</div>',
        "</div>",
        "</article>",
    ]
    return "\n".join(parts)


def _picture(picture: PictureFile | None, one: Prediction) -> str:
    if picture is None:
        return f'<p class="nothing">The picture {escape(one.image_name)} is no longer there.</p>'
    return picture_tag(picture, one.marks)


def _lines(marks: Sequence[MarkScore]) -> str:
    return '<ul class="answers">' + "".join(map(_line, marks)) + "</ul>"


def _line(mark: MarkScore) -> str:
    """Badge, answer and score; the truth below, unless they are the same."""
    plate = "" if mark.number is None else badge(mark.number)
    given = with_tags(_shortened(mark.given)) if mark.given else '<span class="nothing">no answer</span>'
    truth = ""
    if mark.truth and mark.truth.strip().lower() != mark.given.strip().lower():
        truth = f'<span class="truth">truth: {with_tags(_shortened(mark.truth))}</span>'
    return f'<li>{plate}<span class="given">{given}{truth}</span>{_sign(mark.value)}</li>'


def _sign(value: float | None) -> str:
    """✓ and ✗ for whole scores, said aloud as words; the number for what lies between; nothing without a score."""
    if value is None:
        return "<span></span>"
    if value in (0.0, 1.0):
        sign, word, kind = ("✓", "right", "right") if value else ("✗", "wrong", "wrong")
        aloud = f'<span class="aloud">{word}</span>'
        return f'<span class="{kind}"><span class="sign" aria-hidden="true">{sign}</span>{aloud}</span>'
    return f'<span class="points">{value:.2f}</span>'


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST else text[:LONGEST].rsplit(" ", 1)[0] + " …"
