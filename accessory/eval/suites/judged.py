"""Osprey-80, MDVP-Bench, Ferret-Bench and DLC-Bench: what a judge says of the answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy

from accessory.eval.metrics.bootstrap import resampled
from accessory.eval.predictions import Prediction
from accessory.eval.scores import ItemScore, MarkScore, Score, SuiteScores, expected_regions
from accessory.eval.suites.base import Suite

Values = Mapping[str, numpy.ndarray]
# Columns that are grades themselves, and their names in tables.
_GRADES = {"model": "mean grade", "reference": "mean grade of the reference"}
HIGHEST_GRADE = 10.0


@dataclass(frozen=True)
class ItemJudgement:
    """What a judge's replies about one answer are worth: named values, or None, and then why."""

    values: Mapping[str, float] | None
    fault: str = ""


@dataclass(frozen=True)
class SuiteJudgement:
    """A judge's verdict on a suite's answers.

    Scores are comparable only where `judge` and `prompt_hash` are the same. `columns` are the numbers it makes, the
    main one first; `compute` makes them from the items' values, which lie along the last axis. `highest` is the value
    of a perfect answer under the name `shown`, by which examples are ordered.
    """

    judge: str
    prompt_hash: str
    columns: tuple[str, ...]
    compute: Callable[[Values], Mapping[str, numpy.ndarray]]
    shown: str
    highest: float
    items: Mapping[str, ItemJudgement]


class Judged(Suite):
    """The judge's numbers over the answers that it judged; and strictly, the main one with 0 for all others.

    Others are answers whose reply could not be read or never came, and items that could not be asked.
    """

    def reset(self) -> None:
        super().reset()
        self._predictions: list[Prediction] = []
        self._said: list[list[tuple[int | None, str, str]]] = []

    def update(self, prediction: Prediction) -> None:
        self._predictions.append(prediction)
        expected = expected_regions(prediction)
        if not expected:
            self.tally.add_whole(prediction)
            self._said.append([(None, prediction.prediction.strip(), prediction.answer.strip())])
            return
        given = self.tally.add_regions(prediction, list(expected))
        self._said.append([(number, given.answers.get(number, ""), truth) for number, truth in expected.items()])

    def compute(self) -> SuiteScores:
        verdict = self.resources.judgements.get(self.name)
        if verdict is None:
            missing = Score("judge", None, note=self.resources.judge_missing)
            return SuiteScores((missing,), self._items([None] * len(self._predictions)), self.tally)
        found = [
            verdict.items.get(str(one.question_id), ItemJudgement(None, "not judged")) for one in self._predictions
        ]
        values = [None if one.values is None else dict(one.values) for one in found]
        self.tally.unjudged = sum(one is None for one in values)
        shares = [
            None if one is None or verdict.shown not in one else one[verdict.shown] / verdict.highest for one in values
        ]
        return SuiteScores(
            self._scores(verdict, [one for one in values if one is not None]), self._items(shares), self.tally
        )

    def _items(self, values: Sequence[float | None]) -> tuple[ItemScore, ...]:
        """A judge rates an answer as a whole, so its marks have no scores of their own."""
        return tuple(
            ItemScore(one.question_id, value, tuple(MarkScore(*row) for row in rows))
            for one, rows, value in zip(self._predictions, self._said, values)
        )

    def _scores(self, verdict: SuiteJudgement, values: list[dict[str, float]]) -> tuple[Score, ...]:
        said_by = f"judge {verdict.judge}, prompt {verdict.prompt_hash[:12]}"
        note = "; ".join(filter(None, [said_by, self.subset_note()]))
        if not values:
            return tuple(Score(_title(name), None, note=f"no reply could be read; {note}") for name in verdict.columns)
        names = dict.fromkeys(name for one in values for name in one)
        table = {name: numpy.asarray([one.get(name, numpy.nan) for one in values]) for name in names}
        numbers = {name: float(value) for name, value in verdict.compute(table).items()}
        scores = []
        for column in verdict.columns:
            found = resampled(lambda drawn, column=column: verdict.compute(drawn)[column], table)  # type: ignore[misc]
            grade = column in _GRADES
            of, most = f"{len(values):,} answers", HIGHEST_GRADE if grade else 100.0
            scores.append(Score(_title(column), numbers[column], found, of, note, most=most, detail=grade))
        share = len(values) / len(self._predictions)
        main = scores[0]
        strict = None if main.interval is None else (main.interval[0] * share, main.interval[1] * share)
        of = f"{len(self._predictions):,} answers"
        scores.insert(1, Score(f"{main.name} strict", numbers[verdict.columns[0]] * share, strict, of, strict=True))
        return tuple(scores)


def _title(column: str) -> str:
    """The main number of a judge that grades is named after the judge; others keep their names."""
    return "judge" if column == "score" else _GRADES.get(column, column)
