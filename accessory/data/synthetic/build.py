"""Makes the data set: draws the pictures in several processes and collects their items into files."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from SPHINX_V.errors import UsageError

from .files import (
    Summary,
    corpus_lines,
    is_own_output,
    write_config,
    write_corpus,
    write_items,
    write_manifest,
)
from .pictures import draw_picture
from .plan import ALL_SERIES, DOMAINS, EXTENTS, STAGES, Series, series_name, training_series
from .publish import filled_aside
from .questions import Item, ask
from .records import annotation, benchmark_item
from .seeds import Split, picture_seed, stream


@dataclass(frozen=True, slots=True)
class _Job:
    """One picture to make."""

    folder: Path
    split: Split
    index: int
    seed: int

    @property
    def image_name(self) -> str:
        return f"{self.index:06d}.png"


def _run(job: _Job) -> list[Item]:
    """Draw and save one picture and ask about it; runs in a worker process."""
    seed = picture_seed(job.seed, job.split, job.index)
    drawn = draw_picture(DOMAINS[job.index % len(DOMAINS)], seed)
    drawn.image.save(job.folder / job.split / "images" / job.image_name, compress_level=1)
    wanted = training_series(job.index) if job.split == "train" else ALL_SERIES
    # Every series has its own generator, so a change to one leaves the items of the others as they are.
    asked = (ask(drawn, series, stream(seed, 1 + ALL_SERIES.index(series)), EXTENTS[job.split]) for series in wanted)
    return [item for item in asked if item is not None]


def _results(jobs: list[_Job], workers: int) -> Iterator[list[Item]]:
    """The items of each job, in the order of `jobs`."""
    if workers == 1:
        yield from map(_run, jobs)
        return
    # Spawned, not forked: the caller may hold threads (PyTorch does), and a forked child inherits their locks.
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        yield from pool.imap(_run, jobs, chunksize=16)


def _fill(folder: Path, jobs: list[_Job], workers: int) -> dict[Split, dict[Series, int]]:
    """Write pictures, item files, configs and corpus into the empty `folder`; returns the numbers of items."""
    records: dict[Split, dict[Series, list[dict[str, Any]]]] = {
        split: {series: [] for series in ALL_SERIES} for split in ("train", "heldout")
    }
    for split in records:
        (folder / split / "images").mkdir(parents=True)
    corpus: list[str] = []
    for job, items in zip(jobs, _results(jobs, workers), strict=True):
        for item in items:
            if job.split == "train":
                records["train"][item.series].append(annotation(item, f"images/{job.image_name}"))
                corpus.extend(corpus_lines(item))
            else:
                records["heldout"][item.series].append(benchmark_item(item, job.image_name, job.index))

    for split, parent in (("train", folder / "train" / "annotations"), ("heldout", folder / "heldout")):
        for series, written in records[split].items():
            # A series that a very small data set has nothing for gets no file, and no config lists it.
            if written:
                write_items(parent / f"{series_name(series)}.json", written)
    for stage, shares in STAGES.items():
        taken = {series: shares[series[0]] for series in ALL_SERIES if series[0] in shares and records["train"][series]}
        write_config(folder / f"{stage}.yaml", taken)
    write_corpus(folder / "corpus.txt", corpus)
    return {split: {series: len(kept) for series, kept in by.items()} for split, by in records.items()}


def generate(out: Path, items: int, heldout: int, seed: int, workers: int) -> Summary:
    """Write the data set into the folder `out`: `items` training pictures and `heldout` held-out ones.

    The same `seed` gives the same bytes, whatever `workers` (processes; with more than one the caller's script needs
    the usual `if __name__ == "__main__"` guard). `out` appears when everything is written; an earlier data set in
    it is replaced. Raises UsageError for a number out of range and for a folder that holds anything else.
    """
    for name, value, least in (
        ("items", items, 1),
        ("heldout", heldout, 0),
        ("seed", seed, 0),
        ("workers", workers, 1),
    ):
        if value < least:
            raise UsageError(f"{name} is {value}: give at least {least}")
    counts: list[tuple[Split, int]] = [("train", items), ("heldout", heldout)]
    with filled_aside(out, is_own_output) as folder:
        jobs = [_Job(folder, split, index, seed) for split, count in counts for index in range(count)]
        written = _fill(folder, jobs, workers)
        summary = Summary(
            pictures=dict(counts),
            items={split: {series_name(series): n for series, n in by.items()} for split, by in written.items()},
        )
        write_manifest(folder / "manifest.json", summary, seed)
    return summary
