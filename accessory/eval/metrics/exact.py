"""Exact-match metrics, each as update / compute / reset."""

from __future__ import annotations

from dataclasses import dataclass

from accessory.eval.metrics.texts import same_text
from accessory.eval.regions import parse_regions


@dataclass
class RegionExactMatch:
    """The share of marked regions whose label is exactly right; a region without an answer counts as wrong."""

    right: int = 0
    total: int = 0
    unanswered: int = 0

    def reset(self) -> None:
        self.right = self.total = self.unanswered = 0

    def update(self, prediction: str, truth: str) -> float:
        """Adds one item; returns its own share."""
        expected = parse_regions(truth).answers
        given = parse_regions(prediction, expected)
        hits = sum(same_text(given.answers.get(number, ""), label) for number, label in expected.items())
        self.right += hits
        self.total += len(expected)
        self.unanswered += len(given.missing)
        return hits / max(1, len(expected))

    def compute(self) -> float:
        return self.right / max(1, self.total)


@dataclass
class AnswerExactMatch:
    """The share of items whose whole answer is exactly right."""

    right: int = 0
    total: int = 0
    unanswered: int = 0

    def reset(self) -> None:
        self.right = self.total = self.unanswered = 0

    def update(self, prediction: str, truth: str) -> float:
        """Adds one item; returns 1.0 where it is right."""
        hit = same_text(prediction, truth)
        self.right += hit
        self.total += 1
        self.unanswered += not prediction.strip()
        return float(hit)

    def compute(self) -> float:
        return self.right / max(1, self.total)
