"""Checks every item of a data configuration and says what is wrong, by kind, with file, item and reason."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from accessory.data.inspect.duplicates import Duplicates
from accessory.data.inspect.faults import KINDS, Fault, outside, text_faults
from accessory.data.inspect.lengths import Lengths, bars
from accessory.data.inspect.pictures import Pictures
from accessory.data.inspect.reading import chosen_sources
from accessory.data.inspect.walk import Seen, walk
from accessory.data.sources import Entry, LocatedSource
from accessory.data.texts import fit_turns
from SPHINX_V.processing.processor import Processor

EDGE = 1.0  # pixels by which a mark may overstep its picture: published boxes are rounded


@dataclass(frozen=True)
class CheckOptions:
    """How thorough a check is. Lengths are tokens with a `processor`, else words.

    `only`: a part of the paths of the sources that are looked at. `max_words`: tokens that a sample may take, the
    picture's included; needs the processor.
    """

    max_prompts: int
    only: str = ""
    tolerance: float = EDGE
    decode: bool = False
    skip_pictures: bool = False
    workers: int = 8
    processor: Processor | None = None
    max_words: int | None = None


@dataclass
class Report:
    """What a check found. `truncated` items lose turns at their end to `max_words`."""

    config: str
    unit: str
    files: int = 0
    items: int = 0
    pictures: int = 0
    truncated: int = 0
    faults: list[Fault] = field(default_factory=list)
    lengths: Lengths = field(default_factory=Lengths)

    def counts(self) -> dict[str, int]:
        """Faults by kind, in the order of KINDS, without the kinds that did not occur."""
        counted = Counter(fault.kind for fault in self.faults)
        return {kind: counted[kind] for kind in KINDS if kind in counted}


def check(config: str | Path, options: CheckOptions) -> Report:
    """Looks at all items of all files, `ratio` left aside. Raises ConfigError for a configuration that is wrong."""
    report = Report(str(config), "words" if options.processor is None else "tokens")
    duplicates = Duplicates()
    sources = chosen_sources(config, options.only)
    first_with: dict[Path, int] = {}
    with Pictures(options.workers, options.decode) as pictures:
        for index, source in enumerate(sources):
            if first_with.setdefault(source.path, index) != index:
                reason = "the configuration lists this file once more; its items count twice"
                report.faults.append(Fault("duplicate", str(source.path), None, reason))
                continue
            report.files += 1
            for seen in walk(source, options.max_prompts, None if options.skip_pictures else pictures):
                report.faults += seen.faults
                if seen.number is None:
                    continue
                report.items += 1
                if seen.entry is not None:
                    report.faults += _content_faults(seen, seen.entry, options, report)
                    duplicates.add(seen.entry, index, seen.number)
        report.pictures = len(pictures.seen)
    report.faults += _duplicates(duplicates, sources)
    return report


def _content_faults(seen: Seen, entry: Entry, options: CheckOptions, report: Report) -> Iterator[Fault]:
    """Faults of an item whose form is good; its length is added to the report."""
    annotation = entry.annotation
    if seen.size is not None:
        for reason in outside(annotation.prompts, seen.size, options.tolerance):
            yield Fault("outside", seen.file, seen.number, reason)
    for kind, reason in text_faults(annotation):
        yield Fault(kind, seen.file, seen.number, reason)
    if options.processor is None:
        report.lengths.add(sum(len(f"{turn.question} {turn.answer}".split()) for turn in annotation.turns))
        return
    report.lengths.add(options.processor.conversation_length(annotation.turns))
    if options.max_words is None:
        return
    visual = 0 if entry.picture is None else options.processor.config.visual_length
    fit = fit_turns(annotation.turns, options.max_words - visual, options.processor)
    if fit is None:
        reason = f"the first answer does not fit into {options.max_words} tokens, of which the picture takes {visual}"
        yield Fault("no-target", seen.file, seen.number, reason)
    elif fit.turns < len(annotation.turns):
        report.truncated += 1


def _duplicates(duplicates: Duplicates, sources: Sequence[LocatedSource]) -> Iterator[Fault]:
    for (source, number), (first_source, first_number) in duplicates.pairs():
        path, first = sources[source].path, sources[first_source].path
        where = f"item {first_number}" if path == first else f"{first}, item {first_number}"
        yield Fault("duplicate", str(path), number, f"the same picture, marks and conversation as {where}")


def as_json(report: Report, allowed: Sequence[str] = ()) -> str:
    """The whole report as one JSON object, every fault in it. Faults of `allowed` kinds leave `good` true."""
    values: dict[str, Any] = {
        "config": report.config,
        "good": not _refused(report, allowed),
        "files": report.files,
        "items": report.items,
        "pictures": report.pictures,
        "truncated": report.truncated,
        "counts": report.counts(),
        "allowed": list(allowed),
        "lengths": {
            "unit": report.unit,
            **report.lengths.summary(),
            "histogram": [{"from": low, "to": high, "count": n} for low, high, n in report.lengths.histogram()],
        },
        "faults": [fault._asdict() for fault in report.faults],
    }
    return json.dumps(values, ensure_ascii=False, indent=1)


def as_text(report: Report, allowed: Sequence[str] = (), shown: int = 10) -> str:
    """The report for people: a line that says it all, faults by kind with the first `shown` (0: all), lengths."""
    counts = report.counts()
    lines = [
        f"{report.config}: {_many(report.files, 'file')}, {_many(report.items, 'item')},"
        f" {_many(report.pictures, 'picture')} looked at;"
        f" {_many(len(report.faults), 'fault') if counts else 'no fault'}"
    ]
    for kind, count in counts.items():
        lines += ["", f"{kind}: {count:,}{' (allowed)' if kind in allowed else ''}: {KINDS[kind]}"]
        faults = [fault for fault in report.faults if fault.kind == kind]
        lines += [f"  {fault}" for fault in (faults[:shown] if shown else faults)]
        if shown and count > shown:
            lines.append(f"  … and {count - shown:,} more; --show 0 lists all")
    if len(report.lengths):
        summary = report.lengths.summary()
        what = "conversation with its template" if report.unit == "tokens" else "questions and answers"
        lines += [
            "",
            f"text in {report.unit} ({what}): shortest {summary['min']:,}, median {summary['median']:,},"
            f" 95 % up to {summary['p95']:,}, longest {summary['max']:,}",
            *(f"  {line}" for line in bars(report.lengths.histogram())),
        ]
    if report.truncated:
        lines += [
            "",
            f"{_many(report.truncated, 'item')} longer than --max_words: training leaves out their last turns",
        ]
    return "\n".join(lines)


def exit_code(report: Report, allowed: Sequence[str] = ()) -> int:
    """0 where nothing is wrong but what is allowed, else 1."""
    return 1 if _refused(report, allowed) else 0


def _refused(report: Report, allowed: Sequence[str]) -> list[str]:
    return [kind for kind in report.counts() if kind not in allowed]


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"
