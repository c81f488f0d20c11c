"""What scoring a suite gives: numbers with intervals, a score per item and mark, and counts of what went wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from accessory.eval.metrics.bootstrap import Interval, ratio
from accessory.eval.predictions import Prediction
from accessory.eval.regions import RegionAnswers, parse_regions, truth_by_mark


@dataclass(frozen=True)
class Score:
    """One number of a suite on the scale of the papers (0 to 100), with its 95 % bootstrap interval.

    `value` None: not computed, and `note` says why; else `note` is what a reader must know. `of`: what it is a mean
    over, such as "1,200 regions". `strict` marks the number in which silence scores 0, beside the one that papers give.
    `most` is the greatest value that there is, None where there is no end. A `detail` stands in results.json only.
    """

    name: str
    value: float | None
    interval: Interval | None = None
    of: str = ""
    note: str = ""
    strict: bool = False
    lower_is_better: bool = False
    most: float | None = 100.0
    detail: bool = False


@dataclass(frozen=True)
class MarkScore:
    """One line of an answer: the mark's number (None where the whole answer counts), what was said, what is true."""

    number: int | None
    given: str
    truth: str
    value: float | None = None


@dataclass(frozen=True)
class ItemScore:
    """An item's own score in [0, 1], None where it has none, and its marks."""

    question_id: int | str
    value: float | None
    marks: tuple[MarkScore, ...] = ()


@dataclass
class Tally:
    """Counts over all items of a suite.

    `unanswered`: regions of which an answer that can be read says nothing, and those of empty answers. `unparsable`:
    regions of answers in which no line says which mark it is about. `cut`: answers that ended at the longest length.
    `unjudged`: answers of which a judge's reply could not be read or never came. `faults`: items that were not asked,
    by name.
    """

    items: int = 0
    regions: int = 0
    unanswered: int = 0
    unparsable: int = 0
    repeated: int = 0
    invented: int = 0
    cut: int = 0
    unjudged: int = 0
    faults: list[str] = field(default_factory=list)

    def add(self, prediction: Prediction, regions: int) -> None:
        """Counts an item with `regions` places to be answered."""
        self.items += 1
        self.regions += regions
        self.cut += prediction.finish == "length"
        if prediction.fault:
            self.faults.append(f"question {prediction.question_id}: {prediction.fault}")

    def add_regions(self, prediction: Prediction, expected: Sequence[int]) -> RegionAnswers:
        """Counts an item that is answered mark by mark; returns what was answered."""
        given = parse_regions(prediction.prediction, expected)
        self.add(prediction, len(expected))
        if prediction.prediction.strip() and not given.readable:
            self.unparsable += len(expected)
        else:
            self.unanswered += len(given.missing)
        self.repeated += len(given.repeated)
        self.invented += len(given.invented)
        return given

    def add_whole(self, prediction: Prediction) -> None:
        """Counts an item whose answer is one text."""
        self.add(prediction, 1)
        self.unanswered += not prediction.prediction.strip()


@dataclass(frozen=True)
class SuiteScores:
    """All that scoring a suite gives."""

    scores: tuple[Score, ...]
    items: tuple[ItemScore, ...]
    tally: Tally

    def to_json(self) -> dict[str, Any]:
        """Scores and counts; items with their marks are in `items`."""
        return {
            "scores": [asdict(score) for score in self.scores],
            "counts": asdict(self.tally),
            "items": [{"question_id": item.question_id, "score": item.value} for item in self.items],
        }


def expected_regions(prediction: Prediction) -> dict[int, str]:
    """The true answer of each mark, from the truth and the number of marks that the item shows.

    An answer file of others says nothing of marks: then a truth that names none is about a single one.
    """
    return truth_by_mark(prediction.answer, 1 if len(prediction.marks) <= 1 else len(prediction.marks))


def mean(
    name: str, sums: Sequence[float], weights: Sequence[float], what: str, scale: float = 100.0, **more: Any
) -> Score:
    """A score that is Σ sums / Σ weights over items, times `scale`, with its interval."""
    value, found = ratio(sums, weights)
    total = sum(weights)
    if value is None:
        more["note"] = f"there are no {what} to score"  # in place of a note of the caller's
        return Score(name, None, **more)
    low_high = None if found is None else (found[0] * scale, found[1] * scale)
    return Score(name, value * scale, low_high, of=f"{total:,.0f} {what}", **more)
