"""Times the start of training on a large annotation file: our index on disk against `json.load` in every process.

`python -m benchmarks.annotation_index --items 1000000 --processes 2 --folder DIR [--record FILE.json]`
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from datetime import date
from pathlib import Path
from typing import Any

import numpy

from accessory.config import DataOptions
from accessory.data.dataset import RegionDataset
from accessory.data.labels import answer, question
from accessory.data.loader import MicroBatches
from accessory.data.sources import BadItems
from accessory.tools.tokenizer import train_tokenizer
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


def memory() -> dict[str, float]:
    """MiB of this process: resident, and of that what it shares with no other."""
    lines = Path("/proc/self/smaps_rollup").read_text(encoding="utf-8").splitlines()[1:]
    kib = {name: int(value.split()[0]) for name, value in (line.split(":") for line in lines)}
    return {"resident_mib": kib["Rss"] / 1024, "private_mib": (kib["Private_Clean"] + kib["Private_Dirty"]) / 1024}


def start_index(folder: Path, reads: Iterable[int]) -> dict[str, float]:
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


def start_json(folder: Path, reads: Iterable[int]) -> dict[str, float]:
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


def durations(clock: list[float]) -> dict[str, float]:
    names = ("start_seconds", "order_seconds", "read_seconds")
    return {name: later - earlier for name, earlier, later in zip(names, clock, clock[1:])}


def measure_here(way: str, folder: Path, items: int) -> dict[str, float]:
    """What one fresh process takes; memory is what came on top of the imported modules."""
    before = memory()
    reads = numpy.random.default_rng(os.getpid()).integers(0, items, READ).tolist()
    result = (start_index if way == "index" else start_json)(folder, reads)
    return {**result, **{name: result[name] - before[name] for name in before}}


def measure(way: str, folder: Path, items: int, processes: int) -> dict[str, float]:
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
    found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    for _ in range(repeats):
        for way in WAYS:
            found[way].append(measure(way, folder, items, processes))
    medians = {
        way: {name: round(statistics.median(run[name] for run in runs), 4) for name in runs[0]}
        for way, runs in found.items()
    }
    size = (folder / f"items_{items}.json").stat().st_size / SCALE
    return {"file_mib": round(size, 1), "first_start_seconds": round(built, 2), **medians}


def main() -> None:
    """Command line; prints the record and writes it where asked."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.annotation_index", description=__doc__)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--processes", type=int, default=2, help="that start together, as ranks and workers do")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="keeps the annotation file and its index; else a temporary one")
    parser.add_argument("--record", type=Path, help="JSON file to write")
    parser.add_argument("--way", choices=WAYS, help="measure one way in this process, and print that alone")
    options = parser.parse_args()
    if options.way is not None:
        print(json.dumps(measure_here(options.way, options.folder, options.items)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        measured = compare(folder, options.items, options.processes, options.repeats)
    record = {
        "date": date.today().isoformat(),
        "device": platform.processor() or "CPU",
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "items": options.items,
        "processes": options.processes,
        "repeats": options.repeats,
        "memory": "added to a process that has imported everything",
        **measured,
    }
    text = json.dumps(record, indent=2)
    print(text)
    if options.record is not None:
        options.record.parent.mkdir(parents=True, exist_ok=True)
        options.record.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
