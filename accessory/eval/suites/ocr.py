"""COCO-Text, regional OCR: words read right, up to case and exactly, and how many characters are wrong."""

from __future__ import annotations

from accessory.eval.metrics.texts import normalised_distance, spotted_text
from accessory.eval.predictions import Prediction
from accessory.eval.scores import ItemScore, MarkScore, SuiteScores, expected_regions, mean
from accessory.eval.suites.base import Suite


class Ocr(Suite):
    """The share of regions whose text is right up to case, as the papers count; exactly; and the mean edit distance
    over the longer length. A region without an answer is wrong in all three. Of `word (EXIT)` the answer is `EXIT`.
    """

    def reset(self) -> None:
        super().reset()
        self._items: list[ItemScore] = []
        self._exact: list[int] = []
        self._right: list[int] = []
        self._distance: list[float] = []

    def update(self, prediction: Prediction) -> None:
        expected = expected_regions(prediction)
        given = self.tally.add_regions(prediction, list(expected))
        marks = []
        exact, distance = 0, 0.0
        for number, truth in expected.items():
            said = spotted_text(given.answers.get(number, ""))
            right = bool(said) and said.lower() == truth.strip().lower()
            exact += said == truth.strip()
            distance += normalised_distance(said.lower(), truth.strip().lower()) if said else 1.0
            marks.append(MarkScore(number, said, truth.strip(), float(right)))
        hits = sum(bool(mark.value) for mark in marks)
        self._right.append(hits)
        self._exact.append(exact)
        self._distance.append(distance)
        self._items.append(ItemScore(prediction.question_id, hits / len(marks) if marks else None, tuple(marks)))

    def compute(self) -> SuiteScores:
        regions = [len(item.marks) for item in self._items]
        note = self.subset_note()
        scores = (
            mean("accuracy", self._right, regions, "regions", note=note),
            mean("accuracy, same case", self._exact, regions, "regions"),
            mean("edit distance", self._distance, regions, "regions", lower_is_better=True),
        )
        return SuiteScores(scores, tuple(self._items), self.tally)
