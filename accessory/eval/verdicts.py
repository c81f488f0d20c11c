"""What was answered beside what is true, mark by mark, by the same rules as the suites of exact matches."""

from __future__ import annotations

from dataclasses import dataclass

from accessory.eval.metrics.texts import same_text
from accessory.eval.regions import parse_regions


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
    expected = parse_regions(truth).answers
    if not expected:
        return (Verdict(None, prediction.strip(), truth.strip()),)
    given = parse_regions(prediction, expected).answers
    return tuple(Verdict(number, given.get(number, ""), label) for number, label in expected.items())


def beyond_the_marks(prediction: str, truth: str) -> str:
    """What the answer holds and no verdict shows: lines about marks that the truth does not name, or of no form."""
    expected = parse_regions(truth).answers
    return parse_regions(prediction, expected).extra if expected else ""
