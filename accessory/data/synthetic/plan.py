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
# A training picture gives one item of each series in EVERY_PICTURE and one of a series IN_TURN, a held-out picture one
# of each there is. Series that a picture has nothing for are skipped.
IN_TURN: tuple[Series, ...] = tuple(series for series in ALL_SERIES if series[0] in ("brief", "qa"))
EVERY_PICTURE: tuple[Series, ...] = tuple(series for series in ALL_SERIES if series not in IN_TURN)

# The tasks that a training stage's YAML lists, with the share of their items that it takes. Words come second: mixed in
# from the start they hide, for a model from random weights, the little that it could learn about places first.
STAGES: dict[str, dict[Task, float]] = {
    "stage1": {"labels": 1.0, "relation": 1.0},
    "stage2": {"labels": 0.5, "ocr": 1.0, "brief": 0.3, "relation": 0.4, "qa": 0.5},
}

# How often a question has so many marks, before the number of elements in the picture caps it. Many marks teach more:
# a picture costs the same to read whatever is asked about it.
MARK_WEIGHTS: dict[int, float] = {1: 2, 2: 2, 3: 2, 4: 3, 5: 4, 6: 4, 7: 4, 8: 4, 9: 3, 10: 3}
MAX_MARKS = max(MARK_WEIGHTS)

# A training relation goes from mark to mark; a held-out one is of a pair, so that an answer is right or wrong.
RELATED = {"train": 5, "heldout": 2}
ANOTHER_TURN = 0.6  # share of the free questions after which another one follows about the same marks
MAX_TURNS = 4
DOMINANCE = 1.5  # a relation is asked where one axis' distance is at least so many times the other's


def training_series(index: int) -> tuple[Series, ...]:
    """The series that training picture number `index` should give an item to."""
    # Shifted from round to round, so that the first four pictures show every series and every domain meets each.
    return (*EVERY_PICTURE, IN_TURN[(index + index // len(DOMAINS)) % len(IN_TURN)])


def series_name(series: Series) -> str:
    """The file stem of a series, such as "labels_box"."""
    return "_".join(series)
