"""What a judge is asked about a case, and what its replies are worth: one class per way of judging."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy
from numpy.typing import NDArray

from accessory.eval.judge import templates
from accessory.eval.judge.cases import Case
from accessory.eval.judge.options import JudgeOptions
from accessory.eval.judge.painting import PaintedPicture, painting_settings
from accessory.eval.judge.reply import parse_grades
from accessory.eval.judge.request import JudgeRequest, Reply, digest_of
from SPHINX_V.errors import DataError, UsageError
from SPHINX_V.prompts import is_point

Values = Mapping[str, NDArray[numpy.float64]]


@dataclass(frozen=True)
class Verdict:
    """What the replies about one case are worth: named values, or None; and how many replies could not be read."""

    scores: dict[str, float] | None
    unparsable: int


class JudgeProtocol(ABC):
    """A way of judging. `name` stands in every judgement; `columns` are the numbers it makes, the main one first."""

    name: str
    columns: tuple[str, ...]

    def __init__(self, options: JudgeOptions) -> None:
        self.options = options

    @functools.cached_property
    def prompt_hash(self) -> str:
        """SHA-256 of every word and setting that a judge's score depends on, apart from the judge and the case."""
        return digest_of([self.name, self.wording(), dict(self.options.request)])

    @abstractmethod
    def wording(self) -> dict[str, Any]:
        """All templates and settings of this way of judging, as plain values."""

    @abstractmethod
    def requests(self, case: Case) -> list[JudgeRequest]:
        """What is asked about a case."""

    @abstractmethod
    def verdict(self, case: Case, replies: Sequence[Reply]) -> Verdict:
        """What the replies, in the order of the requests, are worth."""

    @staticmethod
    @abstractmethod
    def compute(values: Values) -> dict[str, NDArray[numpy.float64]]:
        """The columns from the cases' values, which lie along the last axis; the other axes stay (resamples)."""

    @staticmethod
    def domain(dataset: str) -> str | None:
        """The domain that a task's score is averaged in, None where the benchmark has no domains."""
        return None


class PairProtocol(JudgeProtocol):
    """Reference answer and model answer, each graded 1 to 10. The score is 100 · mean(model) / mean(reference)."""

    columns = ("score", "model", "reference")

    def wording(self) -> dict[str, Any]:
        shown = self.options.picture
        return {
            "system": templates.GRADER,
            "pair": templates.PAIR,
            "rules": [templates.MARKED_BOXES, templates.MARKED_POINTS, templates.UNMARKED]
            if shown
            else templates.UNSEEN,
            "contexts": [templates.MDVP_CONTEXTS, templates.PHOTOGRAPH],
            "painting": painting_settings(self.options.max_side) if shown else None,
        }

    def requests(self, case: Case) -> list[JudgeRequest]:
        text = templates.PAIR.format(
            context=self.context(case),
            question=case.question.strip(),
            reference=case.reference.strip(),
            answer=case.answer.strip(),
            rule=self._rule(case),
        )
        picture = None
        if self.options.picture:
            if case.picture is None:
                raise DataError(f"question {case.question_id} of {case.dataset}: has no picture to show the judge.")
            picture = PaintedPicture(case.picture, case.prompts, self.options.max_side)
        return [JudgeRequest(self.options.model, templates.GRADER, text, picture, self.options.request)]

    def context(self, case: Case) -> str:
        """A line about the picture, or, where the case brings them, words that stand for it."""
        if case.context is None and not self.options.picture:
            raise UsageError(
                f"protocol {self.name}: a judge that sees no picture needs words about it; give their file (--context)."
            )
        return templates.PHOTOGRAPH if case.context is None else case.context.strip()

    def _rule(self, case: Case) -> str:
        if not self.options.picture:
            return templates.UNSEEN
        if not case.prompts:
            return templates.UNMARKED
        return templates.MARKED_POINTS if all(map(is_point, case.prompts)) else templates.MARKED_BOXES

    def verdict(self, case: Case, replies: Sequence[Reply]) -> Verdict:
        grades = parse_grades(replies[0].text, cut=replies[0].cut)
        if grades is None:
            return Verdict(None, 1)
        return Verdict({"reference": grades[0], "model": grades[1]}, 0)

    @staticmethod
    def compute(values: Values) -> dict[str, NDArray[numpy.float64]]:
        model, reference = values["model"].mean(-1), values["reference"].mean(-1)
        return {"score": 100 * model / reference, "model": model, "reference": reference}


class MdvpProtocol(PairProtocol):
    """MDVP-Bench: the picture with its marks, and a line about the task's domain."""

    name = "mdvp"

    def context(self, case: Case) -> str:
        if not self.options.picture:
            raise UsageError("protocol mdvp: the judge sees the picture; leave out --no_picture.")
        return templates.MDVP_CONTEXTS[self.domain(case.dataset)]

    @staticmethod
    def domain(dataset: str) -> str:
        """Raises DataError for a task of no known domain."""
        word = "screenshot" if dataset.startswith(("android", "web", "screen")) else dataset.partition("_")[0]
        if word not in templates.MDVP_CONTEXTS:
            raise DataError(
                f"dataset {dataset!r} is no task of MDVP-Bench: those begin with natural, multipanel, ocr, android or"
                " web; for another data set choose another protocol."
            )
        return word


class OspreyProtocol(PairProtocol):
    """Osprey-80: detailed descriptions of one region."""

    name = "osprey80"


class FerretProtocol(PairProtocol):
    """Ferret-Bench: description, reasoning and grounded conversation, each a file and a row of its own."""

    name = "ferret"
