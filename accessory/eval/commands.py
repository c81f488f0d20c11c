"""The three commands of evaluation: infer asks a model, score reads predictions, run does both for a file of suites."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from accessory.eval import judging, scoring
from accessory.eval.benchmark_page import MARKDOWN, write_benchmark_report
from accessory.eval.controls import Control
from accessory.eval.items import BenchmarkItem
from accessory.eval.judge.options import JudgeOptions
from accessory.eval.load import load_items, oddities
from accessory.eval.metrics.similarity import Similarity
from accessory.eval.options import EvalOptions, ReportOptions
from accessory.eval.published import read_published
from accessory.eval.record import checkpoint_hash
from accessory.eval.registry import Registry, Roots, SuiteEntry, read_registry
from accessory.eval.results import averages, markdown
from accessory.eval.scoring import Answered, Outcome, read_answered
from accessory.eval.suites.base import Resources
from SPHINX_V.errors import UsageError

if TYPE_CHECKING:
    from accessory.eval.predict import Shard
    from SPHINX_V.sphinx_v import SPHINX_V_Model

PREDICTIONS = "predictions"
JUDGEMENTS = "judgements"


def say(text: str) -> None:
    """A line of progress, from the first process only."""
    if int(os.environ.get("RANK", "0")) == 0:
        print(text, file=sys.stderr, flush=True)


def roots_of(data_root: str, image_root: str | None) -> Roots:
    return Roots(Path(data_root), Path(image_root if image_root is not None else data_root))


def this_shard(tensor_parallel: int) -> Shard:
    """This process among those that torchrun started. Raises UsageError where they cannot share the work."""
    from accessory.eval.predict import Shard

    rank, size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    if tensor_parallel < 1 or size % tensor_parallel:
        raise UsageError(
            f"tensor_parallel is {tensor_parallel}, but {size} process{'es run' if size > 1 else ' runs'}; so many hold"
            f" one model together, so start {max(tensor_parallel, 1)} of them or a multiple of that."
        )
    copies = size // tensor_parallel
    return Shard(rank // tensor_parallel, copies, writes=rank % tensor_parallel == 0)


def load_checkpoint(options: EvalOptions) -> SPHINX_V_Model:
    import torch

    from SPHINX_V.sphinx_v import SPHINX_V_Model

    return SPHINX_V_Model.from_pretrained(
        options.checkpoint,
        device=options.device,
        dtype=None if options.dtype is None else getattr(torch, options.dtype),
        tensor_parallel=options.tensor_parallel,
        quantize=options.quantize,
        data_parallel=1 if options.tensor_parallel == 1 else this_shard(options.tensor_parallel).size,
    )


def infer(
    options: EvalOptions, registry: Registry, controls: Sequence[Control], folder: Path, restart: bool = False
) -> list[Path]:
    """Answers the suites of `options` under each control; returns the prediction files, in order.

    Everything that can be wrong with a suite's files is found before the model is loaded.
    """
    from accessory.eval.predict import Asking, predict, prediction_path, wait_for

    roots = roots_of(options.data_root, options.image_root)
    shard = this_shard(options.tensor_parallel)
    source = checkpoint_hash(Path(options.checkpoint))
    work: list[tuple[str, SuiteEntry, list[BenchmarkItem], Control]] = []
    for name in registry.chosen(options.suites):
        entry = registry.suites[name]
        items = load_items(name, entry, roots)
        odd = oddities(items)
        if odd:
            say(f"{name}: {len(odd)} oddities, taken as given, such as {odd[0]}")
        for control in controls:
            if control != "none" and "none" in controls and not any(item.prompts for item in items):
                say(f"{name}: has no marks, so {control} would ask the same again and is left out")
            else:
                work.append((name, entry, items, control))
    model = load_checkpoint(options)
    paths = []
    for name, entry, items, control in work:
        path = prediction_path(folder, name, control)
        asking = Asking(source, control, options.batch_size, options.weights, shard, restart)
        started = time.perf_counter()
        predict(model, entry, items, path, asking)
        say(f"{path}: {len(items)} questions ({time.perf_counter() - started:.1f} s)")
        paths.append(path)
    for path in paths:  # not before: a process that is done with a suite goes on with the next one
        wait_for(path)
    _part()
    return paths


def _part() -> None:
    """Meets the processes that hold one model together for the last time; from here on each goes its own way.

    One of them may then score and judge for an hour, longer than the others could wait in a barrier.
    """
    from torch import distributed

    if distributed.is_initialized():
        distributed.barrier()


def resources_of(answered: Sequence[Answered], similarity_model: str | None) -> Resources:
    """What scoring these needs beside a judge, and where something is not there, why."""
    similarity, reason = None, ""
    if any(one.entry.kind == "labels" for one in answered):
        try:
            similarity = Similarity(None if similarity_model is None else Path(similarity_model))
        except UsageError as error:
            if similarity_model is not None:
                raise
            reason = str(error)
    return Resources(similarity, reason)


def score(
    paths: Sequence[Path],
    registry: Registry,
    roots: Roots | None,
    similarity_model: str | None = None,
    suite: str | None = None,
    partial: bool = False,
    judge: tuple[JudgeOptions, Path] | None = None,
) -> list[Outcome]:
    """The outcomes of prediction files, in order. All are read before the first is scored.

    `judge`: who judges, and the folder of its judgements; without it, judgements that lie beside the predictions are
    taken.
    """
    given = [path for path in paths if not _is_judges(path)]
    for path in (path for path in paths if _is_judges(path)):
        say(f"{path}: is a judge's file, which is found by itself")
    answered = {path: read_answered(path, registry, roots, suite, partial) for path in given}
    if judge is None:
        verdicts = judging.read_verdicts(answered)
    else:
        assert roots is not None, "a run knows where its pictures lie"
        verdicts = judging.judge_all(list(answered.values()), roots, *judge)
    resources = resources_of(list(answered.values()), similarity_model)
    outcomes = []
    for one in answered.values():
        verdict = verdicts.get((one.suite, one.control))
        judgements = {} if verdict is None else {one.suite: verdict}
        outcomes.append(scoring.score(one, replace(resources, judgements=judgements)))
    return outcomes


def _is_judges(path: Path) -> bool:
    return path.name.endswith(judging.ENDING) or path.name == judging.CACHE


def report(
    out: Path, outcomes: Sequence[Outcome], registry: Registry, options: ReportOptions, facts: Mapping[str, str]
) -> str:
    """Writes the report; returns its table in Markdown."""
    page = write_benchmark_report(out, outcomes, registry.groups, read_published(), options, facts)
    say(f"report: {page}")
    return (out / MARKDOWN).read_text(encoding="utf-8")


def table(outcomes: Sequence[Outcome], registry: Registry) -> str:
    """The table of outcomes in Markdown, without a report."""
    return markdown(outcomes, averages(outcomes, registry.groups), read_published())


def run(options: EvalOptions) -> str | None:
    """All suites of a file: answers, scores, report. Returns the table; None on a process that does not write it."""
    started = time.perf_counter()
    registry = read_registry([Path(path) for path in options.registry])
    out = Path(options.output)
    controls: list[Control] = ["none", *options.controls]
    paths = infer(options, registry, controls, out / PREDICTIONS)
    if int(os.environ.get("RANK", "0")):
        return None
    roots = roots_of(options.data_root, options.image_root)
    judge = None if options.judge is None else (options.judge, out / JUDGEMENTS)
    outcomes = score(paths, registry, roots, options.similarity_model, judge=judge)
    facts = {
        "checkpoint": options.checkpoint,
        "type of weights": options.weights or "the checkpoint's",
        "questions at a time": str(options.batch_size),
        "processes": os.environ.get("WORLD_SIZE", "1"),
        "time": f"{time.perf_counter() - started:.0f} s",
        "Python": platform.python_version(),
    }
    return report(out, outcomes, registry, options.report, facts)
