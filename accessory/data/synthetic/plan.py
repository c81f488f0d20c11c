"""The tables to tune: which domains, tasks and numbers of marks the data set is mixed from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .elements import Domain
from .seeds import Split

Task = Literal["labels", "ocr", "brief", "relation", "qa"]
MarkKind = Literal["point", "box"]
Series = tuple[Task, MarkKind]

# Picture number i has the domain DOMAINS[i % len(DOMAINS)].
DOMAINS: tuple[Domain, ...] = ("scene", "text", "screen", "panel")

ALL_SERIES: tuple[Series, ...] = (
    *(("labels", "point"), ("labels", "box"), ("ocr", "point"), ("ocr", "box"), ("brief", "point"), ("brief", "box")),
    *(("relation", "point"), ("relation", "box"), ("qa", "point"), ("qa", "box")),
)
# A training picture gives one item of each series in EVERY_PICTURE and one of each pair IN_TURN, a held-out picture one
# of each series there is. Series that a picture has nothing for are skipped.
IN_TURN: tuple[tuple[Series, Series], ...] = ((("brief", "point"), ("brief", "box")), (("qa", "point"), ("qa", "box")))
EVERY_PICTURE: tuple[Series, ...] = tuple(series for series in ALL_SERIES if series[0] not in ("brief", "qa"))

# The tasks that a training stage's YAML lists, with the share of their items that it takes. Words come second: mixed in
# from the start they hide, for a model from random weights, the little that it could learn about places first.
STAGES: dict[str, dict[Task, float]] = {
    "stage1": {"labels": 1.0, "relation": 1.0},
    "stage2": {"labels": 0.4, "ocr": 1.0, "brief": 0.1, "relation": 0.35, "qa": 0.7},
}

# How often a question has so many marks, before the number of elements in the picture caps it. Many marks teach more:
# a picture costs the same to read whatever is asked about it.
MARK_WEIGHTS: dict[int, float] = {1: 2, 2: 2, 3: 2, 4: 3, 5: 4, 6: 4, 7: 4, 8: 4, 9: 3, 10: 3}
MAX_MARKS = max(MARK_WEIGHTS)

DOMINANCE = 1.5  # a direction is asked where one axis' distance is at least so many times the other's
OUTGROWN = 1.5  # which one is larger is asked where its box has at least so many times the other's area


@dataclass(frozen=True, slots=True)
class Extent:
    """How far an item goes: a relation over 2 to `related` marks, free questions over `turns` (least, most) turns.

    `listed` is the share of conversations in which one turn is a question for all marks, in the wording of the other
    series; `topics` says how often a free question is of which kind.
    """

    related: int
    turns: tuple[int, int]
    listed: float
    topics: dict[str, float]


# Marks of a conversation of free questions. Few, so that its questions come back to the same ones.
FREE_MARK_WEIGHTS: dict[int, float] = {1: 3, 2: 5, 3: 5, 4: 4, 5: 2, 6: 1}
TOPICS: dict[str, float] = {
    **{"color": 4, "shape": 4, "what": 3, "word": 4},
    **{"is": 3, "same": 4, "larger": 2, "direction": 2, "count": 0.5},
}
FOLLOWED = 0.3  # how often a question stays at the last one's topic or mark, and how often it then leaves the name out
ALIKE = 0.9  # how often two of the marks are alike in colour or shape, where the picture has such
CASUAL = 0.1  # share of the free questions without capital and question mark

# A training relation goes from mark to mark; a held-out one is of a pair, so that an answer is right or wrong. Held-out
# free questions do not ask how many marks there are: foreign marks would be as many.
EXTENTS: dict[Split, Extent] = {
    "train": Extent(related=5, turns=(3, 5), listed=0.15, topics=TOPICS),
    "heldout": Extent(related=2, turns=(1, 3), listed=0, topics={**TOPICS, "count": 0}),
}


def training_series(index: int) -> tuple[Series, ...]:
    """The series that training picture number `index` should give an item to."""
    # Shifted from round to round, so that the first four pictures show every series and every domain meets each.
    return (*EVERY_PICTURE, *(pair[(index + index // len(DOMAINS)) % 2] for pair in IN_TURN))


def series_name(series: Series) -> str:
    """The file stem of a series, such as "labels_box"."""
    return "_".join(series)
