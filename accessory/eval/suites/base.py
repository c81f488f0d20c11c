"""What every suite is: predictions in, one by one, and scores out; and what some of them need for it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from accessory.eval.metrics.similarity import Similarity
from accessory.eval.predictions import Prediction
from accessory.eval.registry import Roots, SuiteEntry
from accessory.eval.scores import SuiteScores, Tally
from accessory.eval.suites.judging import Judge
from SPHINX_V.errors import UsageError


@dataclass(frozen=True)
class Resources:
    """What scoring may use beside the predictions.

    `similarity`: sentence embeddings, `judge`: who rates answers; where one is None, what needs it is reported missing,
    with the reason that stands beside it. `roots`: where pictures and the files of a judge's questions lie.
    """

    similarity: Similarity | None = None
    similarity_missing: str = "no sentence embeddings were given"
    judge: Judge | None = None
    judge_missing: str = "not judged"
    roots: Roots | None = None

    def pictures(self, entry: SuiteEntry) -> Path:
        """The folder of a suite's pictures. Raises UsageError where no roots were given."""
        if self.roots is None:
            raise UsageError("a judge sees the pictures; say where they lie with --image_root.")
        return self.roots.folder(entry.images)

    def file(self, name: str | None, what: str) -> Path:
        """A file of a suite. Raises UsageError where the entry names none, or no roots were given."""
        if name is None or self.roots is None:
            raise UsageError(f"{what}: the suite's entry names no file, or --data_root does not say where it lies.")
        return self.roots.file(name)


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
