"""POPE, whether an object is in the picture: accuracy, precision, recall, F1 and the share of yes."""

from __future__ import annotations

import re

import numpy

from accessory.eval.metrics.bootstrap import interval
from accessory.eval.predictions import Prediction
from accessory.eval.scores import ItemScore, MarkScore, Score, SuiteScores, mean
from accessory.eval.suites.base import Suite

_WORD = re.compile(r"[a-z']+")


def says_yes(answer: str) -> bool:
    """POPE's rule (arXiv 2305.10355): no where the first sentence holds "no" or "not", else yes, whatever it says."""
    words = answer.split(".")[0].replace(",", "").split()
    return not any(word in ("No", "no", "not") for word in words)


def plain_answer(answer: str) -> bool | None:
    """Yes or no where one of the two words stands in the answer, the first of them; None where neither does."""
    found = next((word for word in _WORD.findall(answer.lower()) if word in ("yes", "no")), None)
    return None if found is None else found == "yes"


class YesNo(Suite):
    """POPE's numbers × 100 by POPE's rule, and the accuracy in which an answer without yes and no is wrong.

    Such answers are counted as unparsable, empty ones as unanswered.
    """

    def reset(self) -> None:
        super().reset()
        self._items: list[ItemScore] = []
        self._said: list[bool] = []
        self._truth: list[bool] = []
        self._plain: list[bool] = []

    def update(self, prediction: Prediction) -> None:
        self.tally.add_whole(prediction)
        truth = prediction.answer.strip().lower().startswith("yes")
        plain = plain_answer(prediction.prediction)
        self.tally.unparsable += plain is None and bool(prediction.prediction.strip())
        right = says_yes(prediction.prediction) == truth
        self._said.append(says_yes(prediction.prediction))
        self._truth.append(truth)
        self._plain.append(plain == truth)
        mark = MarkScore(None, prediction.prediction.strip(), "yes" if truth else "no", float(right))
        self._items.append(ItemScore(prediction.question_id, float(right), (mark,)))

    def compute(self) -> SuiteScores:
        said, truth = numpy.asarray(self._said, bool), numpy.asarray(self._truth, bool)
        ones = numpy.ones(len(said))
        note = self.subset_note()
        scores = [
            mean("accuracy", (said == truth).astype(float).tolist(), ones.tolist(), "questions", note=note),
            _quotient("F1", 2.0 * (said & truth), said * 1.0 + truth),
            _quotient("precision", 1.0 * (said & truth), 1.0 * said),
            _quotient("recall", 1.0 * (said & truth), 1.0 * truth),
            mean("yes-ratio", said.astype(float).tolist(), ones.tolist(), "questions"),
            mean("accuracy strict", list(map(float, self._plain)), ones.tolist(), "questions", strict=True),
        ]
        return SuiteScores(tuple(scores), tuple(self._items), self.tally)


def _quotient(name: str, above: numpy.ndarray, below: numpy.ndarray) -> Score:
    """Σ above / Σ below × 100 with its interval."""
    if not below.sum():
        return Score(name, None, note="no answer and no truth is yes")
    found = interval(lambda counts: (counts @ above) / (counts @ below), len(above))
    value = float(100 * above.sum() / below.sum())
    return Score(name, value, None if found is None else (100 * found[0], 100 * found[1]))
