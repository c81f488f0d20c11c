"""Exact-match metrics, each as update / compute."""

from __future__ import annotations

from dataclasses import dataclass

from accessory.data.labels import parse_labels


def same_text(one: str, other: str) -> bool:
    """Equal up to case, outer space and a final full stop."""
    return one.strip().rstrip(".").lower() == other.strip().rstrip(".").lower()


@dataclass
class RegionExactMatch:
    """The share of marked regions whose label is exactly right; a region without an answer counts as wrong."""

    right: int = 0
    total: int = 0
    unanswered: int = 0

    def update(self, prediction: str, truth: str) -> float:
        """Adds one item; returns its own share."""
        predicted, expected = parse_labels(prediction), parse_labels(truth)
        hits = sum(same_text(predicted.get(number, ""), label) for number, label in expected.items())
        self.right += hits
        self.total += len(expected)
        self.unanswered += sum(number not in predicted for number in expected)
        return hits / max(1, len(expected))

    def compute(self) -> float:
        return self.right / max(1, self.total)


@dataclass
class AnswerExactMatch:
    """The share of items whose whole answer is exactly right."""

    right: int = 0
    total: int = 0
    unanswered: int = 0

    def update(self, prediction: str, truth: str) -> float:
        """Adds one item; returns 1.0 where it is right."""
        hit = same_text(prediction, truth)
        self.right += hit
        self.total += 1
        self.unanswered += not prediction.strip()
        return float(hit)

    def compute(self) -> float:
        return self.right / max(1, self.total)
