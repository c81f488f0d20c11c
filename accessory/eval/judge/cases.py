"""Predictions and benchmark items → cases: all that a judge needs to know of one answer, in one place."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accessory.eval import predictions as prediction_files
from accessory.eval.items import BenchmarkItem
from accessory.eval.predictions import Prediction
from SPHINX_V.errors import DataError
from SPHINX_V.prompts import Prompt


@dataclass(frozen=True)
class Case:
    """One answer to judge. `picture` is None where the judge sees none; `context` describes the picture in words."""

    question_id: int | str
    dataset: str
    image_name: str
    question: str
    reference: str
    answer: str
    picture: Path | None = None
    prompts: tuple[Prompt, ...] = ()
    context: str | None = None


def read_predictions(path: Path) -> list[Prediction]:
    """The predictions of a file, of ours or of the older form.

    Raises DataError that names file and line for what is no prediction, for a question that is answered twice, and for
    half a line: nobody should pay for the judgement of a part.
    """
    read = prediction_files.read_predictions(path)
    if read.cut:
        raise DataError(f"{path}: half a line stands at its end; if inference was stopped there, let it resume.")
    return list(read.predictions)


def _values(text: str, path: Path) -> list[tuple[Any, str]]:
    if text.lstrip().startswith("["):
        try:
            values = json.loads(text)
        except json.JSONDecodeError as error:
            raise DataError(f"{path}: not valid JSON: {error}") from None
        return [(value, f"{path}, item {number}") for number, value in enumerate(values)]
    found = []
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            if line.strip():
                found.append((json.loads(line), f"{path}, line {number}"))
        except json.JSONDecodeError:
            raise DataError(
                f"{path}, line {number}: not valid JSON: {line[:60]!r}; if inference was stopped there, let it resume."
            ) from None
    return found


def cases_of(
    items: Sequence[BenchmarkItem],
    predictions: Sequence[Prediction],
    where: str,
    contexts: Mapping[str, str] | None = None,
) -> list[Case]:
    """A case per item, in the order of the items. `contexts`: words about a picture, by its file name.

    Raises DataError that names `where`, the predictions' file, for items without a prediction, predictions without an
    item, and a prediction that was made for another question: a score over part of a suite is not the suite's score.
    """
    given = {str(prediction.question_id): prediction for prediction in predictions}
    wanted = {str(item.question_id): item for item in items}
    missing, foreign = [key for key in wanted if key not in given], [key for key in given if key not in wanted]
    if missing or foreign:
        raise DataError(
            f"{where}: {len(missing)} of {len(items)} items have no prediction{_listed(missing)} and {len(foreign)}"
            f" predictions no item{_listed(foreign)}; finish inference, or name the items it was made for."
        )
    cases = []
    for key, item in wanted.items():
        prediction = given[key]
        own = (item.picture.name, item.question.strip(), item.truth.strip())
        its = (Path(prediction.image_name).name, prediction.question.strip(), prediction.answer.strip())
        for name, one, other in zip(("image_name", "question", "answer"), own, its):
            if one != other:
                raise DataError(
                    f"{where}, question {key}: {name} is {other!r}, the item has {one!r}; are these predictions of"
                    f" another suite than {item.dataset}?"
                )
        context = _context(contexts, item.picture.name, f"{where}, question {key}")
        case = Case(
            item.question_id,
            item.dataset,
            item.picture.name,
            item.question,
            item.truth,
            prediction.prediction,
            item.picture,
            item.prompts,
            context,
        )
        cases.append(case)
    return cases


def cases_without_items(
    predictions: Sequence[Prediction], dataset: str, where: str, contexts: Mapping[str, str] | None = None
) -> list[Case]:
    """Cases for a judge that sees no picture: a prediction holds all the rest."""
    return [
        Case(
            one.question_id,
            dataset,
            Path(one.image_name).name,
            one.question,
            one.answer,
            one.prediction,
            context=_context(contexts, Path(one.image_name).name, f"{where}, question {one.question_id}"),
        )
        for one in predictions
    ]


def read_contexts(path: Path) -> dict[str, str]:
    """Words about pictures by file name: a list or lines of {image, prompt} or {image, text}, the published forms."""
    contexts = {}
    try:
        values = _values(path.read_text(encoding="utf-8"), path)
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: the contexts cannot be read ({error}).") from None
    for value, where in values:
        fields_of = value if isinstance(value, dict) else {}
        image, words = fields_of.get("image"), fields_of.get("prompt", fields_of.get("text"))
        if not isinstance(image, str) or not isinstance(words, str):
            raise DataError(f"{where}: a context has image and prompt (or text), both strings.")
        contexts[Path(image).name] = words
    return contexts


def _context(contexts: Mapping[str, str] | None, image_name: str, where: str) -> str | None:
    if contexts is None:
        return None
    if image_name not in contexts:
        raise DataError(f"{where}: no context for the picture {image_name}; complete the file of contexts.")
    return contexts[image_name]


def _listed(keys: Sequence[str]) -> str:
    return f" ({', '.join(keys[:5])}{', …' if len(keys) > 5 else ''})" if keys else ""
