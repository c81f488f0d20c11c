"""Small benchmark items on pictures drawn here, for the tests of evaluation."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from accessory.eval.items import BenchmarkItem
from SPHINX_V.prompts import Prompt


def picture_at(path: Path, size: tuple[int, int] = (100, 50), color: str = "grey") -> Path:
    """A plain picture of `size` (width, height)."""
    Image.new("RGB", size, color).save(path)
    return path


def item(
    picture: Path,
    prompts: tuple[Prompt, ...],
    number: int | str = 1,
    truth: str = "<Region 1>: red circle",
    question: str = "Please identify the labels of each marked region in the image.",
    dataset: str = "synthetic_labels_box",
) -> BenchmarkItem:
    return BenchmarkItem(number, dataset, picture, question, truth, prompts)
