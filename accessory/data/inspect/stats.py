"""Figures of every source of a data configuration: how much there is of what."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from accessory.data.inspect.lengths import Lengths
from accessory.data.inspect.pictures import Pictures
from accessory.data.inspect.reading import Origin, origins
from accessory.data.inspect.walk import Seen, walk
from accessory.data.labels import task_of
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

    origin: Origin
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
        return round(self.origin.source.ratio * self.items)

    def add(self, seen: Seen, tokenizer: Tokenizer | None) -> None:
        """Counts an item; of one that cannot be used, only that it is there."""
        self.items += 1
        if seen.annotation is None or seen.faults:
            self.bad += 1
            return
        annotation = seen.annotation
        if seen.picture is None:
            self.text_only += 1
        elif seen.picture not in self.pictures:
            self.pictures.add(seen.picture)
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

    def share(self, source: SourceStats) -> float:
        """The source's part of the items that an epoch takes."""
        return source.used / max(1, sum(other.used for other in self.sources))


def collect(
    config: str | Path, only: str, max_prompts: int, tokenizer: Tokenizer | None, workers: int, skip_pictures: bool
) -> Stats:
    """Reads all items of the files with `only` in their path.

    Raises ConfigError for a wrong configuration, UsageError for an `only` that no path has, and DataError for a file
    that cannot be read to its end: figures of a part would mislead.
    """
    found = []
    with Pictures(workers) as pictures:
        for origin in origins(config, only):
            stats = SourceStats(origin)
            for seen in walk(origin, max_prompts, None if skip_pictures else pictures):
                if seen.number is None:
                    raise DataError(str(seen.faults[0]))
                stats.add(seen, tokenizer)
            found.append(stats)
    return Stats(str(config), "words" if tokenizer is None else "tokens", found)


def as_json(stats: Stats) -> str:
    """All figures as one JSON object."""
    return json.dumps(
        {"config": stats.config, "unit": stats.unit, "sources": [_values(stats, source) for source in stats.sources]},
        ensure_ascii=False,
        indent=1,
    )


def _values(stats: Stats, source: SourceStats) -> dict[str, Any]:
    return {
        "path": str(source.origin.path),
        "type": source.origin.source.type,
        "ratio": source.origin.source.ratio,
        "items": source.items,
        "bad": source.bad,
        "used": source.used,
        "share": round(stats.share(source), 6),
        "pictures": len(source.pictures),
        "text_only": source.text_only,
        "marks": dict(sorted(source.marks.items())),
        "marks_per_item": source.marks_per_item.summary(),
        "turns": source.turns.summary(),
        "answers": source.answers.summary(),
        "widths": source.widths.summary(),
        "heights": source.heights.summary(),
        "tasks": dict(source.tasks.most_common()),
        "free_wordings": dict(source.wordings.most_common(5)),
    }


def as_text(stats: Stats) -> str:
    """All figures for people: one block a source, the share of training first."""
    used = sum(source.used for source in stats.sources)
    lines = [f"{stats.config}: {len(stats.sources)} sources, {used:,} items an epoch"]
    for source in stats.sources:
        lines += ["", *_block(stats, source)]
    return "\n".join(lines)


def _block(stats: Stats, source: SourceStats) -> list[str]:
    origin = source.origin
    ratio = "" if origin.source.ratio == 1 else f", ratio {origin.source.ratio:g}"
    bad = f", {source.bad:,} of them bad: see check" if source.bad else ""
    rows = [
        ("of training", f"{100 * stats.share(source):.1f} %: {source.used:,} items an epoch"),
        ("in the file", f"{source.items:,} items{ratio}{bad}"),
        ("pictures", f"{len(source.pictures):,}; {source.text_only:,} items of text alone"),
        ("marks", ", ".join(f"{count:,} {kind}" for kind, count in sorted(source.marks.items())) or "none"),
        ("marks an item", _spread(source.marks_per_item)),
        ("turns an item", _spread(source.turns)),
        (f"answer {stats.unit}", _spread(source.answers)),
        ("width, pixels", _spread(source.widths)),
        ("height, pixels", _spread(source.heights)),
    ]
    lines = [f"{origin.path} ({origin.source.type})"]
    lines += [f"  {name:<15} {value}" for name, value in rows if value]
    for number, (task, count) in enumerate(source.tasks.most_common()):
        lines.append(f"  {'questions' if number == 0 else '':<15} {count:,} × {task}")
    for wording, count in source.wordings.most_common(3):
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
