"""The typed tensors that travel from processing to the model: prompt slots and model inputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class PromptSlots:
    """Visual prompts of a batch, one row per sample, one column per slot.

    Shapes: `coords` [B, S, 4] float32; `is_point` and `valid` [B, S] bool.
    Frame of `coords`: the square-padded picture scaled to [0, 1]; a point is `(x, y, -1, -1)`, a box
    `(x0, y0, x1, y1)`.
    Unused slots carry the fillers of the reference and `valid` = False.
    """

    coords: Tensor
    is_point: Tensor
    valid: Tensor

    def to(self, device: torch.device | str) -> PromptSlots:
        return PromptSlots(self.coords.to(device), self.is_point.to(device), self.valid.to(device))

    @staticmethod
    def stack(rows: Sequence[PromptSlots]) -> PromptSlots:
        """Concatenates rows along the batch."""
        return PromptSlots(
            torch.cat([row.coords for row in rows]),
            torch.cat([row.is_point for row in rows]),
            torch.cat([row.valid for row in rows]),
        )


@dataclass(frozen=True)
class ModelInputs:
    """Everything the model needs for a batch of questions.

    Shapes: `token_ids` [B, T] int64, right-padded, BOS first; `lengths` [B] int64, tokens per row that are not padding;
    `pixels` [B, 3, H, H] float32, CLIP-normalised square pictures, or None for text only; `slots` goes with `pixels`.
    """

    token_ids: Tensor
    lengths: Tensor
    pixels: Tensor | None = None
    slots: PromptSlots | None = None

    def __post_init__(self) -> None:
        assert (self.pixels is None) == (self.slots is None), "pixels and slots come together"

    @property
    def batch_size(self) -> int:
        return self.token_ids.shape[0]

    def to(self, device: torch.device | str) -> ModelInputs:
        return replace(
            self,
            token_ids=self.token_ids.to(device),
            lengths=self.lengths.to(device),
            pixels=None if self.pixels is None else self.pixels.to(device),
            slots=None if self.slots is None else self.slots.to(device),
        )

    @staticmethod
    def stack(rows: Sequence[ModelInputs], pad_id: int = 0) -> ModelInputs:
        """Joins inputs into one batch, padding texts on the right; all rows have a picture or none has."""
        with_picture = [row.pixels is not None for row in rows]
        assert all(with_picture) or not any(with_picture), "a batch mixes rows with and without a picture"
        longest = max(row.token_ids.shape[1] for row in rows)
        ids = [torch.nn.functional.pad(r.token_ids, (0, longest - r.token_ids.shape[1]), value=pad_id) for r in rows]
        return ModelInputs(
            token_ids=torch.cat(ids),
            lengths=torch.cat([row.lengths for row in rows]),
            pixels=torch.cat([row.pixels for row in rows if row.pixels is not None]) if with_picture[0] else None,
            slots=PromptSlots.stack([row.slots for row in rows if row.slots is not None]) if with_picture[0] else None,
        )
