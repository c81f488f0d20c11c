"""Times our loader on one core, in pictures a second, against plain PIL that opens and resizes the same files.

`python -m benchmarks.picture_loading --pictures 200 --repeats 5 [--folder DIR] [--record FILE.json]`
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
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
from benchmarks import _measure
from benchmarks._measure import Numbers
from SPHINX_V.config import PRESETS
from SPHINX_V.processing.image import open_picture, square_picture
from SPHINX_V.processing.processor import Processor
from SPHINX_V.processing.tokenizer import Tokenizer

SIZES = ((640, 480), (480, 640), (640, 427), (500, 375), (640, 640))  # of COCO's pictures
MARKS = 5
BATCH = 8


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


def ways(folder: Path, paths: list[Path], preset: str) -> dict[str, Callable[[], Numbers]]:
    """Plain PIL; our opening and squaring; and whole batches, with boxes moved, texts, slots and normalised pixels."""
    size = PRESETS[preset]().vision.picture_size
    processor = Processor(PRESETS[preset](), Tokenizer.from_file(folder / "tokenizer.model"))
    options = DataOptions(config=str(folder / "data.yaml"), max_words=2048)

    def plain() -> Numbers:
        start = time.process_time()
        for path in paths:
            with Image.open(path) as picture:
                picture.convert("RGB").resize((size, size), Image.Resampling.BICUBIC)
        return rate(start)

    def squared() -> Numbers:
        start = time.process_time()
        for path in paths:
            square_picture(open_picture(path), size)
        return rate(start)

    def loaded() -> Numbers:
        dataset = RegionDataset(options, processor, 0, BadItems())  # anew: it keeps the texts that it has read
        batches = MicroBatches(dataset, BATCH, 1, 0, 0, 1)
        start = time.process_time()
        for _ in batches.steps(0, len(paths) // BATCH, workers=0):
            pass
        return rate(start)

    def rate(start: float) -> Numbers:
        return {"pictures_per_second": len(paths) / (time.process_time() - start)}

    return {"plain_pil": plain, "open_and_square": squared, "loader": loaded}


def measure(folder: Path, pictures: int, preset: str, repeats: int) -> dict[str, Any]:
    """Medians of pictures a second of the processor's time. Waiting for a disk does not count, and the first round
    fills the system's file cache."""
    found = _measure.in_turn(ways(folder, write(folder, pictures), preset), repeats)
    return {
        "pictures_per_second_and_core": {
            name: _measure.medians(rounds, digits=1)["pictures_per_second"] for name, rounds in found.items()
        },
        "share_of_plain_pil": {
            name: _measure.ratio(rounds, found["plain_pil"], "pictures_per_second")
            for name, rounds in found.items()
            if name != "plain_pil"
        },
    }


def main() -> None:
    """Command line; prints the record and writes it where asked."""
    parser = _measure.command_line("picture_loading", __doc__, repeats=5)
    parser.add_argument("--preset", choices=sorted(PRESETS), default="sphinx_v_13b", help="decides the picture's size")
    parser.add_argument("--pictures", type=int, default=200, help=f"a multiple of {BATCH}, the batch size")
    parser.add_argument("--folder", type=Path, help="keeps the pictures; else a temporary one")
    options = parser.parse_args()
    if options.pictures < BATCH or options.pictures % BATCH:
        parser.error(f"--pictures is {options.pictures}; give a multiple of {BATCH}, the batch size.")
    torch.set_num_threads(1)
    head = _measure.begin(parser, options, torch.device("cpu"))
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        measured = measure(folder, options.pictures, options.preset, options.repeats)
    _measure.finish({**head, "pillow": PIL.__version__, **measured}, options.record)


if __name__ == "__main__":
    main()
