"""Writes the files of the data set that are not pictures: item lists, stage configs, corpus, manifest."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import PIL

from .plan import STAGES, Series, series_name
from .questions import Item
from .vocabulary import COLORS, SHAPES, WORDS

GENERATOR = "SPHINX-V accessory.data.synthetic"
VERSION = 5  # raise it whenever the same seed gives another data set
CORPUS_LINES = 20_000
OWN_NAMES = frozenset({"train", "heldout", "corpus.txt", "manifest.json", *(f"{stage}.yaml" for stage in STAGES)})


@dataclass(frozen=True, slots=True)
class Summary:
    """What a data set holds: pictures by split, items by split and series."""

    pictures: dict[str, int]
    items: dict[str, dict[str, int]]


def write_items(path: Path, records: Iterable[dict[str, Any]]) -> None:
    """A JSON list, one record a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("[\n" + ",\n".join(map(json.dumps, records)) + "\n]\n", encoding="utf-8")


def write_config(path: Path, shares: Mapping[Series, float]) -> None:
    """A stage's data config, of each series the share that it takes; paths are relative to the folder it lies in."""
    entries = (
        f"  - path: train/annotations/{series_name(series)}.json\n    type: image_text\n    root: train\n"
        + ("" if share == 1 else f"    ratio: {share}\n")
        for series, share in shares.items()
    )
    path.write_text("META:\n" + "".join(entries), encoding="utf-8")


def corpus_lines(item: Item) -> Iterator[str]:
    """The questions and answers of `item` as lines of plain text, without the image tag."""
    for question, answer in item.turns:
        yield question
        yield from answer.split("\n")


def write_corpus(path: Path, lines: list[str]) -> None:
    """The text that a tokenizer is trained on: the first lines, which the cycle of domains has mixed already."""
    path.write_text("\n".join(lines[:CORPUS_LINES]) + "\n", encoding="utf-8")


def write_manifest(path: Path, summary: Summary, seed: int) -> None:
    """What made the folder, from which seed, with which words; also the sign that the folder may be replaced."""
    manifest = {
        "generator": GENERATOR,
        "version": VERSION,
        "pillow": PIL.__version__,
        "seed": seed,
        **asdict(summary),
        "vocabulary": {"colors": list(COLORS), "shapes": list(SHAPES), "words": list(WORDS)},
    }
    path.write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")


def is_own_output(folder: Path) -> bool:
    """Whether `folder` holds a data set that this package wrote, and nothing beside it that would be lost with it."""
    if not {path.name for path in folder.iterdir()} <= OWN_NAMES:
        return False
    manifest = folder / "manifest.json"
    try:
        content = json.loads(manifest.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError, UnicodeDecodeError):
        return False
    return isinstance(content, dict) and content.get("generator") == GENERATOR
