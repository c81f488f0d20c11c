"""The embedded held-out set: exact matches per region, or of the whole answer."""

from __future__ import annotations

from accessory.eval.metrics.texts import same_text
from accessory.eval.predictions import Prediction
from accessory.eval.scores import ItemScore, MarkScore, SuiteScores, expected_regions, mean
from accessory.eval.suites.base import Suite


class _Exact(Suite):
    """Items with right and wrong marks; what a mark is, a subclass says."""

    def reset(self) -> None:
        super().reset()
        self._items: list[ItemScore] = []

    def _add(self, prediction: Prediction, marks: list[tuple[int | None, str, str]]) -> None:
        scored = tuple(MarkScore(number, said, truth, float(same_text(said, truth))) for number, said, truth in marks)
        hits = sum(mark.value or 0.0 for mark in scored)
        self._items.append(ItemScore(prediction.question_id, hits / len(scored) if scored else None, scored))

    def _computed(self, what: str) -> SuiteScores:
        hits = [sum(mark.value or 0.0 for mark in item.marks) for item in self._items]
        weights = [len(item.marks) for item in self._items]
        score = mean("accuracy", hits, weights, what, note=self.subset_note())
        return SuiteScores((score,), tuple(self._items), self.tally)


class ExactRegions(_Exact):
    """The share of regions whose answer is the truth, up to case and a final full stop; silence is wrong."""

    def update(self, prediction: Prediction) -> None:
        expected = expected_regions(prediction)
        given = self.tally.add_regions(prediction, list(expected))
        self._add(prediction, [(number, given.answers.get(number, ""), truth) for number, truth in expected.items()])

    def compute(self) -> SuiteScores:
        return self._computed("regions")


class ExactAnswer(_Exact):
    """The share of items whose whole answer is the truth, up to case and a final full stop."""

    def update(self, prediction: Prediction) -> None:
        self.tally.add_whole(prediction)
        self._add(prediction, [(None, prediction.prediction.strip(), prediction.answer.strip())])

    def compute(self) -> SuiteScores:
        return self._computed("answers")
