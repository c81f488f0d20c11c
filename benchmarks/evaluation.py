"""Answers per second of a suite in batches and one by one, with the same answers, and how long the first one takes.

`python -m benchmarks.evaluation --checkpoint outputs/quickstart/checkpoint --data outputs/quickstart/data/heldout`
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from accessory.eval.items import BenchmarkItem
from accessory.eval.load import load_items
from accessory.eval.predict import Asking, predict
from accessory.eval.registry import Roots, SuiteEntry, read_registry
from benchmarks import _measure
from benchmarks._measure import Numbers, timed
from SPHINX_V.sphinx_v import SPHINX_V_Model

CPU = torch.device("cpu")
_FIRST = """
import sys
from benchmarks.evaluation import first_answer
first_answer(*sys.argv[1:])
"""


def suite_of(name: str, data: Path) -> tuple[SuiteEntry, list[BenchmarkItem]]:
    """A suite of the registry with its items, all of whose files lie in `data`."""
    entry = read_registry().suites[name]
    return entry, load_items(name, entry, Roots(data, data))


def answers(model: SPHINX_V_Model, entry: SuiteEntry, items: Sequence[BenchmarkItem], batch_size: int) -> list[str]:
    """The answers to `items`, through the whole path from pictures to a file of predictions."""
    with TemporaryDirectory() as folder:
        asking = Asking("benchmark", batch_size=batch_size)
        found = predict(model, entry, items, Path(folder) / "predictions.jsonl", asking)
    assert found is not None, "there are no other processes"
    return [one.prediction for one in found]


def first_answer(checkpoint: str, suite: str, data: str) -> None:
    """What a new process does until its first answer is on the disk."""
    entry, items = suite_of(suite, Path(data))
    answers(SPHINX_V_Model.from_pretrained(checkpoint), entry, items[:1], 1)


def main() -> None:
    """Command line; prints the record and writes it where asked."""
    parser = _measure.command_line("evaluation", __doc__, repeats=3)
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--data", type=Path, required=True, help="folder of the embedded held-out set")
    parser.add_argument("--suite", default="labels_box")
    parser.add_argument("--items", type=int, default=100)
    parser.add_argument("--batch_size", type=int, default=64)
    options = parser.parse_args()
    head = _measure.begin(parser, options, CPU)
    model = SPHINX_V_Model.from_pretrained(options.checkpoint)
    entry, items = suite_of(options.suite, options.data)
    items = items[: options.items]
    said: dict[str, list[str]] = {}

    def way(name: str, batch_size: int) -> Numbers:
        seconds, said[name] = timed(CPU, lambda: answers(model, entry, items, batch_size))
        return {"items_per_second": len(items) / seconds}

    def start() -> Numbers:
        begun = time.perf_counter()
        arguments = [options.checkpoint, options.suite, str(options.data)]
        subprocess.run([sys.executable, "-c", _FIRST, *arguments], check=True, capture_output=True)
        return {"seconds": time.perf_counter() - begun}

    found = _measure.in_turn(
        {
            "batched": lambda: way("batched", options.batch_size),
            "one_by_one": lambda: way("one_by_one", 1),
            "first_answer_of_a_new_process": start,
        },
        options.repeats,
    )
    record = {
        **head,
        "ways": {name: _measure.medians(rounds) for name, rounds in found.items()},
        "batched_over_one_by_one": _measure.ratio(found["batched"], found["one_by_one"], "items_per_second"),
        "same_answers": sum(one == other for one, other in zip(said["batched"], said["one_by_one"], strict=True)),
        "answers": len(items),
    }
    _measure.finish(record, options.record)


if __name__ == "__main__":
    main()
