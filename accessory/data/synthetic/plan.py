"""The tables to tune: which domains, tasks and numbers of marks the data set is mixed from."""

from __future__ import annotations

from typing import Literal

from .elements import Domain

Task = Literal["labels", "ocr", "brief", "relation", "qa"]
MarkKind = Literal["point", "box"]
Series = tuple[Task, MarkKind]

# Picture number i has the domain DOMAINS[i % len(DOMAINS)].
DOMAINS: tuple[Domain, ...] = ("scene", "text", "screen", "panel")

ALL_SERIES: tuple[Series, ...] = (
    *(("labels", "point"), ("labels", "box"), ("ocr", "point"), ("ocr", "box"), ("brief", "point"), ("brief", "box")),
    *(("relation", "point"), ("relation", "box"), ("qa", "point"), ("qa", "box")),
)
# A training picture gives one item of each series in EVERY_PICTURE and one of IN_TURN, the next one each time round
# the domains. A held-out picture gives one item of all series. Series that a picture has nothing for are skipped.
EVERY_PICTURE: tuple[Series, ...] = ALL_SERIES[:4]
IN_TURN: tuple[Series, ...] = ALL_SERIES[4:]

# The series that a training stage's YAML lists. Words come second: mixed in from the start they hide, for a model from
# random weights, the little that it could learn about places first.
STAGES: dict[str, tuple[Series, ...]] = {"stage1": ALL_SERIES[:2], "stage2": ALL_SERIES}

# How often a question has so many marks, before the number of elements in the picture caps it. Many marks teach more:
# a picture costs the same to read whatever is asked about it.
MARK_WEIGHTS: dict[int, float] = {1: 2, 2: 2, 3: 2, 4: 3, 5: 4, 6: 4, 7: 4, 8: 4, 9: 3, 10: 3}
MAX_MARKS = max(MARK_WEIGHTS)

TWO_TURNS = 0.3  # share of the free questions that get a second turn
DOMINANCE = 1.5  # a relation is asked where one axis' distance is at least so many times the other's


def training_series(index: int) -> tuple[Series, ...]:
    """The series that training picture number `index` should give an item to."""
    return (*EVERY_PICTURE, IN_TURN[index // len(DOMAINS) % len(IN_TURN)])


def series_name(series: Series) -> str:
    """The file stem of a series, such as "labels_box"."""
    return "_".join(series)
