"""Prediction file → scores: which suite it belongs to, whether it is whole, and what it is worth. Needs no model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from accessory.eval.controls import Control
from accessory.eval.items import BenchmarkItem
from accessory.eval.load import load_items
from accessory.eval.predictions import Prediction, join, parts_of, read_predictions
from accessory.eval.record import Record, read_record
from accessory.eval.registry import Registry, Roots, SuiteEntry
from accessory.eval.scores import SuiteScores
from accessory.eval.suites.base import Resources
from accessory.eval.suites.kinds import make_suite
from SPHINX_V.errors import DataError, UsageError
from SPHINX_V.prompts import Prompt

_CONTROLS: tuple[Control, ...] = ("swap_marks", "no_marks")
_OLD_ENDING = "_results"  # of the result files that users hold: LVIS_box_results.json


@dataclass(frozen=True)
class Answered:
    """A suite's predictions, asked as they are or under a control, ready to be scored.

    `picture_root`: where the pictures lie, None where nobody said. `notes`: what a reader of the numbers must know.
    `true_marks`: the marks of the suite's own items by question, where its file was read.
    """

    suite: str
    entry: SuiteEntry
    predictions: tuple[Prediction, ...]
    control: Control = "none"
    picture_root: Path | None = None
    notes: tuple[str, ...] = ()
    record: Record = field(default_factory=dict)
    true_marks: Mapping[int | str, tuple[Prompt, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome(Answered):
    """A suite's predictions with their scores."""

    scores: SuiteScores = field(kw_only=True)


def score(answered: Answered, resources: Resources) -> Outcome:
    """The scores of a suite's predictions."""
    scores = make_suite(answered.suite, answered.entry, resources).score(answered.predictions)
    return Outcome(**vars(answered), scores=scores)


def read_answered(path: Path, registry: Registry, roots: Roots | None, suite: str | None, partial: bool) -> Answered:
    """What a prediction file holds, of ours or of the older form.

    `suite` is needed where neither the file nor its name says it. With `roots`, answers are checked against the suite's
    own file. Raises UsageError for a file of another suite and for one that answers only a part of its suite, which
    `partial` allows and notes.
    """
    if not path.exists() and parts_of(path):
        raise UsageError(f"{path}: is not finished, only its parts are there; run infer again to finish it.")
    read = read_predictions(path)
    record = read_record(path)
    name = _suite_of(path, read.predictions, record, registry, suite)
    entry = registry.suites[name]
    predictions: Sequence[Prediction] = read.predictions
    notes = [f"{path.name}: half a line at its end was left out"] if read.cut else []
    items: list[BenchmarkItem] = []
    if roots is not None and (roots.has(entry.file) or not any(one.answer for one in predictions)):
        items = load_items(name, entry, roots)
    elif roots is not None:
        notes.append(f"{entry.file} is not under the data root: questions and truths are those of the predictions")
    whole = len(items) or (record["items"] if record else 0)
    if items:
        predictions = join(predictions, items, path)
    if whole and len(predictions) < whole:
        told = f"{path}: answers {len(predictions)} of the suite's {whole} questions"
        if not partial:
            raise UsageError(f"{told}; run infer again to finish it, or give --partial to score what is there.")
        notes.append(f"only {len(predictions)} of {whole} questions are answered")
    _check_truths(predictions, entry, path)
    pictures = None if roots is None else roots.folder(entry.images)
    control = _control_of(path, record)
    marks = {item.question_id: item.prompts for item in items}
    return Answered(name, entry, tuple(predictions), control, pictures, tuple(notes), record or {}, marks)


def _suite_of(
    path: Path, predictions: Sequence[Prediction], record: Record | None, registry: Registry, suite: str | None
) -> str:
    names = {one.dataset_name for one in predictions if one.dataset_name}
    if len(names) > 1:
        raise DataError(f"{path}: holds answers of several suites ({', '.join(sorted(names)[:3])}); one file each.")
    said = str(record["suite"]) if record else next(iter(names), "")
    if suite is not None and said and said != suite and said in registry.suites:
        raise UsageError(f"{path}: holds answers to {said}, not to {suite}; score it without --suite.")
    stem = path.stem.removesuffix(_OLD_ENDING).partition(".")[0]
    found = suite or (said if said in registry.suites else "") or (stem if stem in registry.suites else "")
    if not found and said:
        raise UsageError(
            f"{path}: answers the suite {said}, which is in no registry file; give --registry FILE, or --suite NAME."
        )
    if not found:
        raise UsageError(f"{path}: does not say which suite it answers; give --suite NAME.")
    return registry.chosen([found])[0]


def _control_of(path: Path, record: Record | None) -> Control:
    said = record["control"] if record else path.stem.rpartition(".")[2]
    return said if said in _CONTROLS else "none"


def _check_truths(predictions: Sequence[Prediction], entry: SuiteEntry, path: Path) -> None:
    """A suite with true answers needs them: in the predictions, or from the suite's file."""
    if entry.protocol == "dlc" or any(one.answer for one in predictions):
        return
    raise UsageError(f"{path}: holds no true answers; say with --data_root where {entry.file} lies.")
