"""Samples → Batch: right-padded tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from accessory.data.dataset import Sample
from SPHINX_V.config import SphinxVConfig
from SPHINX_V.inputs import ModelInputs, PromptSlots
from SPHINX_V.processing.image import normalise
from SPHINX_V.processing.processor import IGNORE

NO_PIECE = -1


@dataclass(frozen=True)
class Batch:
    """`inputs` of B rows; `labels` [B, T] int64, unshifted, `IGNORE` where nothing is learnt; `slot_pieces` [B, S, N]
    and `label_pieces` [B, S, L] int64 token ids as in `Sample`, `NO_PIECE` where there are none; `indices` of the
    items; `failed` are the sentences of items that could not be read and are no rows here. A batch may have no rows at
    all."""

    inputs: ModelInputs
    labels: Tensor
    slot_pieces: Tensor
    label_pieces: Tensor
    indices: tuple[int, ...]
    failed: tuple[str, ...] = ()

    @property
    def target_count(self) -> int:
        """Target tokens, the denominator of the loss. The first position can be no target: nothing predicts it."""
        return int((self.labels[:, 1:] != IGNORE).sum())

    @property
    def token_count(self) -> int:
        """Text tokens without padding."""
        return int(self.inputs.lengths.sum())

    @property
    def mark_count(self) -> int:
        """Slots that the answer says something of, the denominator of the mark loss."""
        return int((self.slot_pieces != NO_PIECE).any(dim=-1).sum())

    @property
    def label_count(self) -> int:
        """Slots with a label, the denominator of the patch loss."""
        return int((self.label_pieces != NO_PIECE).any(dim=-1).sum())

    def to(self, device: torch.device | str) -> Batch:
        return replace(
            self,
            inputs=self.inputs.to(device),
            labels=self.labels.to(device),
            slot_pieces=self.slot_pieces.to(device),
            label_pieces=self.label_pieces.to(device),
        )


def collate(samples: Sequence[Sample], num_slots: int, failed: Sequence[str] = (), multiple: int = 1) -> Batch:
    """Joins samples, all with a picture or all without; texts are padded on the right with `IGNORE`, to the next
    `multiple` of tokens."""
    longest = max((len(sample.ids) for sample in samples), default=0)
    length = -(-longest // multiple) * multiple
    ids = torch.full((len(samples), length), IGNORE)
    labels = torch.full((len(samples), length), IGNORE)
    for row, sample in enumerate(samples):
        ids[row, : len(sample.ids)] = torch.tensor(sample.ids)
        labels[row, : len(sample.labels)] = torch.tensor(sample.labels)
    squares = [sample.pixels for sample in samples if sample.pixels is not None]
    slots = [sample.slots for sample in samples if sample.slots is not None]
    inputs = ModelInputs(
        token_ids=ids,
        lengths=torch.tensor([len(sample.ids) for sample in samples], dtype=torch.int64),
        pixels=normalise(torch.stack(squares)) if squares else None,
        slots=PromptSlots.stack(slots) if slots else None,
    )
    return Batch(
        inputs,
        labels,
        _padded([sample.slot_pieces for sample in samples], num_slots),
        _padded([sample.label_pieces for sample in samples], num_slots),
        tuple(sample.index for sample in samples),
        tuple(failed),
    )


def blank_batch(config: SphinxVConfig) -> Batch:
    """A row that teaches nothing, about an empty picture: what a process computes with whose items were all bad, so
    that those which train together with it need not wait for ever."""
    side, num_slots = config.vision.picture_size, config.prompts.num_slots
    none = torch.zeros(1, num_slots, dtype=torch.bool)
    inputs = ModelInputs(
        token_ids=torch.full((1, 2), IGNORE),
        lengths=torch.tensor([2]),
        pixels=torch.zeros(1, 3, side, side),
        slots=PromptSlots(torch.zeros(1, num_slots, 4), none, none),
    )
    pieces = torch.full((1, num_slots, 0), NO_PIECE)
    return Batch(inputs, torch.full((1, 2), IGNORE), pieces, pieces, ())


def _padded(rows: Sequence[Sequence[Sequence[int]]], num_slots: int) -> Tensor:
    """Token ids per row and slot as [B, S, longest], `NO_PIECE` in the rest."""
    longest = max((len(pieces) for row in rows for pieces in row), default=0)
    padded = torch.full((len(rows), num_slots, longest), NO_PIECE)
    for number, row in enumerate(rows):
        for slot, pieces in enumerate(row):
            padded[number, slot, : len(pieces)] = torch.tensor(pieces, dtype=torch.int64)
    return padded
