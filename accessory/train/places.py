"""Where in a micro-batch's states the losses look, worked out on the host, so that no step waits for the device."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor
from torch.nn import functional

from accessory.data.collate import NO_PIECE, Batch
from SPHINX_V.config import SphinxVConfig
from SPHINX_V.model.packing import Kernel, Packing
from SPHINX_V.processing.processor import IGNORE


@dataclass(frozen=True)
class Places:
    """Indices into flattened states, int64, and what is to be predicted there.

    `predictors` [N] are the states that predict the target tokens `targets` [N]; `mark_states` [M] those at the prompt
    slots (`mark_rows`, `mark_slots`) that the answer says something of; `label_rows`, `label_slots` [L] the slots with
    a label. Flattened states are [B · sequence, D], or with a packing those of its one row [total, D], which holds the
    states `tokens` [total] of the former, without padding.
    """

    predictors: Tensor
    targets: Tensor
    mark_rows: Tensor
    mark_slots: Tensor
    mark_states: Tensor
    label_rows: Tensor
    label_slots: Tensor
    tokens: Tensor | None = None
    packing: Packing | None = None

    @staticmethod
    def of(batch: Batch, config: SphinxVConfig, kernel: Kernel | None = None, multiple: int = 1) -> Places:
        """The places of a batch on the host. With `kernel` its rows are packed into one, whose length is a `multiple`:
        what is added is a sequence of its own that nothing looks at."""
        rows, text = batch.labels.shape
        visual = 0 if batch.inputs.pixels is None else config.visual_length
        starts = torch.arange(rows) * (visual + text)
        packing = tokens = None
        if kernel is not None:
            lengths = (batch.inputs.lengths + visual).tolist()
            tokens = torch.cat([start + torch.arange(length) for start, length in zip(starts.tolist(), lengths)])
            starts = torch.tensor([0, *lengths[:-1]]).cumsum(0)
            rest = -len(tokens) % multiple
            packing = Packing.of([*lengths, rest] if rest else lengths, torch.device("cpu"), kernel)
        target_rows, before = (batch.labels[:, 1:] != IGNORE).nonzero(as_tuple=True)
        mark_rows, mark_slots = (batch.slot_pieces != NO_PIECE).any(dim=-1).nonzero(as_tuple=True)
        label_rows, label_slots = (batch.label_pieces != NO_PIECE).any(dim=-1).nonzero(as_tuple=True)
        # The slots and `end_vp` end the visual prefix, behind BOS.
        first_slot = visual - config.prompts.num_slots
        return Places(
            predictors=starts[target_rows] + visual + before,
            targets=batch.labels[target_rows, before + 1],
            mark_rows=mark_rows,
            mark_slots=mark_slots,
            mark_states=starts[mark_rows] + first_slot + mark_slots,
            label_rows=label_rows,
            label_slots=label_slots,
            tokens=tokens,
            packing=packing,
        )

    def to(self, device: torch.device) -> Places:
        moved = {
            field.name: value.to(device, non_blocking=True)
            for field in fields(self)
            if isinstance(value := getattr(self, field.name), Tensor)
        }
        packing = self.packing
        if packing is not None:
            packing = replace(packing, offsets=packing.offsets.to(device, non_blocking=True))
        return replace(self, packing=packing, **moved)

    def pack(self, embedded: Tensor) -> Tensor:
        """Embeddings [B, sequence, D] → the packed row [1, total, D], zeros at what was added."""
        assert self.tokens is not None
        assert self.packing is not None
        row = embedded.flatten(0, 1)[self.tokens]
        return functional.pad(row, (0, 0, 0, sum(self.packing.lengths) - len(row))).unsqueeze(0)
