"""A suite of the registry → its benchmark items."""

from __future__ import annotations

from dataclasses import replace

from accessory.eval import forms
from accessory.eval.items import BenchmarkItem, read_items
from accessory.eval.registry import Roots, SuiteEntry


def load_items(name: str, entry: SuiteEntry, roots: Roots) -> list[BenchmarkItem]:
    """The items of suite `name`, put as the suite asks them. Raises DataError as the readers of files do."""
    path, pictures = roots.file(entry.file), roots.folder(entry.images)
    if entry.form == "regions":
        items = read_items(path, pictures, entry.on_bad_item)
    elif entry.form == "osprey":
        answers = None if entry.answers is None else roots.file(entry.answers)
        items = forms.read_osprey(path, answers, pictures, name, entry.on_bad_item)
    else:
        read = {"pope": forms.read_pope, "vcr": forms.read_vcr, "dlc": forms.read_dlc}[entry.form]
        items = read(path, pictures, name, entry.on_bad_item)
    return [replace(item, dataset=name, question=entry.prompt.replace("{question}", item.question)) for item in items]
