"""DLC-Bench: a judge reads a description, without the picture, and answers multiple-choice questions about it.

Source: Lian et al. 2025, "Describe Anything: Detailed Localized Image and Video Captioning", and the published
evaluation code. Each object has positive questions (is a true detail told, and right?) and negative ones (is something
told that is not there?); every choice has a value in [-1, 1]. A question that comes first asks whether the object was
recognised at all: where not, nothing earns more than 0.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
from numpy.typing import NDArray

from accessory.eval.judge import templates
from accessory.eval.judge.cases import Case
from accessory.eval.judge.options import JudgeOptions
from accessory.eval.judge.protocols import JudgeProtocol, Values, Verdict
from accessory.eval.judge.reply import parse_choice
from accessory.eval.judge.request import JudgeRequest, Reply
from accessory.eval.predictions import Prediction
from SPHINX_V.errors import DataError

DATASET = "DLC-Bench"
_KINDS = ("positive", "negative")
_RECOGNISED = ("Yes", "No")


@dataclass(frozen=True)
class DlcQuestion:
    """One question about a description; `values` are what its choices earn."""

    kind: str
    text: str
    choices: tuple[str, ...]
    values: tuple[float, ...]


@dataclass(frozen=True)
class DlcObject:
    """An object of the benchmark: what it is, and what is asked about its description."""

    name: str
    questions: tuple[DlcQuestion, ...]


class DlcProtocol(JudgeProtocol):
    """The average of two means over the objects: of the positive questions' values and of the negative ones'.

    An object without negative questions counts in the positive mean alone. A question whose reply cannot be read is
    left out; an object whose recognition cannot be read has no scores.
    """

    name = "dlc"
    columns = ("average", "positive", "negative")

    def __init__(self, options: JudgeOptions, objects: dict[str, DlcObject]) -> None:
        super().__init__(options)
        self.objects = objects

    def wording(self) -> dict[str, Any]:
        return {"system": templates.GRADER, "choice": templates.CHOICE, "recognition": templates.RECOGNITION}

    def requests(self, case: Case) -> list[JudgeRequest]:
        known = self._object(case)
        asked: list[tuple[str, tuple[str, ...]]] = [(templates.RECOGNITION.format(name=known.name), _RECOGNISED)]
        asked += [(question.text, question.choices) for question in known.questions]
        return [self._request(case, text, choices) for text, choices in asked]

    def _object(self, case: Case) -> DlcObject:
        return self.objects[str(case.question_id)]

    def _request(self, case: Case, question: str, choices: Sequence[str]) -> JudgeRequest:
        lines = "\n".join(f"{chr(ord('A') + index)}. {choice}" for index, choice in enumerate(choices))
        text = templates.CHOICE.format(answer=case.answer.strip(), question=question, choices=lines)
        return JudgeRequest(self.options.model, templates.GRADER, text, None, self.options.request)

    def verdict(self, case: Case, replies: Sequence[Reply]) -> Verdict:
        questions = self._object(case).questions
        recognised = parse_choice(replies[0].text, _RECOGNISED)
        chosen = [parse_choice(reply.text, one.choices) for one, reply in zip(questions, replies[1:])]
        unparsable = sum(index is None for index in (recognised, *chosen))
        earned: dict[str, list[float]] = {kind: [] for kind in _KINDS}
        for question, index in zip(questions, chosen):
            if index is not None:
                value = question.values[index]
                earned[question.kind].append(value if recognised == 0 else min(0.0, value))
        if recognised is None or not earned["positive"]:
            return Verdict(None, unparsable)
        return Verdict({kind: sum(values) / len(values) for kind, values in earned.items() if values}, unparsable)

    @staticmethod
    def compute(values: Values) -> dict[str, NDArray[numpy.float64]]:
        positive = 100 * values["positive"].mean(-1)
        # NaN marks an object without negative questions.
        there = ~numpy.isnan(values["negative"])
        total = numpy.where(there, values["negative"], 0.0).sum(-1)
        with numpy.errstate(invalid="ignore"):
            negative = 100 * total / there.sum(-1)
        return {"average": (positive + negative) / 2, "positive": positive, "negative": negative}


def read_objects(questions: Path, class_names: Path) -> dict[str, DlcObject]:
    """The benchmark's objects by annotation id, from its published files (qa.json and class_names.json).

    Raises DataError that names file, object and question.
    """
    names, asked = _mapping(class_names), _mapping(questions)
    objects = {}
    for key, values in asked.items():
        name = names.get(key)
        if not isinstance(name, str):
            raise DataError(f"{class_names}: has no name for object {key}, which {questions} asks about.")
        if not isinstance(values, list):
            raise DataError(f"{questions}, object {key}: is a {type(values).__name__}, not a list of questions.")
        found = tuple(_question(value, f"{questions}, object {key}, question {n}") for n, value in enumerate(values))
        if not any(question.kind == "positive" for question in found):
            raise DataError(f"{questions}, object {key}: has no positive question; every object needs one.")
        objects[key] = DlcObject(name, found)
    return objects


def cases_of_objects(objects: dict[str, DlcObject], predictions: Sequence[Prediction], where: str) -> list[Case]:
    """A case per object; a prediction's question_id is the object's annotation id. Raises DataError as `cases_of`."""
    given = {str(one.question_id): one for one in predictions}
    missing, foreign = [key for key in objects if key not in given], [key for key in given if key not in objects]
    if missing or foreign:
        first = (missing or foreign)[0]
        raise DataError(
            f"{where}: {len(missing)} of {len(objects)} objects have no description and {len(foreign)} descriptions no"
            f" object (first: {first}); question_id must be the annotation id of the object."
        )
    return [
        Case(key, DATASET, given[key].image_name, given[key].question, objects[key].name, given[key].prediction)
        for key in objects
    ]


def _mapping(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as JSON ({error}).") from None
    if not isinstance(values, dict) or not values:
        raise DataError(f"{path}: is no mapping of annotation ids; give the published file.")
    return values


def _question(value: Any, where: str) -> DlcQuestion:
    fields = value if isinstance(value, dict) else {}
    kind, text, choices = fields.get("type"), fields.get("question"), fields.get("choices")
    if kind not in _KINDS or not isinstance(text, str) or not isinstance(choices, list) or not choices:
        raise DataError(f"{where}: needs type ({' or '.join(_KINDS)}), question and choices; got {value!r:.200}.")
    for choice in choices:
        whole = isinstance(choice, list) and len(choice) == 2
        if not whole or not isinstance(choice[0], str) or not isinstance(choice[1], (int, float)):
            raise DataError(f"{where}: a choice is [text, value]; got {choice!r:.200}.")
    return DlcQuestion(
        kind, text, tuple(choice[0] for choice in choices), tuple(float(choice[1]) for choice in choices)
    )
