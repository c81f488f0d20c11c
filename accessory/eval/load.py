"""A suite of the registry → its benchmark items."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from accessory.eval import forms
from accessory.eval.items import BenchmarkItem, read_items
from accessory.eval.registry import Roots, SuiteEntry
from SPHINX_V.processing.conversation import misnamed_marks
from SPHINX_V.processing.image import picture_size
from SPHINX_V.prompts import overstepping


def load_items(name: str, entry: SuiteEntry, roots: Roots) -> list[BenchmarkItem]:
    """The items of suite `name`, put as the suite asks them. Raises DataError as the readers of files do."""
    items = _read(name, entry, roots)
    return [replace(item, dataset=name, question=entry.prompt.replace("{question}", item.question)) for item in items]


def _read(name: str, entry: SuiteEntry, roots: Roots) -> list[BenchmarkItem]:
    path, pictures = roots.file(entry.file), roots.folder(entry.images)
    if entry.form == "regions":
        return read_items(path, pictures, entry.on_bad_item)
    if entry.form == "osprey":
        answers = None if entry.answers is None else roots.file(entry.answers)
        return forms.read_osprey(path, answers, pictures, name, entry.on_bad_item)
    read = {"pope": forms.read_pope, "vcr": forms.read_vcr, "dlc": forms.read_dlc}[entry.form]
    return read(path, pictures, name, entry.on_bad_item)


def oddities(items: Sequence[BenchmarkItem]) -> list[str]:
    """Items that are asked as they are, though something in them is probably not meant: a mark that reaches outside its
    picture, a question that names a mark that is not there."""
    found = []
    for item in items:
        if item.fault:
            continue
        sentences = misnamed_marks(item.turns, item.prompts)
        sentences += overstepping(item.prompts, *picture_size(item.picture))
        found += [f"question {item.question_id}: {sentence}" for sentence in sentences]
    return found
