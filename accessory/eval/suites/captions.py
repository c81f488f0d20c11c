"""RefCOCOg, brief captions of regions: METEOR, CIDEr, BLEU-4 and ROUGE-L."""

from __future__ import annotations

from accessory.eval.metrics import java
from accessory.eval.metrics.captions import CaptionMetrics
from accessory.eval.predictions import Prediction
from accessory.eval.scores import ItemScore, MarkScore, Score, SuiteScores, expected_regions
from accessory.eval.suites.base import Suite

NAMES = ("METEOR", "CIDEr", "BLEU-4", "ROUGE-L")


class Captions(Suite):
    """Corpus scores × 100 over all regions; a region without an answer counts as an empty caption.

    Without Java nothing is computed: all four stand on the PTB tokenizer, and METEOR of another program is another
    metric. Examples are ordered by CIDEr of the single caption.
    """

    def reset(self) -> None:
        super().reset()
        self._items: list[tuple[int | str, list[MarkScore]]] = []
        self._metrics = CaptionMetrics()

    def update(self, prediction: Prediction) -> None:
        expected = expected_regions(prediction)
        given = self.tally.add_regions(prediction, list(expected))
        marks = []
        for number, truth in expected.items():
            said = given.answers.get(number, "")
            self._metrics.update(said, [truth])
            marks.append(MarkScore(number, said, truth))
        self._items.append((prediction.question_id, marks))

    def compute(self) -> SuiteScores:
        reason = java.missing() or ("" if self._metrics.hypotheses else "there are no captions to score")
        if reason:
            scores = tuple(Score(name, None, note=reason) for name in NAMES)
            return SuiteScores(scores, tuple(ItemScore(key, None, tuple(m)) for key, m in self._items), self.tally)
        found = self._metrics.compute()
        of = f"{len(self._metrics.hypotheses):,} captions"
        subset = self.subset_note()
        scores = tuple(
            Score(
                name,
                found[name].value * 100,
                _percent(found[name].interval),
                of=of,
                most=None if name == "CIDEr" else 100.0,
                note=f"{subset}; CIDEr of a subset means nothing" if subset and name == "CIDEr" else subset,
            )
            for name in NAMES
        )
        # CIDEr has no upper end that short captions reach; 10 is that of a caption equal to its reference.
        values = iter(found["CIDEr"].each)
        items = []
        for key, marks in self._items:
            scored = tuple(MarkScore(mark.number, mark.given, mark.truth, next(values) / 10) for mark in marks)
            mean = sum(mark.value or 0.0 for mark in scored) / len(scored) if scored else None
            items.append(ItemScore(key, mean, scored))
        return SuiteScores(scores, tuple(items), self.tally)


def _percent(interval: tuple[float, float] | None) -> tuple[float, float] | None:
    return None if interval is None else (interval[0] * 100, interval[1] * 100)
