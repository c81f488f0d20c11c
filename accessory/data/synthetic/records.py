"""Writes an item down: as a training annotation or as a benchmark item."""

from __future__ import annotations

from typing import Any

from .plan import series_name
from .questions import Item

IMAGE_TAG = "<image>\n"


def _marks(item: Item) -> dict[str, list[list[float]]]:
    key = "points" if item.series[1] == "point" else "bbox"
    return {key: [list(mark) for mark in item.coordinates]}


def annotation(item: Item, image: str) -> dict[str, Any]:
    """The training annotation of `item` about the picture file `image` (relative to the annotations' root)."""
    conversations = []
    for turn, (question, answer) in enumerate(item.turns):
        conversations.append({"from": "human", "value": question if turn else IMAGE_TAG + question})
        conversations.append({"from": "gpt", "value": answer})
    return {"image": image, "conversations": conversations, **_marks(item)}


def benchmark_item(item: Item, image_name: str, question_id: int) -> dict[str, Any]:
    """The benchmark item of the last turn of `item`; the turns before it are its history."""
    *history, (question, answer) = item.turns
    return {
        "image_name": image_name,
        "question": question,
        "question_id": question_id,
        "dataset_name": f"synthetic_{series_name(item.series)}",
        "gt_answers": answer,
        **({"history": [list(turn) for turn in history]} if history else {}),
        **_marks(item),
    }
