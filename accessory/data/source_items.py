"""The items of one source: read one by one, or all looked at once for what training must know before it starts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy
from numpy.typing import NDArray

from accessory.data.index import AnnotationFile
from accessory.data.sources import Entry, LocatedSource
from accessory.data.texts import Text, encode_text, fit_turns
from SPHINX_V.errors import ConfigError, DataError, UsageError
from SPHINX_V.processing.image import picture_size
from SPHINX_V.processing.processor import Processor

PICTURE, TRUNCATED = 1, 2  # bits of `Findings.flags`
_SIZES_KEPT = 1 << 16  # items about one picture stand near each other


@dataclass(frozen=True)
class Fault:
    """A bad item: its number, the whole sentence, and whether its picture, not the annotation, is to blame."""

    item: int
    reason: str
    of_picture: bool


@dataclass(frozen=True)
class Findings:
    """What training needs to know of items without reading them: arrays with one entry for each that is trained on.

    `items` are their numbers in the file, `lengths` their text tokens, `flags` the bits PICTURE and TRUNCATED. The
    other items have no whole answer in the room for their text (`too_long`), or a fault.
    """

    items: NDArray[numpy.uint32]
    lengths: NDArray[numpy.int32]
    flags: NDArray[numpy.uint8]
    too_long: int
    faults: tuple[Fault, ...]

    @staticmethod
    def join(parts: Sequence[Findings]) -> Findings:
        """Findings of neighbouring parts of a file as those of the whole; at least one part."""
        return Findings(
            numpy.concatenate([part.items for part in parts]),
            numpy.concatenate([part.lengths for part in parts]),
            numpy.concatenate([part.flags for part in parts]),
            sum(part.too_long for part in parts),
            tuple(fault for part in parts for fault in part.faults),
        )


class SourceItems:
    """Reads and checks the items of one source. It can be sent to another process."""

    def __init__(
        self, source: LocatedSource, file: AnnotationFile, processor: Processor, max_words: int, check_pictures: bool
    ) -> None:
        self.source = source
        self.file = file
        self.processor = processor
        self.max_words = max_words
        self.check_pictures = check_pictures

    def entry(self, number: int) -> Entry:
        """An item, read anew; raises DataError that names it and says what is wrong."""
        slots = self.processor.config.prompts.num_slots
        return self.source.entry(self.file.item(number), self.file.where(number), slots)

    def text(self, entry: Entry, truncated: bool) -> Text:
        """The tokens of an item that `look` has found to be fit for training."""
        turns = entry.annotation.turns
        if not truncated:
            return encode_text(entry.annotation, len(turns), self.processor)
        fit = fit_turns(turns, self._room(entry), self.processor)
        assert fit is not None  # as when the item was looked at
        return encode_text(entry.annotation, fit.turns, self.processor)

    def look(self, numbers: Iterable[int]) -> Findings:
        """Findings of these items, headers of pictures included where `check_pictures`.

        Raises DataError where the file has changed, ConfigError where `max_words` leaves no room for a text.
        """
        sizes = lru_cache(_SIZES_KEPT)(picture_size)
        items, lengths, flags, faults, too_long = [], [], [], [], 0
        for number in map(int, numbers):
            try:
                entry = self.entry(number)
            except DataError as error:
                faults.append(Fault(number, str(error), False))
                continue
            room = self._room(entry)
            if entry.picture is not None and self.check_pictures:
                try:
                    self.processor.slots(entry.annotation.prompts, sizes(entry.picture))
                except (DataError, UsageError) as error:
                    faults.append(Fault(number, f"{entry.where}: {error}", True))
                    continue
            fit = fit_turns(entry.annotation.turns, room, self.processor)
            if fit is None:
                too_long += 1
                continue
            items.append(number)
            lengths.append(fit.length)
            cut = fit.turns < len(entry.annotation.turns)
            flags.append((PICTURE if entry.picture is not None else 0) | (TRUNCATED if cut else 0))
        self.file.check()
        return Findings(
            numpy.array(items, numpy.uint32),
            numpy.array(lengths, numpy.int32),
            numpy.array(flags, numpy.uint8),
            too_long,
            tuple(faults),
        )

    def _room(self, entry: Entry) -> int:
        """Tokens that the item's text may take."""
        if entry.picture is None:
            return self.max_words
        visual = self.processor.config.visual_length
        if self.max_words <= visual:
            raise ConfigError(
                f"data.max_words is {self.max_words}, of which a picture takes {visual}; give more ({entry.where})."
            )
        return self.max_words - visual
