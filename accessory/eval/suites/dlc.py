"""DLC-Bench, detailed descriptions of one region: a judge answers multiple-choice questions from the description."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy

from accessory.eval.files import read_json
from accessory.eval.metrics.bootstrap import interval
from accessory.eval.predictions import Prediction
from accessory.eval.scores import ItemScore, MarkScore, Score, SuiteScores
from accessory.eval.suites.base import Suite
from accessory.eval.suites.judging import ChoiceRequest
from SPHINX_V.errors import DataError

NAMES = ("average", "positive", "negative")


@dataclass(frozen=True)
class _Question:
    text: str
    choices: tuple[tuple[str, float], ...]
    positive: bool


class Dlc(Suite):
    """The benchmark's arithmetic (arXiv 2504.16072) × 100; the wording of what the judge is asked is ours.

    Each question has choices with points. Where the judge finds from the description that it is about something of
    another kind, no question gives more than 0. A region's positive and negative scores are means over its questions;
    the average is the mean of both means over regions. A reply that chooses nothing gives 0, as in the original.
    """

    def reset(self) -> None:
        super().reset()
        self._predictions: list[Prediction] = []

    def update(self, prediction: Prediction) -> None:
        self.tally.add_whole(prediction)
        self._predictions.append(prediction)

    def compute(self) -> SuiteScores:
        judge = self.resources.judge
        if judge is None:
            scores = tuple(Score(name, None, note=self.resources.judge_missing) for name in NAMES)
            return SuiteScores(scores, tuple(ItemScore(one.question_id, None) for one in self._predictions), self.tally)
        questions, names = self._questions(), self._names()
        requests: list[ChoiceRequest] = []
        for one in self._predictions:
            key = str(one.question_id)
            if key not in questions or key not in names:
                raise DataError(f"{self.name}: the judge's files have nothing about region {key}.")
            asked = (
                f"Does the description speak of this: {names[key]}, or of something of a similar kind?",
                ("Yes", "No"),
            )
            rest = [(question.text, tuple(text for text, _ in question.choices)) for question in questions[key]]
            requests += [
                ChoiceRequest(f"{self.name}:{key}:{number}", one.prediction, text, choices)
                for number, (text, choices) in enumerate([asked, *rest])
            ]
        replies = iter(judge.choose(requests))
        rows = [self._row(questions[str(one.question_id)], replies) for one in self._predictions]
        note = "; ".join(filter(None, [f"judge {judge.name}, prompt {judge.prompt_hash[:12]}", self.subset_note()]))
        return SuiteScores(
            _scores(rows, note), tuple(self._item(one, row) for one, row in zip(self._predictions, rows)), self.tally
        )

    def _row(self, questions: list[_Question], replies: Iterator[int | None]) -> tuple[float | None, float | None]:
        """Positive and negative score of a region; None where it has no such question."""
        recognised = next(replies) == 0
        points: dict[bool, list[float]] = {True: [], False: []}
        for question in questions:
            place = next(replies)
            value = 0.0 if place is None else question.choices[place][1]
            points[question.positive].append(value if recognised else min(0.0, value))
        positive, negative = (sum(kept) / len(kept) if kept else None for kept in (points[True], points[False]))
        return positive, negative

    def _item(self, one: Prediction, row: tuple[float | None, float | None]) -> ItemScore:
        known = [value for value in row if value is not None]
        value = sum(known) / len(known) if known else None
        return ItemScore(one.question_id, value, (MarkScore(1, one.prediction.strip(), "", value),))

    def _questions(self) -> dict[str, list[_Question]]:
        path = self.resources.file(self.entry.questions, f"{self.name}: questions")
        found: dict[str, list[_Question]] = {}
        value = read_json(path, "file of questions")
        try:
            for key, listed in value.items():
                found[key] = [
                    _Question(
                        question["question"],
                        tuple((str(text), float(points)) for text, points in question["choices"]),
                        {"positive": True, "negative": False}[question["type"]],
                    )
                    for question in listed
                ]
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"{path}: maps ids to lists of question, choices [[text, points], …] and type positive or negative;"
                f" got {error!r}."
            ) from None
        return found

    def _names(self) -> dict[str, str]:
        path = self.resources.file(self.entry.names, f"{self.name}: names")
        value = read_json(path, "file of class names")
        if not isinstance(value, dict):
            raise DataError(f"{path}: maps ids to class names; it holds a {type(value).__name__}.")
        return {str(key): str(name) for key, name in value.items()}


def _scores(rows: list[tuple[float | None, float | None]], note: str) -> tuple[Score, ...]:
    """Average, positive and negative over regions, with intervals over regions."""
    values = numpy.asarray([[value or 0.0 for value in row] for row in rows])
    weights = numpy.asarray([[float(value is not None) for value in row] for row in rows])
    halves = {"positive": [1.0, 0.0], "negative": [0.0, 1.0], "average": [0.5, 0.5]}
    scores = []
    for name in NAMES:
        share = numpy.asarray(halves[name])

        def statistic(counts: numpy.ndarray, share: numpy.ndarray = share) -> numpy.ndarray:
            kept = share > 0
            return ((counts @ values[:, kept]) / (counts @ weights[:, kept])) @ share[kept]

        if not (weights.sum(axis=0)[share > 0] > 0).all():
            scores.append(Score(name, None, note=f"a kind of question is missing; {note}"))
            continue
        value = float(statistic(numpy.ones((1, len(rows))))[0])
        found = interval(statistic, len(rows))
        low_high = None if found is None else (found[0] * 100, found[1] * 100)
        scores.append(Score(name, value * 100, low_high, of=f"{len(rows):,} regions", note=note))
    return tuple(scores)
