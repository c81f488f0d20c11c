"""What was answered beside what is true, mark by mark, by the same rules as the metrics."""

from __future__ import annotations

from dataclasses import dataclass

from accessory.data.labels import parse_labels
from accessory.eval.metrics import same_text


@dataclass(frozen=True)
class Verdict:
    """One line of an answer. `number` is the mark's, None where the whole answer counts; `given` is "" if absent."""

    number: int | None
    given: str
    truth: str

    @property
    def right(self) -> bool:
        return same_text(self.given, self.truth)


def verdicts(prediction: str, truth: str) -> tuple[Verdict, ...]:
    """One verdict per mark where the truth has a line per mark, else one for the whole answer."""
    expected = parse_labels(truth)
    if not expected:
        return (Verdict(None, prediction.strip(), truth.strip()),)
    given = parse_labels(prediction)
    return tuple(Verdict(number, given.get(number, ""), label) for number, label in expected.items())


def beyond_the_marks(prediction: str, truth: str) -> str:
    """What the answer holds and no verdict shows: lines about marks that the truth does not name, or of no form."""
    expected = parse_labels(truth)
    if not expected:
        return ""
    shown = set(expected)
    kept = []
    for line in prediction.splitlines():
        labels = parse_labels(line)
        if labels and set(labels) <= shown:
            shown -= set(labels)
        elif line.strip():
            kept.append(line.strip())
    return "\n".join(kept)
