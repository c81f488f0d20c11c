"""Outcomes of suites → results.json and a table in Markdown, published numbers beside ours."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from accessory.eval.controls import Control
from accessory.eval.published import OURS, Number, Published
from accessory.eval.scores import Score
from accessory.eval.scoring import Outcome
from accessory.eval.table import ABSENT

CONTROL_TITLES: Mapping[Control, str] = {"swap_marks": "marks swapped", "no_marks": "without marks"}


@dataclass(frozen=True)
class Row:
    """One number of a suite with what stands beside it: published numbers, and the same number under each control."""

    suite: str
    score: Score
    published: tuple[Number, ...]
    controls: Mapping[Control, Score]

    @property
    def ours_published(self) -> Number | None:
        return next((number for number in self.published if number.model == OURS), None)

    @property
    def best_published(self) -> Number | None:
        others = [number for number in self.published if number.model != OURS]
        return max(others, key=lambda number: number.value, default=None)


def rows_of(outcomes: Sequence[Outcome], published: Published) -> list[Row]:
    """A row per number of each suite that was asked as it is, in order; controls of other suites stand alone."""
    under = {(one.suite, one.control, score.name): score for one in outcomes for score in one.scores.scores}
    rows = []
    for one in outcomes:
        if one.control != "none":
            continue
        for score in (score for score in one.scores.scores if not score.detail):
            controls = {
                control: under[one.suite, control, score.name]
                for control in CONTROL_TITLES
                if (one.suite, control, score.name) in under
            }
            rows.append(Row(one.suite, score, published.of(one.entry.published, score.name), controls))
    return rows


@dataclass(frozen=True)
class Average:
    """The mean of one number over the suites of a group that have it."""

    group: str
    name: str
    value: float
    suites: int
    of: int


def averages(outcomes: Sequence[Outcome], groups: Mapping[str, Sequence[str]]) -> list[Average]:
    """Means over groups of suites, for numbers that papers average so: a mean of tasks, each counting the same."""
    by_suite = {one.suite: one for one in outcomes if one.control == "none"}
    found = []
    for group, members in groups.items():
        present = [by_suite[member] for member in members if member in by_suite]
        if len(present) < 2:
            continue
        for name in dict.fromkeys(name for one in present for name in _averaged(one.scores.scores)):
            values = [s.value for one in present for s in one.scores.scores if s.name == name and s.value is not None]
            if len(values) > 1:
                found.append(Average(group, name, fmean(values), len(values), len(members)))
    return found


def _averaged(scores: Sequence[Score]) -> list[str]:
    """The names of a suite's scores out of 100; grades and sums without an end are not averaged over suites."""
    return [score.name for score in scores if score.most == 100.0 and not score.detail]


def to_json(outcomes: Sequence[Outcome], means: Sequence[Average], published: Published) -> str:
    """results.json: everything that the pages show, and the score of every item."""
    suites: dict[str, Any] = {}
    for one in outcomes:
        value = {"kind": one.entry.kind, "notes": list(one.notes), "record": one.record, **one.scores.to_json()}
        if one.control == "none":
            numbers = [n for score in one.scores.scores for n in published.of(one.entry.published, score.name)]
            value["published"] = [number.model_dump() for number in numbers]
        suites.setdefault(one.suite, {})[one.control] = value
    averaged = [{"group": m.group, "name": m.name, "value": m.value, "suites": m.suites, "of": m.of} for m in means]
    return json.dumps({"suites": suites, "averages": averaged, "sources": published.sources}, indent=1) + "\n"


def number(value: float | None) -> str:
    """One decimal, as the papers print."""
    return ABSENT if value is None else f"{value:.1f}"


def interval(score: Score) -> str:
    return "" if score.interval is None else f"{score.interval[0]:.1f} to {score.interval[1]:.1f}"


def markdown(outcomes: Sequence[Outcome], means: Sequence[Average], published: Published) -> str:
    """The table of all numbers, the counts of what went wrong, and notes."""
    rows = rows_of(outcomes, published)
    controls = [control for control in CONTROL_TITLES if any(control in row.controls for row in rows)]
    head = ["suite", "number", "ours", "95 %", *(CONTROL_TITLES[c] for c in controls), OURS, "best published"]
    lines = [head, ["---", "---", *("---:" for _ in head[2:])]]
    for row in rows:
        best = row.best_published
        lines.append(
            [
                row.suite,
                f"{row.score.name}{' ↓' if row.score.lower_is_better else ''}",
                number(row.score.value),
                interval(row.score),
                *(number(row.controls[c].value) if c in row.controls else "" for c in controls),
                number(row.ours_published.value) if row.ours_published else "",
                f"{number(best.value)} ({best.model})" if best else "",
            ]
        )
    parts = [_table(lines)]
    if means:
        body = [[m.group, m.name, number(m.value), f"{m.suites} of {m.of}"] for m in means]
        parts.append(_table([["group", "mean of", "ours", "suites"], ["---", "---", "---:", "---:"], *body]))
    names = ("items", "regions", "unanswered", "unparsable", "repeated", "invented", "cut", "unjudged")
    counts = [
        [_title(one), *(f"{getattr(one.scores.tally, name):,}" for name in names), str(len(one.scores.tally.faults))]
        for one in outcomes
    ]
    head = ["suite", *names, "not asked"]
    parts.append(_table([head, ["---", *("---:" for _ in head[1:])], *counts]))
    notes = notes_of(outcomes)
    if notes:
        parts.append("".join(f"- {note}\n" for note in notes))
    if any(row.published for row in rows):
        parts.append(f"Published numbers: {published.sources}.\n")
    return "\n".join(parts)


def notes_of(outcomes: Sequence[Outcome]) -> list[str]:
    """What a reader must know of the numbers: missing ones with their reason, subsets, judges, items not asked.

    A note that several suites share is said once.
    """
    about: dict[str, dict[str, list[str]]] = {}
    for one in outcomes:
        for note in one.notes:
            about.setdefault(note, {}).setdefault(_title(one), [])
        for score in one.scores.scores:
            if score.note:
                about.setdefault(score.note, {}).setdefault(_title(one), []).append(score.name)
        for fault in one.scores.tally.faults:
            about.setdefault(f"not asked: {fault}", {}).setdefault(_title(one), [])
    notes = []
    for note, titles in about.items():
        names = list(dict.fromkeys(name for found in titles.values() for name in found))
        where = ", ".join(titles) if len(titles) < 4 else f"{len(titles)} suites"
        notes.append(f"{where}{' (' * bool(names)}{', '.join(names)}{')' * bool(names)}: {note}")
    return notes


def _title(one: Outcome) -> str:
    return one.suite if one.control == "none" else f"{one.suite}, {CONTROL_TITLES[one.control]}"


def _table(lines: Sequence[Sequence[str]]) -> str:
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)
