"""Times the start of training on a large annotation file: our index on disk against `json.load` in every process.

`python -m benchmarks.annotation_index --items 1000000 --processes 2 --folder DIR [--record FILE.json]`
"""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy
import torch

from accessory.config import DataOptions
from accessory.data.dataset import RegionDataset
from accessory.data.labels import answer, question
from accessory.data.loader import MicroBatches
from accessory.data.sources import BadItems
from accessory.tools.tokenizer import train_tokenizer
from benchmarks import _measure
from benchmarks._measure import Numbers
from SPHINX_V.config import sphinx_v_13b
from SPHINX_V.processing.processor import Processor
from SPHINX_V.processing.tokenizer import Tokenizer

WAYS = ("index", "json")
WORDS = ("bowl", "broccoli", "tennis racket", "sports ball", "traffic light", "fire hydrant", "cell phone", "person")
READ = 1000  # items that each process reads at random places
SCALE = 2**20


def annotation(number: int, chance: random.Random) -> dict[str, Any]:
    """An item as stage 1 has millions of: boxes and their labels."""
    marks = chance.randrange(1, 11)
    return {
        "image": f"train2017/{number:012d}.jpg",
        "conversations": [
            {"from": "human", "value": f"<image>\n{question('labels', points=False)}"},
            {"from": "gpt", "value": answer(chance.choices(WORDS, k=marks), points=False)},
        ],
        "bbox": [[round(chance.uniform(1, 300), 2) for _ in range(4)] for _ in range(marks)],
    }


def write(folder: Path, items: int) -> None:
    """Annotation file, data configuration and tokenizer, unless they are there."""
    path = folder / f"items_{items}.json"
    if not path.exists():
        chance, temporary = random.Random(0), path.with_suffix(".part")
        with temporary.open("w", encoding="utf-8") as file:
            for number in range(items):
                file.write(("[" if number == 0 else ",\n") + json.dumps(annotation(number, chance)))
            file.write("]\n")
        temporary.replace(path)
    config = {"META": [{"path": path.name, "type": "image_text"}]}
    (folder / "data.yaml").write_text(json.dumps(config), encoding="utf-8")  # YAML reads JSON
    if not (folder / "tokenizer.model").exists():
        (folder / "corpus.txt").write_text("\n".join(WORDS * 50), encoding="utf-8")
        (folder / "tokenizer.model").write_bytes(train_tokenizer(folder / "corpus.txt", 420))


def memory() -> Numbers:
    """MiB of this process: resident, and of that what it shares with no other."""
    lines = Path("/proc/self/smaps_rollup").read_text(encoding="utf-8").splitlines()[1:]
    kib = {name: int(value.split()[0]) for name, value in (line.split(":") for line in lines)}
    return {"resident_mib": kib["Rss"] / 1024, "private_mib": (kib["Private_Clean"] + kib["Private_Dirty"]) / 1024}


def start_index(folder: Path, reads: Iterable[int]) -> Numbers:
    """Seconds until the first batch of an epoch is chosen, and those of reading items."""
    processor = Processor(sphinx_v_13b(), Tokenizer.from_file(folder / "tokenizer.model"))
    options = DataOptions(config=str(folder / "data.yaml"), max_words=2048, check_pictures=False)
    clock = [time.perf_counter()]
    dataset = RegionDataset(options, processor, 0, BadItems())
    clock.append(time.perf_counter())
    MicroBatches(dataset, 24, 4, 0, 0, 8).indices(0)
    clock.append(time.perf_counter())
    for index in reads:
        dataset.entry(index)
    clock.append(time.perf_counter())
    after = memory()
    return {**durations(clock), **after}


def start_json(folder: Path, reads: Iterable[int]) -> Numbers:
    """The same with the whole file parsed, and an order of the same kind drawn; what items are is not looked at."""
    (source,) = json.loads((folder / "data.yaml").read_text(encoding="utf-8"))["META"]
    clock = [time.perf_counter()]
    with (folder / source["path"]).open(encoding="utf-8") as file:
        items = json.load(file)
    clock.append(time.perf_counter())
    order = numpy.random.default_rng(0).permutation(len(items))
    clock.append(time.perf_counter())
    seen = [items[order[index]]["image"] for index in reads]
    clock.append(time.perf_counter())
    assert len(seen) == READ
    after = memory()
    return {**durations(clock), **after}


def durations(clock: list[float]) -> Numbers:
    names = ("start_seconds", "order_seconds", "read_seconds")
    return {name: later - earlier for name, earlier, later in zip(names, clock, clock[1:])}


def measure_here(way: str, folder: Path, items: int) -> Numbers:
    """What one fresh process takes; memory is what came on top of the imported modules."""
    before = memory()
    reads = numpy.random.default_rng(os.getpid()).integers(0, items, READ).tolist()
    result = (start_index if way == "index" else start_json)(folder, reads)
    return {**result, **{name: result[name] - before[name] for name in before}}


def measure(way: str, folder: Path, items: int, processes: int) -> Numbers:
    """Means over processes that start together, each an interpreter of its own."""
    command = [sys.executable, "-m", "benchmarks.annotation_index", "--way", way, "--items", str(items)]
    running = [
        subprocess.Popen([*command, "--folder", str(folder)], stdout=subprocess.PIPE, text=True)
        for _ in range(processes)
    ]
    results = [json.loads(process.communicate()[0]) for process in running]
    return {name: statistics.mean(result[name] for result in results) for name in results[0]}


def compare(folder: Path, items: int, processes: int, repeats: int) -> dict[str, Any]:
    """The first build, then medians of both ways in turn."""
    write(folder, items)
    started = time.perf_counter()
    measure("index", folder, items, 1)
    built = time.perf_counter() - started
    ways = {way: lambda way=way: measure(way, folder, items, processes) for way in WAYS}
    found = {way: _measure.medians(rounds) for way, rounds in _measure.in_turn(ways, repeats).items()}
    size = (folder / f"items_{items}.json").stat().st_size / SCALE
    return {"file_mib": round(size, 1), "first_start_seconds": round(built, 2), **found}


def main() -> None:
    """Command line; prints the record and writes it where asked."""
    parser = _measure.command_line("annotation_index", __doc__, repeats=5)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--processes", type=int, default=2, help="that start together, as ranks and workers do")
    parser.add_argument("--folder", type=Path, help="keeps the annotation file and its index; else a temporary one")
    parser.add_argument("--way", choices=WAYS, help="measure one way in this process, and print that alone")
    options = parser.parse_args()
    if options.way is not None:
        print(json.dumps(measure_here(options.way, options.folder, options.items)))
        return
    head = _measure.begin(parser, options, torch.device("cpu"))
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        measured = compare(folder, options.items, options.processes, options.repeats)
    _measure.finish({**head, "memory": "added to a process that has imported everything", **measured}, options.record)


if __name__ == "__main__":
    main()
