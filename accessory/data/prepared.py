"""Findings about every source of a data configuration, made once by one process and kept beside the index."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy
from numpy.typing import NDArray
from tqdm import tqdm

from accessory.config import DataOptions
from accessory.data.index import AnnotationFile, build_index, index_place, open_index, store
from accessory.data.source_items import TRUNCATED, Fault, Findings, SourceItems
from accessory.data.sources import BadItems, LocatedSource, read_sources
from accessory.data.store import Stored, open_arrays
from SPHINX_V.errors import DataError
from SPHINX_V.processing.conversation import Turn, render
from SPHINX_V.processing.processor import Processor

_VERSION = 1  # of the findings' form, and of the rules by which items are judged and texts are cut
_PART = 8192  # items that one process looks at before it reports
_SEVERAL = 4 * _PART  # fewer items are looked at before other processes have started
_MOST_PROCESSES = 16


@dataclass
class PreparedSource:
    """A source with what was found about its items: `items`, `lengths` and `flags` as in `Findings`, memory-mapped."""

    reader: SourceItems
    stored: Stored

    @property
    def items(self) -> NDArray[numpy.uint32]:
        return self.stored.arrays["items"]

    @property
    def lengths(self) -> NDArray[numpy.int32]:
        return self.stored.arrays["lengths"]

    @property
    def flags(self) -> NDArray[numpy.uint8]:
        return self.stored.arrays["flags"]

    @property
    def too_long(self) -> int:
        """Items without a whole answer in the room for their text."""
        return int(self.stored.facts["too_long"])

    @property
    def looked_at(self) -> int:
        """Items that `ratio` takes, bad ones included."""
        return int(self.stored.facts["looked_at"])

    @property
    def truncated(self) -> int:
        """Items that lost turns at their end."""
        return int(numpy.count_nonzero(self.flags & TRUNCATED))

    def faults(self) -> list[Fault]:
        """What is wrong with the items that were left out, in their order."""
        lines = self.stored.arrays["faults"].tobytes().decode("utf-8").splitlines()
        return [Fault(**json.loads(line)) for line in lines]


def prepare(
    options: DataOptions, processor: Processor, bad: BadItems, is_builder: bool, barrier: Callable[[], None]
) -> list[PreparedSource]:
    """The sources of a data configuration, in its order, with findings from disk; the builder makes what is missing.

    All processes call it, the others wait at `barrier` until the builder is done. Bad items are refused (DataError), or
    with `on_bad_sample: skip` added to `bad`. Raises ConfigError where there is no place for the findings.
    """
    sources = read_sources(options.config)
    bad.max_rate = options.max_bad_rate
    if bad.file is None:
        first = index_place(sources[0].path, options.index_dir)
        bad.file = first.with_name(f"{Path(options.config).name}.bad_items.jsonl")
        bad.option = "data.index_dir"
    if is_builder:
        try:
            prepared = _build(sources, options, processor, bad)
            if bad.places:
                bad.write()
        finally:
            barrier()  # also after an error: the others would wait for ever
        return prepared
    barrier()
    prepared = [_opened(source, options, processor) for source in sources]
    bad.total += sum(source.looked_at for source in prepared)
    for source in prepared:
        _judge(source.faults(), options, bad)
    return prepared


def _build(
    sources: list[LocatedSource], options: DataOptions, processor: Processor, bad: BadItems
) -> list[PreparedSource]:
    readers = []
    for source in sources:
        file = build_index(source.path, index_place(source.path, options.index_dir))
        readers.append(_reader(source, file, options, processor))
    chosen = [source.choose(reader.file.numbers) for source, reader in zip(sources, readers)]
    bad.total += sum(map(len, chosen))
    prepared = []
    for reader, numbers in zip(readers, chosen):
        known = _open(reader, options)
        if known is None or _any_mended(known):
            known = _look_at(reader, numbers, options, bad)
        else:
            _judge(known.faults(), options, bad)
        prepared.append(known)
    return prepared


def _reader(source: LocatedSource, file: AnnotationFile, options: DataOptions, processor: Processor) -> SourceItems:
    return SourceItems(source, file, processor, options.max_words, options.check_pictures)


def _opened(source: LocatedSource, options: DataOptions, processor: Processor) -> PreparedSource:
    file = open_index(source.path, index_place(source.path, options.index_dir))
    prepared = None if file is None else _open(_reader(source, file, options, processor), options)
    if prepared is None:
        raise DataError(
            f"{source.path}: the process that prepares the data has left no findings here. It has failed, or does not"
            " share this folder: see its message, or name a shared folder in data.index_dir."
        )
    return prepared


def _open(reader: SourceItems, options: DataOptions) -> PreparedSource | None:
    key = _key(reader)
    stored = open_arrays(_path(reader, key, options))
    return None if stored is None or stored.facts["key"] != key else PreparedSource(reader, stored)


def _any_mended(prepared: PreparedSource) -> bool:
    """Whether a picture that was missing or broken is now a good one; it would else be left out for ever."""
    faults = (fault for fault in prepared.faults() if fault.of_picture)
    return any(not prepared.reader.look([fault.item]).faults for fault in faults)


def _judge(faults: list[Fault] | tuple[Fault, ...], options: DataOptions, bad: BadItems) -> None:
    """Refuses the first bad item, or notes all of them, as `on_bad_sample` says."""
    if faults and options.on_bad_sample == "refuse":
        raise DataError(faults[0].reason)
    bad.extend(fault.reason for fault in faults)


def _look_at(
    reader: SourceItems, numbers: NDArray[numpy.uint32], options: DataOptions, bad: BadItems
) -> PreparedSource:
    parts = [reader.look([])]
    # A bar only where one has to wait.
    with tqdm(total=len(numbers), desc=f"preparing {reader.file.path.name}", unit="item", delay=5.0) as bar:
        for part, size in _findings(reader, numbers, options.prepare_processes):
            _judge(part.faults, options, bad)
            parts.append(part)
            bar.update(size)
    found = Findings.join(parts)
    faults = "".join(json.dumps(asdict(fault)) + "\n" for fault in found.faults)
    arrays: dict[str, NDArray[Any]] = {
        "items": found.items,
        "lengths": found.lengths,
        "flags": found.flags,
        "faults": numpy.frombuffer(faults.encode(), numpy.uint8),
    }
    key = _key(reader)
    store(_path(reader, key, options), arrays, {"key": key, "too_long": found.too_long, "looked_at": len(numbers)})
    prepared = _open(reader, options)
    if prepared is None:
        raise DataError(f"{_path(reader, key, options)}: was removed or replaced while it was written; start again.")
    return prepared


def _findings(
    reader: SourceItems, numbers: NDArray[numpy.uint32], processes: int | None
) -> Iterator[tuple[Findings, int]]:
    """Findings of part after part, in order, each with its number of items."""
    parts = [numbers[start : start + _PART] for start in range(0, len(numbers), _PART)]
    if processes is None:
        processes = 1 if len(numbers) < _SEVERAL else min(_MOST_PROCESSES, _cores())
    if processes == 1:
        for part in parts:
            yield reader.look(part), len(part)
        return
    # Spawned: a fork of a process in which CUDA or other threads run may hang.
    pool = ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn"))
    try:
        for part, findings in zip(parts, pool.map(reader.look, parts)):
            yield findings, len(part)
    finally:
        pool.shutdown(cancel_futures=True)


def _cores() -> int:
    """Cores that this process may use; macOS only tells how many there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _key(reader: SourceItems) -> dict[str, Any]:
    """Everything that findings depend on."""
    processor = reader.processor
    template = render((Turn("question", "answer"), Turn("question", "answer"))).text
    return {
        "version": _VERSION,
        "size": reader.file.stamp.size,
        "mtime_ns": reader.file.stamp.mtime_ns,
        "ratio": reader.source.ratio,
        "pictures": str(reader.source.root) if reader.check_pictures else None,
        "max_words": reader.max_words,
        "visual_length": processor.config.visual_length,
        "num_slots": processor.config.prompts.num_slots,
        "tokenizer": hashlib.sha256(processor.tokenizer.serialized).hexdigest(),
        "template": template,
    }


def _path(reader: SourceItems, key: dict[str, Any], options: DataOptions) -> Path:
    place = index_place(reader.file.path, options.index_dir)
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
    return place.with_name(f"{place.name}.{digest}.prepared.safetensors")
