"""The losses: next token over answers, and optionally each mark's own label at its slot."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from accessory.data.collate import NO_PIECE, Batch
from SPHINX_V.model.sphinx_v import SphinxV
from SPHINX_V.processing.processor import IGNORE


def target_loss(model: SphinxV, hidden: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy summed over target tokens, in float32.

    `hidden` [B, V + T, D]; `labels` [B, T], unshifted: position t is predicted one before it. Only target positions
    pass the output head.
    """
    targets = labels[:, 1:]
    chosen = targets != IGNORE
    predictors = hidden[:, -labels.shape[1] : -1][chosen]
    return functional.cross_entropy(model.llm.output(predictors).float(), targets[chosen], reduction="sum")


def mark_loss(model: SphinxV, hidden: Tensor, mark_pieces: Tensor) -> Tensor:
    """Cross entropy at prompt slots against the pieces of each slot's number and label, summed over slots with a label.

    An option of small recipes, not part of the published one: it tells every mark directly which it is and what lies
    under it, which teaches a model without pretrained parts to find places. `hidden` [B, V + T, D] are states before
    the final norm, `mark_pieces` [B, S, L].
    """
    slots = model.config.prompts.num_slots
    # BOS, then the visual prefix, whose last token is `end_vp`.
    end = model.config.visual_length
    known = mark_pieces != NO_PIECE
    marked = known.any(dim=-1)
    if not marked.any():
        return hidden.new_zeros(())
    logits = model.llm.output(model.llm.norm(hidden[:, end - slots : end][marked])).float()
    pieces, known = mark_pieces[marked], known[marked]
    scores = torch.log_softmax(logits, dim=-1).gather(-1, pieces.clamp_min(0))
    return -((scores * known).sum(-1) / known.sum(-1)).sum()


def batch_losses(model: SphinxV, batch: Batch, with_marks: bool) -> tuple[Tensor, Tensor]:
    """(sum over target tokens, sum over marks) of one micro-batch; the caller divides by the numbers of a step."""
    taps: list[Tensor] = []
    hidden = model.hidden(model.embed(batch.inputs), taps=taps if with_marks else None)
    targets = target_loss(model, hidden, batch.labels)
    if not with_marks or batch.inputs.slots is None:
        return targets, hidden.new_zeros(())
    # One layer before the last: what a slot knows there, the text can still read.
    return targets, mark_loss(model, taps[-2], batch.mark_pieces)
