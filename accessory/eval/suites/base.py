"""What every suite is: predictions in, one by one, and scores out; and what some of them need for it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from accessory.eval.metrics.similarity import Similarity
from accessory.eval.predictions import Prediction
from accessory.eval.registry import SuiteEntry
from accessory.eval.scores import SuiteScores, Tally

if TYPE_CHECKING:
    from accessory.eval.suites.judged import SuiteJudgement


@dataclass(frozen=True)
class Resources:
    """What scoring may use beside the predictions.

    `similarity`: sentence embeddings; `judgements`: what a judge said, by suite. What is missing is reported as such,
    with the reason that stands beside it.
    """

    similarity: Similarity | None = None
    similarity_missing: str = "no sentence embeddings were given"
    judgements: Mapping[str, SuiteJudgement] = field(default_factory=dict)
    judge_missing: str = "not judged; give a judge"


class Suite(ABC):
    """One benchmark's scoring. `update` takes the items in their order, `compute` may be called once they are in."""

    def __init__(self, name: str, entry: SuiteEntry, resources: Resources) -> None:
        self.name = name
        self.entry = entry
        self.resources = resources
        self.tally = Tally()
        self.reset()

    def reset(self) -> None:
        """Forgets all predictions."""
        self.tally = Tally()

    @abstractmethod
    def update(self, prediction: Prediction) -> None:
        """Adds one answered item."""

    @abstractmethod
    def compute(self) -> SuiteScores:
        """The scores of everything added."""

    def score(self, predictions: Sequence[Prediction]) -> SuiteScores:
        """The scores of these predictions alone."""
        self.reset()
        for prediction in predictions:
            self.update(prediction)
        return self.compute()

    def subset_note(self) -> str:
        """A warning where not the whole benchmark was scored; "" where it was, or its size is not known."""
        whole = self.entry.items
        if whole is None or self.tally.items == whole:
            return ""
        return f"{self.tally.items:,} of the benchmark's {whole:,} items: not comparable with published numbers"
