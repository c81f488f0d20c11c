"""Labelled regions of pictures → the files that training reads: items with boxes, items with points, config, corpus."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from accessory.data.labels import answer, question
from SPHINX_V.processing.conversation import IMAGE_TAG

CONFIG_FILE = "data.yaml"
CORPUS_FILE = "corpus.txt"


@dataclass(frozen=True)
class Region:
    """A labelled place: `box` x, y, width, height and `point` x, y, in pixels of the picture."""

    label: str
    box: tuple[float, float, float, float]
    point: tuple[float, float]


@dataclass(frozen=True)
class Picture:
    """A picture, its path relative to the root of all, with its regions; `key` tells it from others."""

    path: str
    key: str
    regions: tuple[Region, ...]


def groups(picture: Picture, max_marks: int, seed: int) -> Iterator[Sequence[Region]]:
    """The picture's regions in items of at most `max_marks`, in an order that `seed` and the picture's key decide."""
    regions = list(picture.regions)
    random.Random(f"{seed}/{picture.key}").shuffle(regions)
    for start in range(0, len(regions), max_marks):
        yield regions[start : start + max_marks]


def label_item(path: str, regions: Sequence[Region], points: bool) -> dict[str, Any]:
    """One annotation that asks for the labels of all its marks."""
    marks: dict[str, Any] = (
        {"points": [list(region.point) for region in regions]}
        if points
        else {"bbox": [list(region.box) for region in regions]}
    )
    return {
        "image": path,
        "conversations": [
            {"from": "human", "value": f"{IMAGE_TAG}\n{question('labels', points)}"},
            {"from": "gpt", "value": answer([region.label for region in regions], points)},
        ],
        **marks,
    }


def write_data_set(out: Path, pictures: Iterable[Picture], root: str, max_marks: int, seed: int) -> int:
    """Writes `labels_box.json`, `labels_point.json`, `data.yaml` and `corpus.txt` to `out`; returns the items of each.

    `root` is the pictures' folder, absolute or relative to `out`. The same arguments give the same bytes.
    """
    chosen = [(picture.path, group) for picture in pictures for group in groups(picture, max_marks, seed)]
    out.mkdir(parents=True, exist_ok=True)
    sources = []
    corpus: list[str] = []
    for points, name in ((False, "labels_box.json"), (True, "labels_point.json")):
        items = [label_item(path, group, points) for path, group in chosen]
        (out / name).write_text("[\n" + ",\n".join(map(json.dumps, items)) + "\n]\n", encoding="utf-8")
        sources.append({"path": name, "type": "image_text", "root": root})
        for item in items:
            asked, answered = (entry["value"] for entry in item["conversations"])
            corpus += [asked.removeprefix(f"{IMAGE_TAG}\n"), *answered.split("\n")]
    (out / CONFIG_FILE).write_text(yaml.safe_dump({"META": sources}, sort_keys=False), encoding="utf-8")
    (out / CORPUS_FILE).write_text("\n".join(corpus) + "\n", encoding="utf-8")
    return len(chosen)
