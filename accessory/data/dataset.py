"""Entries → samples: tokens, labels, pixels and slots of one item, prepared exactly as for inference."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from accessory.config import DataOptions
from accessory.data.augment import item_generator, jitter_boxes
from accessory.data.labels import parse_labels, parse_relations
from accessory.data.sources import BadItems, Entry, read_entries
from SPHINX_V.errors import ConfigError, DataError, PromptWarning, UsageError
from SPHINX_V.inputs import PromptSlots
from SPHINX_V.processing.image import open_picture, picture_size, square_picture
from SPHINX_V.processing.processor import IGNORE, Processor
from SPHINX_V.prompts import Prompt, is_point


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
class _Text:
    ids: list[int]
    labels: list[int]
    slot_pieces: tuple[tuple[int, ...], ...]
    label_pieces: tuple[tuple[int, ...], ...]


class RegionDataset:
    """All items of a data configuration, texts encoded once. `dataset[epoch, index]` is a Sample."""

    def __init__(self, options: DataOptions, processor: Processor, seed: int, bad: BadItems) -> None:
        self.options = options
        self.processor = processor
        self.seed = seed
        self.bad = bad
        self.truncated = 0
        self.too_long = 0
        self._sizes: dict[Path, tuple[int, int]] = {}
        self._pictures: dict[Path, tuple[Tensor, tuple[int, int]]] = {}
        visual = processor.config.visual_length
        self.entries: list[Entry] = []
        self._texts: list[_Text] = []
        for entry in read_entries(options.config, processor.config.prompts.num_slots, options.on_bad_sample, bad):
            if entry.picture is not None and options.max_words <= visual:
                raise ConfigError(
                    f"data.max_words is {options.max_words}, of which a picture takes {visual}; give more"
                    f" ({entry.where})."
                )
            try:
                if entry.picture is not None and options.check_pictures:
                    self._check_picture(entry, entry.picture)
            except DataError as error:
                if options.on_bad_sample == "refuse":
                    raise
                bad.add(error)
                continue
            text = self._encode(entry, options.max_words - (visual if entry.picture is not None else 0))
            if text is None:
                continue
            self.entries.append(entry)
            self._texts.append(text)
        if not self.entries:
            raise ConfigError(
                f"{options.config}: no item is left to train on; {self.too_long} have no answer within"
                f" data.max_words {options.max_words}, {bad.summary()}"
            )

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def lengths(self) -> list[int]:
        """Text tokens per item."""
        return [len(text.ids) for text in self._texts]

    @property
    def kinds(self) -> list[str]:
        """What a batch may hold only one of: the source's type, and whether there is a picture."""
        return [f"{entry.type}/{'text' if entry.picture is None else 'picture'}" for entry in self.entries]

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        """The item `index` as epoch `epoch` sees it; raises DataError that names file and item for a bad picture."""
        epoch, index = key
        entry, text = self.entries[index], self._texts[index]
        if entry.picture is None:
            return Sample(text.ids, text.labels, None, None, text.slot_pieces, text.label_pieces, index)
        try:
            pixels, size = self._pixels(entry.picture)
            prompts = entry.annotation.prompts
            if self.options.box_jitter:
                prompts = jitter_boxes(prompts, *size, item_generator(self.seed, epoch, index))
            slots = self._slots(prompts, size)
        except (DataError, UsageError) as error:
            raise DataError(f"{entry.where}: {error}") from None
        return Sample(text.ids, text.labels, pixels, slots, text.slot_pieces, text.label_pieces, index)

    def _check_picture(self, entry: Entry, path: Path) -> None:
        """Refuses an item whose picture or marks are wrong before training starts; reads headers, each once."""
        try:
            if path not in self._sizes:
                self._sizes[path] = picture_size(path)
            self._slots(entry.annotation.prompts, self._sizes[path])
        except (DataError, UsageError) as error:
            raise DataError(f"{entry.where}: {error}") from None

    def _slots(self, prompts: Sequence[Prompt], size: tuple[int, int]) -> PromptSlots:
        with warnings.catch_warnings():
            # Annotations that overstep the edge by a rounding error are too many to warn of each.
            warnings.simplefilter("ignore", PromptWarning)
            return self.processor.slots(prompts, size)

    def _pixels(self, path: Path) -> tuple[Tensor, tuple[int, int]]:
        if path in self._pictures:
            return self._pictures[path]
        picture = open_picture(path)
        loaded = (square_picture(picture, self.processor.config.vision.picture_size), picture.size)
        if self.options.cache_pictures:
            self._pictures[path] = loaded
        return loaded

    def _encode(self, entry: Entry, room: int) -> _Text | None:
        """The item's text in `room` tokens; None, and counted, where that leaves nothing to learn from."""
        encoded = self.processor.encode_conversation(entry.annotation.turns)
        ids, labels = encoded.ids, encoded.labels
        if len(ids) > room:
            # As the reference, the cut takes the end; what is left of an answer is still a target.
            ids, labels = ids[:room], labels[:room]
            if all(label == IGNORE for label in labels):
                self.too_long += 1
                return None
            self.truncated += 1
        labels_of: dict[int, str] = {}
        said: dict[int, str] = {}
        for turn in entry.annotation.turns:
            labels_of.update(parse_labels(turn.answer or ""))
            said.update(parse_relations(turn.answer or ""))
        said.update(labels_of)
        marks = range(1, len(entry.annotation.prompts) + 1)
        names = [
            f"<{'Mark' if is_point(prompt) else 'Region'} {mark}>"
            for mark, prompt in zip(marks, entry.annotation.prompts)
        ]
        slot_pieces = tuple(
            self._pieces(f"{name} {said[mark]}") if mark in said else () for mark, name in zip(marks, names)
        )
        return _Text(ids, labels, slot_pieces, tuple(self._pieces(labels_of.get(mark, "")) for mark in marks))

    def _pieces(self, text: str) -> tuple[int, ...]:
        """Ids of a text's pieces, without those that are nothing but a space."""
        tokenizer = self.processor.tokenizer
        return tuple(piece for piece in tokenizer.encode(text) if tokenizer.decode([piece]).strip())
