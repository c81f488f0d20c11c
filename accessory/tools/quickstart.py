"""The embedded run from nothing to answers: draw data, train two stages, evaluate with a control, write a report."""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import resource
import shlex
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from accessory.config import RunOptions, load_options
from accessory.data.synthetic import generate
from accessory.data.synthetic.files import VERSION
from accessory.eval.controls import Control
from accessory.eval.items import BenchmarkItem
from accessory.eval.load import load_items
from accessory.eval.predict import Asking, predict, prediction_path
from accessory.eval.record import checkpoint_hash
from accessory.eval.registry import Roots, read_registry
from accessory.eval.report import Asked, Example, write_report
from accessory.eval.scoring import Answered, Outcome, score
from accessory.eval.suites.base import Resources
from accessory.eval.table import ACCURACY, SWAPPED
from accessory.main import CHECKPOINT, METRICS, launch, train
from accessory.tools.tokenizer import train_tokenizer
from SPHINX_V.errors import SphinxVError
from SPHINX_V.sphinx_v import SPHINX_V_Model

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / "accessory" / "configs"
STAGES = ("stage1", "stage2")
CONTROLS: tuple[Control, ...] = ("none", "swap_marks")
SEED = 0


@dataclass(frozen=True)
class Size:
    """How much is drawn and trained."""

    pictures: int
    heldout: int
    overrides: dict[str, tuple[str, ...]]


FULL = Size(pictures=8000, heldout=200, overrides={"stage1": (), "stage2": ()})
# Enough to see every part work; too short to learn to read.
FAST = Size(
    pictures=2000,
    heldout=40,
    overrides={"stage1": ("train.max_steps=240", "train.patch_steps=80"), "stage2": ("train.max_steps=100",)},
)


@dataclass(frozen=True)
class Suite:
    """One suite of the held-out set, the line of results.json that it counts for, and its name in the report."""

    name: str
    result: str
    title: str


SUITES = (
    Suite("labels_box", "labels_box", "labels, boxes"),
    Suite("labels_point", "labels_point", "labels, points"),
    Suite("ocr_box", "ocr", "words, boxes"),
    Suite("ocr_point", "ocr", "words, points"),
    Suite("relation_box", "relation", "relations, boxes"),
    Suite("relation_point", "relation", "relations, points"),
    Suite("qa_box", "free", "free questions, boxes"),
    Suite("qa_point", "free", "free questions, points"),
)
BATCH = 64  # rows of a tiny model that are answered together


def make_data(out: Path, size: Size) -> None:
    """Draws the data set and trains its tokenizer, unless both are there already."""
    data, tokenizer, stamp = out / "data", out / "tokenizer.model", out / "data.json"
    wanted = {"version": VERSION, "pictures": size.pictures, "heldout": size.heldout, "seed": SEED}
    if _recorded(stamp) == wanted and data.is_dir() and tokenizer.is_file():
        say(f"data: {data} is there already")
        return
    started = _start(stamp)
    say(f"data: drawing {size.pictures} pictures and {size.heldout} held-out ones")
    generate(data, size.pictures, size.heldout, SEED, torch.get_num_threads())
    tokenizer.write_bytes(train_tokenizer(data / "corpus.txt", 1024))
    _record(stamp, wanted, started)


def train_stage(out: Path, stage: str, size: Size) -> RunOptions:
    """Trains one stage, unless it was trained with the same options on the same data already."""
    if stage == STAGES[0]:
        origin = f"model.tokenizer={out / 'tokenizer.model'}"
    else:
        origin = f"model.checkpoint={out / STAGES[0] / CHECKPOINT}"
    data = f"data.config={out / 'data' / f'{stage}.yaml'}"
    overrides = [f"output={out / stage}", data, origin, *size.overrides[stage]]
    options = load_options(RunOptions, CONFIGS / f"tiny_{stage}.yaml", overrides)
    stamp = out / f"{stage}.json"
    wanted = {"options": options.model_dump(mode="json"), "from": _origin(out, stage)}
    if _recorded(stamp) == wanted and (out / stage / CHECKPOINT).is_dir():
        say(f"{stage}: {out / stage / CHECKPOINT} is there already")
        return options
    started = _start(stamp)
    say(f"{stage}: training, {options.train.max_steps} steps")
    with launch(options.parallel) as this:
        train(options, this)
    _record(stamp, wanted, started)
    return options


def _origin(out: Path, stage: str) -> str:
    """A hash of what a stage starts from: the data's manifest, and the stage before."""
    sources = [out / "data" / "manifest.json", out / "tokenizer.model"]
    if stage != STAGES[0]:
        sources += sorted((out / STAGES[0] / CHECKPOINT).iterdir())
    digest = hashlib.sha256()
    for source in sources:
        digest.update(source.read_bytes())
    return digest.hexdigest()


def _read_stamp(stamp: Path) -> dict[str, Any]:
    """A stamp's values; none where there is none, or only the half of one that a power cut left."""
    try:
        values = json.loads(stamp.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError, UnicodeDecodeError):
        return {}
    return values if isinstance(values, dict) else {}


def _recorded(stamp: Path) -> Any:
    """What a stamp says its step was made from."""
    return _read_stamp(stamp).get("from")


def _start(stamp: Path) -> float:
    """Takes the stamp away, so that a step that is cut off counts as not done; returns the time."""
    stamp.unlink(missing_ok=True)
    return time.perf_counter()


def _record(stamp: Path, source: Any, started: float) -> None:
    whole = stamp.with_suffix(".tmp")
    seconds = round(time.perf_counter() - started, 1)
    whole.write_text(json.dumps({"from": source, "seconds": seconds}), encoding="utf-8")
    whole.replace(stamp)


@dataclass(frozen=True)
class Answers:
    """A suite's items with answers and scores, with the true marks and with those of other items."""

    suite: Suite
    items: list[BenchmarkItem]
    scored: Outcome
    swapped: Outcome

    def right(self, swapped: bool) -> tuple[int, int]:
        """How many marks, or whole answers, are right, and of how many."""
        outcome = self.swapped if swapped else self.scored
        marks = [mark for item in outcome.scores.items for mark in item.marks]
        return sum(mark.value == 1.0 for mark in marks), len(marks)

    def accuracy(self, swapped: bool) -> float:
        hits, total = self.right(swapped)
        return hits / max(1, total)


def evaluate(out: Path, model: SPHINX_V_Model) -> list[Answers]:
    """Answers every held-out suite, and again with each question's marks swapped for those of another item."""
    heldout = out / "data" / "heldout"
    registry = read_registry()
    source = checkpoint_hash(out / CHECKPOINT)
    answers = []
    for suite in SUITES:
        entry = registry.suites[suite.name]
        items = load_items(suite.name, entry, Roots(heldout, heldout))
        outcomes = []
        for control in CONTROLS:
            path = prediction_path(out / "predictions", suite.name, control)
            # A new run is a new model: its answers take the place of those of the run before.
            asking = Asking(source=source, control=control, batch_size=BATCH, restart=True)
            predictions = predict(model, entry, items, path, asking)
            assert predictions is not None, "one process answers all"
            outcomes.append(score(Answered(suite.name, entry, tuple(predictions), control), Resources()))
        answers.append(Answers(suite, items, *outcomes))
        right, swapped = answers[-1].accuracy(swapped=False), answers[-1].accuracy(swapped=True)
        say(f"{suite.title}: {right:.3f}, marks swapped {swapped:.3f}")
    return answers


def summarise(answers: list[Answers]) -> dict[str, Any]:
    """The numbers of results.json; a line that several suites count for is over all their regions or answers."""

    def shares(swapped: bool) -> dict[str, float]:
        counts: dict[str, list[int]] = {}
        for one in answers:
            hits, total = one.right(swapped)
            row = counts.setdefault(one.suite.result, [0, 0])
            row[0] += hits
            row[1] += total
        return {name: hits / max(1, total) for name, (hits, total) in counts.items()}

    return {**shares(swapped=False), "swapped": shares(swapped=True)}


def ask_about_pictures(model: SPHINX_V_Model, outcomes: list[Answers]) -> list[Asked]:
    """One question about each of three held-out pictures, asked as a user would."""
    asked: list[Asked] = []
    for outcome in (outcomes[0], outcomes[3], outcomes[7]):
        shown = {one.picture for one in asked}
        first = [one for one in outcome.items if not one.history]
        item = next((one for one in first if one.picture not in shown), first[0])
        answer = model.generate_response([[item.question, None]], item.prompts, item.picture, temperature=0.0)
        asked.append(Asked(item.picture, item.prompts, item.question, answer))
        say(f"{item.picture.name}: {item.question}\n{answer}")
    return asked


def run(out: Path, size: Size) -> dict[str, Any]:
    """All steps; returns what results.json holds."""
    out.mkdir(parents=True, exist_ok=True)
    make_data(out, size)
    options = {stage: train_stage(out, stage, size) for stage in STAGES}
    started = time.perf_counter()
    checkpoint = out / CHECKPOINT
    model = SPHINX_V_Model.from_pretrained(out / STAGES[-1] / CHECKPOINT, dtype=torch.float32)
    model.save_pretrained(checkpoint, overwrite=True)
    outcomes = evaluate(out, model)
    asked = ask_about_pictures(model, outcomes)
    # Steps that an earlier run did count with the time that they took then.
    before = sum(_read_stamp(out / f"{step}.json")["seconds"] for step in ("data", *STAGES))
    results = summarise(outcomes) | {"seconds": round(before + time.perf_counter() - started, 1)}
    (out / "results.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    page = write_report(
        out,
        title="SPHINX-V quickstart",
        table=_table(outcomes),
        curves={stage: _metrics(out / stage / METRICS) for stage in STAGES},
        examples=_examples(outcomes),
        asked=asked,
        facts=_facts(model, options, results["seconds"]),
    )
    _farewell(out, checkpoint, page, outcomes[0].items[0])
    return results


def _table(outcomes: list[Answers]) -> dict[str, dict[str, float]]:
    return {
        one.suite.title: {
            ACCURACY: one.accuracy(swapped=False),
            SWAPPED: one.accuracy(swapped=True),
            "items": len(one.items),
            "scored": one.right(swapped=False)[1],
            "unanswered": one.scored.scores.tally.unanswered + one.scored.scores.tally.unparsable,
        }
        for one in outcomes
    }


def _metrics(path: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _examples(outcomes: list[Answers], each: int = 4) -> list[Example]:
    """Items of every suite at even steps through its file, unchosen: neighbours are about like pictures."""
    return [
        Example(
            one.items[i],
            one.scored.predictions[i].prediction,
            one.swapped.predictions[i].prediction,
            one.swapped.predictions[i].marks,
        )
        for one in outcomes
        for i in range(0, len(one.items), max(1, len(one.items) // each))[:each]
    ]


def _facts(model: SPHINX_V_Model, options: dict[str, RunOptions], seconds: float) -> dict[str, str]:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20)
    steps = " + ".join(str(option.train.max_steps) for option in options.values())
    return {
        "parameters": f"{sum(p.numel() for p in model.model.parameters()) / 1e6:.2f} M",
        "steps": steps,
        "samples per step": str(options["stage1"].train.batch_size),
        "seed": str(SEED),
        "time of the whole run": f"{seconds:.0f} s",
        "peak memory": f"{peak:.2f} GiB",
        "torch": torch.__version__,
        "Python": platform.python_version(),
    }


def say(text: str) -> None:
    """One line of progress."""
    print(text, flush=True)


def _farewell(out: Path, checkpoint: Path, page: Path, item: BenchmarkItem) -> None:
    x0, y0, x1, y1 = item.prompts[0].bounds()
    box = f"{x0:g},{y0:g},{x1 - x0:g},{y1 - y0:g}"
    shell = " ".join(map(shlex.quote, [sys.executable, "-m", "SPHINX_V.inference", "--checkpoint", str(checkpoint)]))
    say(
        f"\nresults:    {out / 'results.json'}\nreport:     {page}\ncheckpoint: {checkpoint}\n\n"
        f"Ask about a picture of your own, or of the held-out set, in {shlex.quote(str(ROOT))}:\n"
        f"  {shell} --image {shlex.quote(str(item.picture))} \\\n"
        f"    --box {box} --question {shlex.quote(item.question)} --overlay {shlex.quote(str(out / 'asked.png'))}"
    )


def main() -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m accessory.tools.quickstart", description=__doc__)
    parser.add_argument(
        "--out",
        type=lambda text: Path(text).absolute(),
        default=ROOT / "outputs" / "quickstart",
        help="folder for everything it makes",
    )
    parser.add_argument("--fast", action="store_true", help="little data and few steps: shows the way, not the result")
    arguments = parser.parse_args()
    try:
        run(arguments.out, FAST if arguments.fast else FULL)
    except (SphinxVError, OSError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
