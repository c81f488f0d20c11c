"""Items → samples: tokens, labels, pixels and slots of one item, prepared exactly as for inference."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
from numpy.typing import NDArray
from torch import Tensor

from accessory.config import DataOptions
from accessory.data.augment import item_generator, jitter_boxes
from accessory.data.prepared import PreparedSource, prepare
from accessory.data.source_items import PICTURE, TRUNCATED
from accessory.data.sources import BadItems, Entry
from accessory.data.texts import Text
from SPHINX_V.errors import ConfigError, DataError, UsageError
from SPHINX_V.inputs import PromptSlots
from SPHINX_V.processing.image import open_picture, square_picture
from SPHINX_V.processing.processor import Processor
from SPHINX_V.prompts import Prompt


@dataclass(frozen=True)
class Sample:
    """One training item. `pixels` [3, H, H] uint8 (None: text only); `slots` [1, S, …].

    `label_pieces[k]` are the token ids of the label that the answer gives mark k, `slot_pieces[k]` those of its name
    and of what the answer says of it: that label, or how it lies to an earlier mark. Empty where it says nothing.
    """

    ids: list[int]
    labels: list[int]
    pixels: Tensor | None
    slots: PromptSlots | None
    slot_pieces: tuple[tuple[int, ...], ...]
    label_pieces: tuple[tuple[int, ...], ...]
    index: int


@dataclass(frozen=True)
class _Item:
    """What is kept of an item that was read; its ids and labels as int32, of which lists take ten times as much."""

    picture: Path | None
    prompts: tuple[Prompt, ...]
    where: str
    ids: NDArray[numpy.int32]
    labels: NDArray[numpy.int32]
    slot_pieces: tuple[tuple[int, ...], ...]
    label_pieces: tuple[tuple[int, ...], ...]


class RegionDataset:
    """All items of a data configuration that can be trained on. `dataset[epoch, index]` is a Sample.

    `lengths` [N] int32 are the text tokens of each item; `kinds` [N] uint16 say what a batch may hold only one of, as
    places in `kind_names`: a source's type, and whether there is a picture. All else stays on disk. In a run of several
    processes one is the builder and looks at all items before the first training, while the others wait at `barrier`;
    where they do not share a disk, there is one builder on each machine.
    """

    def __init__(
        self,
        options: DataOptions,
        processor: Processor,
        seed: int,
        bad: BadItems,
        is_builder: bool = True,
        barrier: Callable[[], None] = lambda: None,
    ) -> None:
        self.options = options
        self.processor = processor
        self.seed = seed
        self.bad = bad
        self.sources = prepare(options, processor, bad, is_builder, barrier)
        self.truncated = sum(source.truncated for source in self.sources)
        self.too_long = sum(source.too_long for source in self.sources)
        self._ends = numpy.cumsum([len(source.items) for source in self.sources])
        if not len(self):
            looked_at = sum(source.looked_at for source in self.sources)
            raise ConfigError(
                f"{options.config}: no item is left to train on, of {looked_at}; {self.too_long} have no answer within"
                f" data.max_words {options.max_words}, {bad.summary()}"
            )
        self.lengths = _joined([source.lengths for source in self.sources])
        self.kind_names, self.kinds = _kinds(self.sources)
        self._items: dict[int, _Item] = {}
        self._pictures: dict[Path, tuple[Tensor, tuple[int, int]]] = {}

    def __getstate__(self) -> dict[str, Any]:
        # A process that is spawned to read items chooses none, and keeps its own.
        return {**self.__dict__, "lengths": None, "kinds": None, "_items": {}, "_pictures": {}}

    def __len__(self) -> int:
        return int(self._ends[-1])

    @property
    def pictured(self) -> NDArray[numpy.bool_]:
        """Which items have a picture [N]."""
        return numpy.array([name.endswith("/picture") for name in self.kind_names])[self.kinds]

    def entry(self, index: int) -> Entry:
        """The annotation of an item, read anew; raises DataError where its file has changed."""
        source, place = self._place(index)
        return source.reader.entry(int(source.items[place]))

    def entries(self, items: Iterable[int] | None = None) -> Iterator[Entry]:
        """The annotations of some items, or of all, read anew one after another."""
        yield from map(self.entry, range(len(self)) if items is None else items)

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        """The item `index` as epoch `epoch` sees it; raises DataError that names file and item for a bad picture."""
        epoch, index = key
        item = self._items.get(index) or self._read(index)
        ids, labels = item.ids.tolist(), item.labels.tolist()
        if item.picture is None:
            return Sample(ids, labels, None, None, item.slot_pieces, item.label_pieces, index)
        try:
            pixels, size = self._pixels(item.picture)
            prompts = item.prompts
            if self.options.box_jitter:
                prompts = jitter_boxes(prompts, *size, item_generator(self.seed, epoch, index))
            slots = self.processor.slots(prompts, size)
        except (DataError, UsageError) as error:
            raise DataError(f"{item.where}: {error}") from None
        return Sample(ids, labels, pixels, slots, item.slot_pieces, item.label_pieces, index)

    def _place(self, index: int) -> tuple[PreparedSource, int]:
        """The source of an item and its place among that source's."""
        number = int(numpy.searchsorted(self._ends, index, side="right"))
        source = self.sources[number]
        return source, index - (int(self._ends[number]) - len(source.items))

    def _read(self, index: int) -> _Item:
        source, place = self._place(index)
        entry = source.reader.entry(int(source.items[place]))
        text: Text = source.reader.text(entry, truncated=bool(source.flags[place] & TRUNCATED))
        item = _Item(
            entry.picture,
            entry.annotation.prompts,
            entry.where,
            numpy.array(text.ids, numpy.int32),
            numpy.array(text.labels, numpy.int32),
            text.slot_pieces,
            text.label_pieces,
        )
        if len(self) <= self.options.keep_items:
            self._items[index] = item
        return item

    def _pixels(self, path: Path) -> tuple[Tensor, tuple[int, int]]:
        if path in self._pictures:
            return self._pictures[path]
        picture = open_picture(path)
        loaded = (square_picture(picture, self.processor.config.vision.picture_size), picture.size)
        if self.options.cache_pictures:
            self._pictures[path] = loaded
        return loaded


def _joined(arrays: list[NDArray[Any]]) -> NDArray[Any]:
    """One array; that of a single source stays a map of its file."""
    return arrays[0] if len(arrays) == 1 else numpy.concatenate(arrays)


def _kinds(sources: list[PreparedSource]) -> tuple[tuple[str, ...], NDArray[numpy.uint16]]:
    """Names of what a batch may hold only one of (a source's type, with or without pictures), and each item's as the
    place of its name."""
    named = []
    for source in sources:
        pictured = source.flags & PICTURE > 0
        kind = source.reader.source.type
        named.append((pictured, (f"{kind}/text", f"{kind}/picture")))
    present = {names[int(has)] for pictured, names in named for has in (False, True) if (pictured == has).any()}
    order = tuple(sorted(present))
    place = {name: number for number, name in enumerate(order)}
    codes = []
    for pictured, names in named:
        pair = numpy.array([place.get(name, 0) for name in names], numpy.uint16)
        codes.append(pair[pictured.astype(numpy.uint8)])
    return order, _joined(codes)
