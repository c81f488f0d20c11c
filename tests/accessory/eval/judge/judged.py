"""Files for the tests of judging: pictures, items, predictions, and a judge that grades by what the answers say."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from tests.accessory.eval.judge.server import Answer, completion, prompt_of

KEY = "JUDGE_TEST_KEY"


def write_suite(
    folder: Path, dataset: str, grades: Sequence[tuple[str, str]], marks: Sequence[Sequence[float]] = ((5, 5, 20, 10),)
) -> tuple[Path, Path]:
    """Items and predictions of a task whose reference and model answers are `grade N`; returns both files."""
    folder.mkdir(exist_ok=True)
    items, predictions = [], []
    for number, (reference, model) in enumerate(grades, start=1):
        name = f"{dataset}_{number}.png"
        Image.new("RGB", (64, 48), (10 * number % 256, 90, 30)).save(folder / name)
        kind = "bbox" if len(marks[0]) == 4 else "points"
        item = {
            "image_name": name,
            "question_id": number,
            "question": f"What is <Region 1> of picture {number}?",
            "dataset_name": dataset,
            "gt_answers": f"grade {reference}",
            kind: [list(mark) for mark in marks],
        }
        items.append(item)
        predictions.append(
            {
                "image_name": name,
                "question_id": number,
                "question": item["question"],
                "prediction": f"grade {model}",
                "answer": item["gt_answers"],
            }
        )
    (folder / f"{dataset}.json").write_text(json.dumps(items), encoding="utf-8")
    lines = "".join(json.dumps(prediction) + "\n" for prediction in predictions)
    (folder / f"{dataset}.pred.jsonl").write_text(lines, encoding="utf-8")
    return folder / f"{dataset}.json", folder / f"{dataset}.pred.jsonl"


def by_the_answers(request: dict[str, Any]) -> Answer:
    """Grades each answer with what stands behind the word grade in it."""
    first, second = re.findall(r"Answer [AB]:\ngrade (.+)\n", prompt_of(request))
    return completion(f"{first} {second}\nBecause they say so.")


def command(items: Path, predictions: Path, base_url: str, *more: str, protocol: str = "mdvp") -> list[str]:
    """Arguments of the command line, with waits that suit a test."""
    waits = ["--first_wait", "0.01", "--longest_wait", "5", "--timeout", "20", "--retries", "2"]
    files = [str(predictions), "--items", str(items), "--image_root", str(items.parent)]
    judge = ["--model", "test-judge", "--base_url", base_url, "--key_env", KEY]
    return [*files, "--protocol", protocol, *judge, *waits, *more]


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
