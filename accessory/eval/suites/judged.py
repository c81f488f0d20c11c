"""Osprey-80, MDVP-Bench and Ferret-Bench: a judge rates the reference answer and the model's answer."""

from __future__ import annotations

from accessory.eval.metrics.bootstrap import ratio
from accessory.eval.predictions import Prediction
from accessory.eval.scores import ItemScore, MarkScore, Score, SuiteScores
from accessory.eval.suites.base import Suite
from accessory.eval.suites.judging import Rating, RatingRequest

NAME = "judge"
STRICT = "judge strict"


class Judged(Suite):
    """100 · mean rating of the model / mean rating of the reference, over the items with both ratings.

    The strict number counts items without a rating, those not asked and those with an unusable reply, as 0 for the
    model and as the mean for the reference. Both depend on the judge: its name and the hash of its prompt are noted.
    """

    def reset(self) -> None:
        super().reset()
        self._predictions: list[Prediction] = []

    def update(self, prediction: Prediction) -> None:
        self.tally.add_whole(prediction)
        self._predictions.append(prediction)

    def compute(self) -> SuiteScores:
        if self.resources.judge is None:
            scores = tuple(Score(name, None, note=self.resources.judge_missing) for name in (NAME, STRICT))
            items = tuple(ItemScore(one.question_id, None, (_whole(one, None),)) for one in self._predictions)
            return SuiteScores(scores, items, self.tally)
        ratings = self._rated()
        usable = [rating.fault == "" for rating in ratings]
        given = [rating.answer or 0.0 if ok else 0.0 for rating, ok in zip(ratings, usable)]
        reference = [rating.reference or 0.0 if ok else 0.0 for rating, ok in zip(ratings, usable)]
        items = tuple(
            ItemScore(
                one.question_id,
                rating.answer / 10 if ok and rating.answer is not None else None,
                (_whole(one, rating.answer / 10 if ok and rating.answer is not None else None),),
            )
            for one, rating, ok in zip(self._predictions, ratings, usable)
        )
        return SuiteScores(self._scores(given, reference, sum(usable)), items, self.tally)

    def _rated(self) -> list[Rating]:
        """A rating of every prediction, in order; those that were not asked have a fault."""
        assert self.resources.judge is not None
        asked = [one for one in self._predictions if not one.fault]
        requests = [
            RatingRequest(
                key=f"{self.name}:{one.question_id}",
                picture=self.resources.pictures(self.entry) / one.image_name,
                prompts=one.marks,
                domain=self.entry.domain,
                question=one.question,
                reference=one.answer,
                answer=one.prediction,
            )
            for one in asked
        ]
        found = iter(self.resources.judge.rate(requests) if requests else [])
        return [Rating(None, None, one.fault) if one.fault else next(found) for one in self._predictions]

    def _scores(self, given: list[float], reference: list[float], usable: int) -> tuple[Score, Score]:
        assert self.resources.judge is not None
        said_by = f"judge {self.resources.judge.name}, prompt {self.resources.judge.prompt_hash[:12]}"
        note = "; ".join(filter(None, [said_by, self.subset_note()]))
        value, interval = ratio(given, reference)
        if value is None:
            missing = Score(NAME, None, note=f"no usable reply; {note}")
            return missing, Score(STRICT, None, note=missing.note)
        share = usable / len(given)
        low_high = None if interval is None else (interval[0] * 100, interval[1] * 100)
        strict = None if interval is None else (interval[0] * 100 * share, interval[1] * 100 * share)
        total = len(given)
        return (
            Score(NAME, value * 100, low_high, of=f"{usable:,} rated answers", note=note),
            Score(STRICT, value * 100 * share, strict, of=f"{total:,} answers", strict=True),
        )


def _whole(prediction: Prediction, value: float | None) -> MarkScore:
    return MarkScore(None, prediction.prediction.strip(), prediction.answer.strip(), value)
