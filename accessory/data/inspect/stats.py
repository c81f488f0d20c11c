"""Figures of every source of a data configuration: how much there is of what."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from accessory.data.inspect.lengths import Lengths
from accessory.data.inspect.pictures import Pictures
from accessory.data.inspect.reading import chosen_sources
from accessory.data.inspect.walk import Seen, walk
from accessory.data.labels import task_of
from accessory.data.sources import LocatedSource
from SPHINX_V.errors import DataError
from SPHINX_V.processing.conversation import clean
from SPHINX_V.processing.tokenizer import Tokenizer
from SPHINX_V.prompts import is_point

WORDINGS = 10_000  # different free questions that are counted one by one; later ones count as others
FREE = "free question"


@dataclass
class SourceStats:
    """One source. Counts are of the good items of its whole file, `ratio` left aside.

    `tasks` counts questions by what they ask for, `wordings` the free ones by their text.
    """

    source: LocatedSource
    items: int = 0
    bad: int = 0
    text_only: int = 0
    marks: Counter[str] = field(default_factory=Counter)
    marks_per_item: Lengths = field(default_factory=Lengths)
    turns: Lengths = field(default_factory=Lengths)
    answers: Lengths = field(default_factory=Lengths)
    widths: Lengths = field(default_factory=Lengths)
    heights: Lengths = field(default_factory=Lengths)
    tasks: Counter[str] = field(default_factory=Counter)
    wordings: Counter[str] = field(default_factory=Counter)
    pictures: set[Path] = field(default_factory=set)

    @property
    def used(self) -> int:
        """Items that an epoch takes: as many as `ratio` leaves, the bad ones among them still counted."""
        return round(self.source.ratio * self.items)

    def add(self, seen: Seen, tokenizer: Tokenizer | None) -> None:
        """Counts an item; of one that cannot be used, only that it is there."""
        self.items += 1
        if seen.entry is None or seen.faults:
            self.bad += 1
            return
        annotation, picture = seen.entry.annotation, seen.entry.picture
        if picture is None:
            self.text_only += 1
        elif picture not in self.pictures:
            self.pictures.add(picture)
            if seen.size is not None:
                self.widths.add(seen.size[0])
                self.heights.add(seen.size[1])
        self.marks.update("points" if is_point(prompt) else "boxes" for prompt in annotation.prompts)
        self.marks_per_item.add(len(annotation.prompts))
        self.turns.add(len(annotation.turns))
        for turn in annotation.turns:
            answer = clean(turn.answer or "")
            self.answers.add(len(answer.split() if tokenizer is None else tokenizer.encode(answer)))
            asked = task_of(turn.question)
            self.tasks[FREE if asked is None else f"{asked[0]}, {'points' if asked[1] else 'boxes'}"] += 1
            wording = clean(turn.question)
            if asked is None and (wording in self.wordings or len(self.wordings) < WORDINGS):
                self.wordings[wording] += 1


@dataclass(frozen=True)
class Stats:
    """All sources of a configuration; answers are counted in `unit`s."""

    config: str
    unit: str
    sources: list[SourceStats]

    def share(self, figures: SourceStats) -> float:
        """Their part of the items that an epoch takes."""
        return figures.used / max(1, sum(other.used for other in self.sources))


def collect(
    config: str | Path, only: str, max_prompts: int, tokenizer: Tokenizer | None, workers: int, skip_pictures: bool
) -> Stats:
    """Reads all items of the files with `only` in their path.

    Raises ConfigError for a wrong configuration, UsageError for an `only` that no path has, and DataError for a file
    that cannot be read to its end: figures of a part would mislead.
    """
    found = []
    with Pictures(workers) as pictures:
        for source in chosen_sources(config, only):
            stats = SourceStats(source)
            for seen in walk(source, max_prompts, None if skip_pictures else pictures):
                if seen.number is None:
                    raise DataError(str(seen.faults[0]))
                stats.add(seen, tokenizer)
            found.append(stats)
    return Stats(str(config), "words" if tokenizer is None else "tokens", found)


def as_json(stats: Stats) -> str:
    """All figures as one JSON object."""
    return json.dumps(
        {"config": stats.config, "unit": stats.unit, "sources": [_values(stats, figures) for figures in stats.sources]},
        ensure_ascii=False,
        indent=1,
    )


def _values(stats: Stats, figures: SourceStats) -> dict[str, Any]:
    return {
        "path": str(figures.source.path),
        "type": figures.source.type,
        "ratio": figures.source.ratio,
        "items": figures.items,
        "bad": figures.bad,
        "used": figures.used,
        "share": round(stats.share(figures), 6),
        "pictures": len(figures.pictures),
        "text_only": figures.text_only,
        "marks": dict(sorted(figures.marks.items())),
        "marks_per_item": figures.marks_per_item.summary(),
        "turns": figures.turns.summary(),
        "answers": figures.answers.summary(),
        "widths": figures.widths.summary(),
        "heights": figures.heights.summary(),
        "tasks": dict(figures.tasks.most_common()),
        "free_wordings": dict(figures.wordings.most_common(5)),
    }


def as_text(stats: Stats) -> str:
    """All figures for people: one block a source, the share of training first."""
    used = sum(figures.used for figures in stats.sources)
    lines = [f"{stats.config}: {len(stats.sources)} sources, {used:,} items an epoch"]
    for figures in stats.sources:
        lines += ["", *_block(stats, figures)]
    return "\n".join(lines)


def _block(stats: Stats, figures: SourceStats) -> list[str]:
    ratio = "" if figures.source.ratio == 1 else f", ratio {figures.source.ratio:g}"
    bad = f", {figures.bad:,} of them bad: see check" if figures.bad else ""
    rows = [
        ("of training", f"{100 * stats.share(figures):.1f} %: {figures.used:,} items an epoch"),
        ("in the file", f"{figures.items:,} items{ratio}{bad}"),
        ("pictures", f"{len(figures.pictures):,}; {figures.text_only:,} items of text alone"),
        ("marks", ", ".join(f"{count:,} {kind}" for kind, count in sorted(figures.marks.items())) or "none"),
        ("marks an item", _spread(figures.marks_per_item)),
        ("turns an item", _spread(figures.turns)),
        (f"answer {stats.unit}", _spread(figures.answers)),
        ("width, pixels", _spread(figures.widths)),
        ("height, pixels", _spread(figures.heights)),
    ]
    lines = [f"{figures.source.path} ({figures.source.type})"]
    lines += [f"  {name:<15} {value}" for name, value in rows if value]
    for number, (task, count) in enumerate(figures.tasks.most_common()):
        lines.append(f"  {'questions' if number == 0 else '':<15} {count:,} × {task}")
    for wording, count in figures.wordings.most_common(3):
        text = " ".join(wording.split())
        lines.append(f"  {'':<15}   {count:,} × {text[:90]}{'…' if len(text) > 90 else ''}")
    return lines


def _spread(lengths: Lengths) -> str:
    summary = lengths.summary()
    if not summary["count"]:
        return ""
    if summary["min"] == summary["max"]:
        return f"{summary['min']:,}"
    return f"{summary['min']:,} to {summary['max']:,}, median {summary['median']:,}, 95 % up to {summary['p95']:,}"
