"""Prediction files: one JSON line per answered item, and the older files that users hold, read into one form."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accessory.eval.files import append_lines, complete_lines, parse_line, read_json
from accessory.eval.items import BenchmarkItem
from SPHINX_V.errors import DataError, UsageError
from SPHINX_V.prompts import Box, Point, Prompt

PARTS = ".part-"


@dataclass(frozen=True)
class Prediction:
    """One answered item: the fields of result files that users hold already, and what scoring and reports need besides.

    `marks` are the marks that the model saw (pixels of the picture), so under a control not those of the item.
    `finish` is why the answer ended (eos, stop, length), `likelihoods` are (sum of log-probabilities, tokens) of each
    choice, `history` are the turns before the question, `fault` says why the item was not asked.
    """

    image_name: str
    question_id: int | str
    question: str
    prediction: str
    answer: str
    dataset_name: str = ""
    marks: tuple[Prompt, ...] = ()
    finish: str = ""
    category: str = ""
    choices: tuple[str, ...] = ()
    likelihoods: tuple[tuple[float, int], ...] = ()
    history: tuple[tuple[str, str], ...] = ()
    fault: str = ""

    def line(self) -> str:
        """One line of JSON without a line break; fields that say nothing are left out."""
        value: dict[str, Any] = {
            "image_name": self.image_name,
            "question_id": self.question_id,
            "question": self.question,
            "prediction": self.prediction,
            "answer": self.answer,
            "dataset_name": self.dataset_name,
        }
        if self.marks:
            points = all(isinstance(mark, Point) for mark in self.marks)
            value["points" if points else "bbox"] = [_numbers(mark) for mark in self.marks]
        value |= {
            name: kept
            for name, kept in (
                ("finish", self.finish),
                ("category", self.category),
                ("choices", list(self.choices)),
                ("likelihoods", [list(pair) for pair in self.likelihoods]),
                ("history", [list(turn) for turn in self.history]),
                ("fault", self.fault),
            )
            if kept
        }
        return json.dumps(value, ensure_ascii=False)


def _numbers(mark: Prompt) -> list[float]:
    x0, y0, x1, y1 = mark.bounds()
    return [x0, y0] if isinstance(mark, Point) else [x0, y0, x1 - x0, y1 - y0]


def from_value(value: Any, where: str) -> Prediction:
    """A prediction from JSON, of ours or of an older result file. Raises DataError that names the field.

    Older names of fields: `image` for image_name, `text` or `pred` for prediction; `answer` may be missing, and is then
    taken from the suite's items.
    """
    if not isinstance(value, Mapping):
        raise DataError(f"{where}: is a {type(value).__name__}; a prediction is an object.")
    texts = {
        "image_name": value.get("image_name", value.get("image", "")),
        "question": value.get("question", ""),
        "prediction": value.get("prediction", value.get("text", value.get("pred"))),
        "answer": value.get("answer", ""),
        "dataset_name": value.get("dataset_name", ""),
        "finish": value.get("finish", ""),
        "category": value.get("category", ""),
        "fault": value.get("fault", ""),
    }
    for name, text in texts.items():
        if not isinstance(text, str):
            raise DataError(f"{where}: {name} is {text!r}; a prediction needs a text there.")
    key = value.get("question_id", value.get("id"))
    if not isinstance(key, (int, str)) or isinstance(key, bool):
        raise DataError(f"{where}: question_id is {key!r}; by it an answer is matched with its question.")
    try:
        marks = tuple(_mark(mark) for mark in value.get("bbox") or value.get("points") or ())
        choices = tuple(str(choice) for choice in value.get("choices", ()))
        likelihoods = tuple((float(total), int(tokens)) for total, tokens in value.get("likelihoods", ()))
        history = tuple((str(question), str(answer)) for question, answer in value.get("history", ()))
    except (TypeError, ValueError) as error:
        raise DataError(f"{where}: {error}") from None
    return Prediction(question_id=key, marks=marks, choices=choices, likelihoods=likelihoods, history=history, **texts)


def _mark(value: Any) -> Prompt:
    """Our own lines hold marks that were shown; x + w may differ from them in the last bit, so nothing is checked."""
    if len(value) == 2:
        return Point(*value)
    x, y, width, height = value
    return Box(x, y, x + width, y + height)


@dataclass(frozen=True)
class PredictionFile:
    """What a prediction file holds. `cut` is True where half a line stood at its end, which is left out."""

    path: Path
    predictions: tuple[Prediction, ...]
    cut: bool = False


def read_predictions(path: Path) -> PredictionFile:
    """Predictions of a file of JSON lines, or of one with a single list of them.

    Half a line at the end is left out and reported. Raises DataError for a line that is not JSON, for
    a question that is answered twice, and for a file without any answer.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); give a prediction file.") from None
    cut = False
    if data.lstrip()[:1] == b"[" or path.suffix == ".json":
        listed = _as_list(read_json(path, "prediction file"), path)
        found = [from_value(value, f"{path}, item {number}") for number, value in enumerate(listed)]
    else:
        kept = complete_lines(data)
        cut = not _is_json(data[len(kept) :])
        lines = _lines(kept if cut else data, path)
        found = [from_value(parse_line(line, path, number), f"{path}, line {number}") for number, line in lines]
    if not found:
        raise DataError(f"{path}: holds no prediction.")
    _refuse_twice(found, path)
    return PredictionFile(path, tuple(found), cut)


def _is_json(rest: bytes) -> bool:
    """Whether what follows the last line break is nothing, or a whole line of a file that does not end in a break."""
    try:
        return not rest.strip() or json.loads(rest) is not None
    except ValueError:
        return False


def _as_list(value: Any, path: Path) -> list[Any]:
    """A list of predictions; also from one object whose fields are lists, one entry per item."""
    if isinstance(value, dict) and isinstance(value.get("prediction"), list):
        columns = {name: column for name, column in value.items() if isinstance(column, list)}
        rows = len(value["prediction"])
        if any(len(column) != rows for column in columns.values()):
            lengths = ", ".join(f"{name} {len(column)}" for name, column in columns.items())
            raise DataError(f"{path}: its lists differ in length ({lengths}); each item has one entry in each.")
        columns.setdefault("question_id", list(range(rows)))
        return [dict(zip(columns, row)) for row in zip(*columns.values())]
    if not isinstance(value, list):
        raise DataError(f"{path}: holds a {type(value).__name__}; a result file is a list of predictions.")
    return value


def _lines(data: bytes, path: Path) -> list[tuple[int, str]]:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is not UTF-8 text ({error}).") from None
    return [(number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]


def _refuse_twice(found: Iterable[Prediction], path: Path) -> None:
    seen: set[str] = set()
    for prediction in found:
        if str(prediction.question_id) in seen:
            raise DataError(f"{path}: question {prediction.question_id} is answered twice; keep one of the lines.")
        seen.add(str(prediction.question_id))


def part_of(path: Path, rank: int) -> Path:
    """The file that process `rank` writes while a suite is being answered."""
    return path.with_name(f"{path.stem}{PARTS}{rank:03}{path.suffix}")


def parts_of(path: Path) -> list[Path]:
    return sorted(path.parent.glob(f"{path.stem}{PARTS}*{path.suffix}"))


def answered(path: Path) -> dict[int | str, Prediction]:
    """Everything answered so far for the suite whose finished file is `path`, half lines left out.

    Raises DataError for a broken line in the middle of a file.
    """
    found: dict[int | str, Prediction] = {}
    for file in (*parts_of(path), path):
        try:
            data = complete_lines(file.read_bytes())
        except FileNotFoundError:
            continue  # another process has just merged it: the finished file, read last, holds its lines
        for number, line in _lines(data, file):
            prediction = from_value(parse_line(line, file, number), f"{file}, line {number}")
            found[prediction.question_id] = prediction
    return found


def write_part(path: Path, rank: int, predictions: Sequence[Prediction]) -> None:
    """Adds the answers of a batch to this process's part; returns when they are on the disk."""
    append_lines(part_of(path, rank), [prediction.line() for prediction in predictions])


def join(predictions: Sequence[Prediction], items: Sequence[BenchmarkItem], path: Path) -> list[Prediction]:
    """The predictions of `items`, in their order, with the items' truth where the predictions have none.

    Raises UsageError for answers to questions that the suite has not, and DataError for truths that differ.
    """
    # As texts: files of others hold 17 where the suite has "17".
    known = {str(item.question_id) for item in items}
    strangers = [one.question_id for one in predictions if str(one.question_id) not in known]
    if strangers:
        raise UsageError(
            f"{path}: answers question {strangers[0]}, which the suite has not ({len(strangers)} such answers); this is"
            " the prediction file of another suite."
        )
    by_key = {str(one.question_id): one for one in predictions}
    joined = []
    for item in items:
        one = by_key.get(str(item.question_id))
        if one is None:
            continue
        if one.answer and one.answer.strip() != item.truth.strip():
            raise DataError(
                f"{path}: question {item.question_id} has the truth {one.answer!r}, the suite's file {item.truth!r};"
                " the predictions are of another version of the suite."
            )
        joined.append(_completed(one, item))
    return joined


def _completed(one: Prediction, item: BenchmarkItem) -> Prediction:
    return Prediction(
        image_name=item.image_name,
        question_id=item.question_id,
        question=one.question or item.question,
        prediction=one.prediction,
        answer=item.truth,
        dataset_name=one.dataset_name or item.dataset,
        marks=one.marks or item.prompts,
        finish=one.finish,
        category=one.category or item.category,
        choices=one.choices or item.choices,
        likelihoods=one.likelihoods,
        history=one.history or item.history,
        fault=one.fault,
    )
