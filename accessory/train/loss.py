"""The losses: next token over answers, and optionally each mark's own label at its slot and at the patch under it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from accessory.data.collate import NO_PIECE, Batch
from SPHINX_V.config import VIEWS_PER_SIDE, SphinxVConfig
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


def mark_loss(model: SphinxV, hidden: Tensor, batch: Batch) -> Tensor:
    """Cross entropy at prompt slots against the pieces of each slot's number and what is said of it, summed over slots.

    An option of small recipes, not part of the published one: it tells every mark directly which it is, what lies under
    it and how it lies to an earlier mark, which teaches a model without pretrained parts to find places. `hidden`
    [B, V + T, D] are states before the final norm.
    """
    rows, slots = _filled(batch.slot_pieces)
    # BOS, then the visual prefix: the slots and `end_vp` are its end.
    first = model.config.visual_length - model.config.prompts.num_slots
    return _pieces_loss(model, hidden[rows, first + slots], batch.slot_pieces[rows, slots])


def patch_loss(model: SphinxV, embedded: Tensor, batch: Batch) -> Tensor:
    """Cross entropy at the patches under the marks' centres against the pieces of each label, summed over marks.

    An option of small recipes as `mark_loss` is: encoders without pretrained weights learn from it what they see before
    the language model has learnt where to look. `embedded` [B, V + T, D] are the tokens before the first layer. Of the
    views the quarter with the centre is taken, the finest.
    """
    slots = batch.inputs.slots
    assert slots is not None, "marks come with a picture"
    rows, marks = _filled(batch.label_pieces)
    corners = slots.coords[rows, marks]
    middle = (corners[:, :2] + corners[:, 2:]) / 2
    centers = torch.where(slots.is_point[rows, marks].unsqueeze(-1), corners[:, :2], middle)
    return _pieces_loss(model, embedded[rows, patch_indices(model.config, centers)], batch.label_pieces[rows, marks])


def patch_indices(config: SphinxVConfig, places: Tensor) -> Tensor:
    """Positions in the sequence [N] of the quarter views' patches that hold `places` [N, 2] (x, y in the frame of the
    padded square, [0, 1])."""
    grid, view = config.vision.grid, config.vision.tokens_per_view + 2
    side = VIEWS_PER_SIDE * grid
    column, row = (places * side).long().clamp(0, side - 1).unbind(-1)
    quarter = VIEWS_PER_SIDE * (row // grid) + column // grid
    patch = grid * (row % grid) + column % grid
    # BOS and the whole view come first; in a view its start tag, Q-Former's tokens and the class token.
    return 1 + view * (1 + quarter) + 1 + config.vision.qformer.num_query_tokens + 1 + patch


def patch_only_losses(model: SphinxV, batch: Batch) -> Tensor:
    """As `batch_losses`, with the patch loss alone: the language model's layers do not run."""
    embedded = model.embed(batch.inputs)
    nothing = embedded.float().sum() * 0  # every process must go backward, also one without a mark
    marked = batch.inputs.slots is not None and batch.label_count > 0
    return torch.stack([nothing, nothing, patch_loss(model, embedded, batch) if marked else nothing])


def _filled(pieces: Tensor) -> tuple[Tensor, Tensor]:
    """Rows and slots of the marks that have pieces [B, S, N]."""
    rows, slots = (pieces != NO_PIECE).any(dim=-1).nonzero(as_tuple=True)
    return rows, slots


def _pieces_loss(model: SphinxV, states: Tensor, pieces: Tensor) -> Tensor:
    """Cross entropy of states [N, D] against pieces [N, L]: a mean over the pieces of each, a sum over N."""
    known = pieces != NO_PIECE
    scores = torch.log_softmax(model.llm.output(model.llm.norm(states)).float(), dim=-1)
    scores = scores.gather(-1, pieces.clamp_min(0))
    return -((scores * known).sum(-1) / known.sum(-1)).sum()


def batch_losses(model: SphinxV, batch: Batch, marks: bool, patches: bool) -> Tensor:
    """Sums over target tokens, over marks, and over marks' patches [3] of one micro-batch; the caller divides by the
    numbers of a step. What is not asked for is zero."""
    taps: list[Tensor] = []
    marks = marks and batch.inputs.slots is not None and batch.mark_count > 0
    patches = patches and batch.inputs.slots is not None and batch.label_count > 0
    embedded = model.embed(batch.inputs)
    hidden = model.hidden(embedded, taps=taps if marks else None)
    targets = target_loss(model, hidden, batch.labels)
    nothing = hidden.new_zeros(())
    return torch.stack(
        [
            targets,
            # One layer before the last: what a slot knows there, the text can still read.
            mark_loss(model, taps[-2], batch) if marks else nothing,
            patch_loss(model, embedded, batch) if patches else nothing,
        ]
    )
