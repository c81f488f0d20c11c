"""Small suites on disk and the golden model to answer them, for the tests of evaluation."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from accessory.eval.predictions import Prediction
from accessory.eval.registry import SuiteEntry
from accessory.eval.scores import SuiteScores
from accessory.eval.suites.base import Resources
from accessory.eval.suites.kinds import make_suite
from SPHINX_V.prompts import Point
from tests.accessory.eval.small_items import picture_at

LABELS = "Please identify the labels of each marked region in the image."


def values(count: int = 5, dataset: str = "small", picture: str = "a.png", width: int = 100) -> list[dict[str, Any]]:
    """Items of our own form; item n has n % 3 + 1 boxes and a question of its own length."""
    found = []
    for number in range(count):
        boxes = [[2 + place * 20, 3 + number % 7, 15, 12] for place in range(number % 3 + 1)]
        found.append(
            {
                "image_name": picture,
                "question": f"{LABELS} {'Please. ' * (number % 4)}".strip(),
                "question_id": number + 1,
                "dataset_name": dataset,
                "gt_answers": "\n".join(f"Region {place}: label {place}" for place in range(1, len(boxes) + 1)),
                "bbox": boxes,
            }
        )
    return found


def write_suite(folder: Path, items: Sequence[Any] | None = None, **entry: Any) -> tuple[Path, Path]:
    """Items, two pictures and a registry file with the suite `small`; returns the registry file and the data root."""
    root = folder / "data"
    root.mkdir(parents=True, exist_ok=True)
    picture_at(root / "a.png")
    picture_at(root / "b.png", (80, 60), "navy")
    (root / "small.json").write_text(json.dumps(values() if items is None else list(items)), encoding="utf-8")
    registry = folder / "registry.yaml"
    suite = {"kind": "exact_regions", "file": "small.json", "max_new_tokens": 4, **entry}
    registry.write_text(yaml.safe_dump({"suites": {"small": suite}}), encoding="utf-8")
    return registry, root


def answered(prediction: str, truth: str, number: int | str = 1, marks: int = 0, **more: Any) -> Prediction:
    """A prediction with `marks` points."""
    prompts = tuple(Point(place, 1) for place in range(marks))
    return Prediction("a.png", number, LABELS, prediction, truth, marks=prompts, **more)


def score(
    kind: str, predictions: Sequence[Prediction], resources: Resources | None = None, **entry: Any
) -> SuiteScores:
    """The scores of a suite of this kind."""
    made = SuiteEntry.model_validate({"kind": kind, "file": "small.json", **entry})
    return make_suite("small", made, resources or Resources()).score(predictions)


def numbers(scores: SuiteScores) -> dict[str, float | None]:
    """Every number by its name."""
    return {one.name: one.value for one in scores.scores}
