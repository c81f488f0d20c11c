"""Times our loader on one core, in pictures a second, against plain PIL that opens and resizes the same files.

`python -m benchmarks.picture_loading --pictures 200 --repeats 5 [--folder DIR] [--record FILE.json]`
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy
import PIL
import torch
from PIL import Image

from accessory.config import DataOptions
from accessory.data.dataset import RegionDataset
from accessory.data.labels import answer, question
from accessory.data.loader import MicroBatches
from accessory.data.sources import BadItems
from accessory.tools.tokenizer import train_tokenizer
from SPHINX_V.config import PRESETS
from SPHINX_V.processing.image import open_picture, square_picture
from SPHINX_V.processing.processor import Processor
from SPHINX_V.processing.tokenizer import Tokenizer

SIZES = ((640, 480), (480, 640), (640, 427), (500, 375), (640, 640))  # of COCO's pictures
MARKS = 5


def write(folder: Path, pictures: int) -> list[Path]:
    """JPEG files of smooth noise, an annotation about each, and a tokenizer; the paths of the pictures."""
    noise, paths, items = numpy.random.default_rng(0), [], []
    for number in range(pictures):
        width, height = SIZES[number % len(SIZES)]
        coarse = noise.integers(0, 256, (height // 8, width // 8, 3), dtype=numpy.uint8)
        path = folder / f"{number:06d}.jpg"
        Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).save(path, quality=90)
        paths.append(path)
        boxes = [[20 * mark + 1.5, 10.0, 100.0, 80.0] for mark in range(MARKS)]
        conversation = [
            {"from": "human", "value": question("labels", points=False)},
            {"from": "gpt", "value": answer(["bowl"] * MARKS, points=False)},
        ]
        items.append({"image": path.name, "conversations": conversation, "bbox": boxes})
    (folder / "items.json").write_text(json.dumps(items), encoding="utf-8")
    config = {"META": [{"path": "items.json", "type": "image_text"}]}
    (folder / "data.yaml").write_text(json.dumps(config), encoding="utf-8")  # YAML reads JSON
    letters = numpy.array(list("abcdefghijklmnopqrstuvwxyz"))
    (folder / "corpus.txt").write_text("\n".join(map("".join, noise.choice(letters, (2000, 6)))), encoding="utf-8")
    (folder / "tokenizer.model").write_bytes(train_tokenizer(folder / "corpus.txt", 400))
    return paths


def ways(folder: Path, paths: list[Path], preset: str) -> dict[str, Callable[[], None]]:
    """Plain PIL; our opening and squaring; and whole batches, with boxes moved, texts, slots and normalised pixels."""
    size = PRESETS[preset]().vision.picture_size
    processor = Processor(PRESETS[preset](), Tokenizer.from_file(folder / "tokenizer.model"))
    options = DataOptions(config=str(folder / "data.yaml"), max_words=2048)
    dataset = RegionDataset(options, processor, 0, BadItems())
    batches = MicroBatches(dataset, 8, 1, 0, 0, 1)

    def plain() -> None:
        for path in paths:
            with Image.open(path) as picture:
                picture.convert("RGB").resize((size, size), Image.Resampling.BICUBIC)

    def squared() -> None:
        for path in paths:
            square_picture(open_picture(path), size)

    def loaded() -> None:
        for _ in batches.steps(0, len(paths) // 8, workers=0):
            pass

    return {"plain_pil": plain, "open_and_square": squared, "loader": loaded}


def measure(folder: Path, pictures: int, preset: str, repeats: int) -> dict[str, Any]:
    """Medians of pictures a second of the processor's time, all ways in turn. Waiting for a disk does not count."""
    found: dict[str, list[float]] = {}
    paths = write(folder, pictures)
    for number in range(repeats + 1):  # the first round warms up, and fills the system's file cache
        for name, work in ways(folder, paths, preset).items():
            start = time.process_time()
            work()
            if number:
                found.setdefault(name, []).append(pictures / (time.process_time() - start))
    medians = {name: statistics.median(rates) for name, rates in found.items()}
    return {
        "pictures_per_second_and_core": {name: round(rate, 1) for name, rate in medians.items()},
        "share_of_plain_pil": {
            name: round(medians[name] / medians["plain_pil"], 3) for name in ("open_and_square", "loader")
        },
    }


def main() -> None:
    """Command line; prints the record and writes it where asked."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.picture_loading", description=__doc__)
    parser.add_argument("--preset", choices=sorted(PRESETS), default="sphinx_v_13b", help="decides the picture's size")
    parser.add_argument("--pictures", type=int, default=200, help="a multiple of 8, the batch size")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="keeps the pictures; else a temporary one")
    parser.add_argument("--record", type=Path, help="JSON file to write")
    options = parser.parse_args()
    if options.pictures < 8 or options.pictures % 8:
        parser.error(f"--pictures is {options.pictures}; give a multiple of 8, the batch size.")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        measured = measure(folder, options.pictures, options.preset, options.repeats)
    record = {
        "date": date.today().isoformat(),
        "device": platform.processor() or "CPU",
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "pillow": PIL.__version__,
        "preset": options.preset,
        "pictures": options.pictures,
        "repeats": options.repeats,
        **measured,
    }
    text = json.dumps(record, indent=2)
    print(text)
    if options.record is not None:
        options.record.parent.mkdir(parents=True, exist_ok=True)
        options.record.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
