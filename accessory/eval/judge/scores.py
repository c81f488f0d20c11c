"""Judgements → scores per task and per domain, with bootstrap intervals and counts of what has no score."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy
from numpy.typing import NDArray

from accessory.eval.judge.judgements import Judgement, check_each_once, check_one_judge
from accessory.eval.judge.protocols import JudgeProtocol
from accessory.eval.judge.registry import PROTOCOLS
from SPHINX_V.errors import UsageError

RESAMPLES = 2000  # the interval's ends then move by less than the interval's own uncertainty
_TAILS = (2.5, 97.5)  # per cent


@dataclass(frozen=True)
class Row:
    """One task, or the mean of several tasks. `columns` is empty and `interval` None where nothing can be said."""

    name: str
    columns: dict[str, float]
    interval: tuple[float, float] | None  # 95 %, of the first column
    items: int
    scored: int
    unparsable: int
    failed: int


@dataclass(frozen=True)
class Summary:
    """All rows of one judge and prompt: tasks, then domains, then all tasks."""

    protocol: str
    judge: str
    served_by: dict[str, int]  # full name → replies
    prompt_hash: str
    columns: tuple[str, ...]
    tasks: tuple[Row, ...]
    domains: tuple[Row, ...]
    total: Row | None  # the mean over all tasks, where there are several

    @property
    def rows(self) -> tuple[Row, ...]:
        return (*self.tasks, *self.domains, *([self.total] if self.total else []))


def summarise(judgements: Sequence[Judgement]) -> Summary:
    """Scores of all tasks. A case without a score is counted and left out of the means.

    A domain's score is the mean of its tasks' scores, so that each task weighs the same. Intervals: percentiles over
    resamples of the cases, within each task. Raises UsageError for no judgement, for judgements of different judges,
    prompts or protocols, and for a case that is there twice.
    """
    if not judgements:
        raise UsageError("there is no judgement to summarise; judge some predictions first.")
    check_one_judge(one.identity for one in judgements)
    check_each_once((one.dataset, one.question_id) for one in judgements)
    first = judgements[0]
    protocol = PROTOCOLS.get(first.protocol)
    if protocol is None:
        raise UsageError(f"protocol {first.protocol!r} is unknown; known: {', '.join(PROTOCOLS)}.")
    tasks: dict[str, list[Judgement]] = {}
    served: dict[str, int] = {}
    for one in judgements:
        tasks.setdefault(one.dataset, []).append(one)
        for reply in one.replies:
            served[reply.served_by] = served.get(reply.served_by, 0) + 1
    measured = {name: _Task(name, cases, protocol) for name, cases in tasks.items()}
    domains: dict[str, list[_Task]] = {}
    for task in measured.values():
        if task.domain is not None:
            domains.setdefault(task.domain, []).append(task)
    return Summary(
        protocol=first.protocol,
        judge=first.judge,
        served_by=served,
        prompt_hash=first.prompt_hash,
        columns=protocol.columns,
        tasks=tuple(_mean_row(name, [task]) for name, task in measured.items()),
        domains=tuple(_mean_row(f"domain: {name}", members) for name, members in domains.items()),
        total=_mean_row("all tasks", list(measured.values())) if len(measured) > 1 else None,
    )


class _Task:
    """A task's columns, over its cases and over resamples of them."""

    def __init__(self, name: str, cases: Sequence[Judgement], protocol: type[JudgeProtocol]) -> None:
        self.domain = cases[0].domain
        self.items = len(cases)
        scores = [one.scores for one in cases if one.scores is not None]
        self.scored = len(scores)
        self.unparsable = sum(one.unparsable for one in cases)
        self.failed = sum(one.failure is not None for one in cases)
        self.columns: dict[str, float] = {}
        self.resampled: NDArray[numpy.float64] | None = None
        if not scores:
            return
        names = list(dict.fromkeys(name for one in scores for name in one))
        values = {name: numpy.array([one.get(name, math.nan) for one in scores]) for name in names}
        self.columns = {column: float(value) for column, value in protocol.compute(values).items()}
        # Seeded by the task's name: a task has the same interval beside whatever other tasks.
        seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
        drawn = numpy.random.default_rng(seed).integers(len(scores), size=(RESAMPLES, len(scores)))
        self.resampled = protocol.compute({name: value[drawn] for name, value in values.items()})[protocol.columns[0]]


def _mean_row(name: str, tasks: Sequence[_Task]) -> Row:
    """The mean of the tasks' columns; a task without any score takes the mean away, as it would be one of fewer."""
    columns: dict[str, float] = {}
    interval = None
    if all(task.columns for task in tasks):
        columns = {column: float(numpy.mean([task.columns[column] for task in tasks])) for column in tasks[0].columns}
        means = numpy.mean([task.resampled for task in tasks if task.resampled is not None], axis=0)
        means = means[~numpy.isnan(means)]
        if len(means) and all(task.scored > 1 for task in tasks):
            low, high = numpy.percentile(means, _TAILS)
            interval = (float(low), float(high))
    return Row(
        name,
        columns,
        interval,
        items=sum(task.items for task in tasks),
        scored=sum(task.scored for task in tasks),
        unparsable=sum(task.unparsable for task in tasks),
        failed=sum(task.failed for task in tasks),
    )


def table(summary: Summary) -> str:
    """The summary in Markdown, with the judge and the prompt without which its numbers mean nothing."""
    main, *others = summary.columns
    heads = ["task", main, "95 %", *others, "items", "scored", "unparsable", "failed"]
    lines = [heads, ["---", *("---:" for _ in heads[1:])]]
    for row in summary.rows:
        interval = "–" if row.interval is None else f"{row.interval[0]:.1f} … {row.interval[1]:.1f}"
        numbers = [_number(row.columns.get(main), 1), interval, *(_number(row.columns.get(name), 2) for name in others)]
        counts = [row.items, row.scored, row.unparsable, row.failed]
        lines.append([row.name, *numbers, *(str(count) for count in counts)])
    text = "".join("| " + " | ".join(line) + " |\n" for line in lines)
    told = ", ".join(f"{name or 'no name'} ({count})" for name, count in summary.served_by.items())
    text += f"\nProtocol {summary.protocol}, judge {summary.judge}, prompt {summary.prompt_hash[:12]}.\n"
    text += f"Replies came from: {told}.\n" if told else ""
    if len(summary.served_by) > 1:
        text += "These are several judges under one name: do not compare with scores of one alone.\n"
    return text


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None or math.isnan(value) else f"{value:.{digits}f}"
