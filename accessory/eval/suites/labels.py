"""LVIS and PACO, referring object classification: semantic similarity and semantic IoU of labels."""

from __future__ import annotations

from accessory.eval.metrics.texts import plain_label, semantic_iou
from accessory.eval.predictions import Prediction
from accessory.eval.scores import ItemScore, MarkScore, Score, SuiteScores, expected_regions, mean
from accessory.eval.suites.base import Suite


class Labels(Suite):
    """Mean over regions × 100, twice: over the regions that the model named, as the papers count, and over all.

    Semantic similarity: the cosine of the sentence embeddings of the predicted and the true label. Semantic IoU: their
    word overlap. In the true label `_` and `:` are read as spaces.
    """

    def reset(self) -> None:
        super().reset()
        self._items: list[tuple[int | str, list[tuple[int, str, str]]]] = []

    def update(self, prediction: Prediction) -> None:
        expected = expected_regions(prediction)
        given = self.tally.add_regions(prediction, list(expected))
        rows = [(number, given.answers.get(number, ""), plain_label(label)) for number, label in expected.items()]
        self._items.append((prediction.question_id, rows))

    def compute(self) -> SuiteScores:
        overlaps = [[semantic_iou(said, label) if said else 0.0 for _, said, label in rows] for _, rows in self._items]
        similarities = self._similarities()
        named = [sum(bool(said) for _, said, _ in rows) for _, rows in self._items]
        all_regions = [len(rows) for _, rows in self._items]
        scores = []
        for name, values in (("SSim", similarities), ("S-IoU", overlaps)):
            if values is None:
                scores.append(Score(name, None, note=self.resources.similarity_missing))
                continue
            sums = [sum(row) for row in values]
            scores.append(mean(name, sums, named, "named regions", note=self.subset_note()))
            scores.append(mean(f"{name} strict", sums, all_regions, "regions", strict=True))
        shown = similarities or overlaps
        return SuiteScores(tuple(scores), self._item_scores(shown), self.tally)

    def _similarities(self) -> list[list[float]] | None:
        """Per item and region; 0 for a region without an answer."""
        if self.resources.similarity is None:
            return None
        pairs = [(said, label) for _, rows in self._items for _, said, label in rows if said]
        values = iter(self.resources.similarity.cosines(pairs))
        return [[next(values) if said else 0.0 for _, said, _ in rows] for _, rows in self._items]

    def _item_scores(self, values: list[list[float]]) -> tuple[ItemScore, ...]:
        scored = []
        for (key, rows), row in zip(self._items, values):
            marks = tuple(MarkScore(n, said, label, value) for (n, said, label), value in zip(rows, row))
            scored.append(ItemScore(key, sum(row) / len(row) if row else None, marks))
        return tuple(scored)
