"""The losses: next token over answers, and optionally each mark's own label at its slot and at the patch under it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from accessory.data.collate import NO_PIECE, Batch
from accessory.train.places import Places
from SPHINX_V.config import VIEWS_PER_SIDE, SphinxVConfig
from SPHINX_V.model.sphinx_v import SphinxV


def target_loss(model: SphinxV, states: Tensor, targets: Tensor) -> Tensor:
    """Cross entropy of hidden states [N, D] after the final norm against the tokens [N] that they predict, summed, in
    float32. Only these states pass the output head."""
    return functional.cross_entropy(model.llm.output(states).float(), targets, reduction="sum")


def mark_loss(model: SphinxV, states: Tensor, pieces: Tensor) -> Tensor:
    """Cross entropy of states [N, D] before the final norm against the pieces [N, L] of what they should know: a mean
    over the pieces of each, a sum over N.

    An option of small recipes, not part of the published one. At prompt slots it tells every mark directly which it is,
    what lies under it and how it lies to an earlier mark, which teaches a model without pretrained parts to find
    places.
    """
    known = pieces != NO_PIECE
    scores = torch.log_softmax(model.llm.output(model.llm.norm(states)).float(), dim=-1)
    scores = scores.gather(-1, pieces.clamp_min(0))
    return -((scores * known).sum(-1) / known.sum(-1)).sum()


def patch_loss(model: SphinxV, embedded: Tensor, batch: Batch, places: Places) -> Tensor:
    """`mark_loss` at the patches under the marks' centres, against the pieces of each label.

    Encoders without pretrained weights learn from it what they see before the language model has learnt where to look.
    `embedded` [B, V + T, D] are the tokens before the first layer. Of the views the quarter with the centre is taken,
    the finest.
    """
    slots, rows, marks = batch.inputs.slots, places.label_rows, places.label_slots
    assert slots is not None, "marks come with a picture"
    corners = slots.coords[rows, marks]
    middle = (corners[:, :2] + corners[:, 2:]) / 2
    centers = torch.where(slots.is_point[rows, marks].unsqueeze(-1), corners[:, :2], middle)
    return mark_loss(model, embedded[rows, patch_indices(model.config, centers)], batch.label_pieces[rows, marks])


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


def batch_losses(model: SphinxV, batch: Batch, places: Places, marks: bool, patches: bool) -> Tensor:
    """Sums over target tokens, over marks, and over marks' patches [3] of one micro-batch; the caller divides by the
    numbers of a step. What is not asked for is zero."""
    taps: list[Tensor] = []
    marks = marks and len(places.mark_states) > 0
    patches = patches and len(places.label_rows) > 0
    embedded = model.embed(batch.inputs)
    if places.packing is None:
        hidden = model.hidden(embedded, taps=taps if marks else None)
    else:
        hidden = model.hidden(places.pack(embedded), places.packing.positions, places.packing, taps=taps)
    nothing = hidden.new_zeros((), dtype=torch.float32)
    # One layer before the last: what a slot knows there, the text can still read.
    states = taps[-2].flatten(0, 1)[places.mark_states] if marks else None
    return torch.stack(
        [
            target_loss(model, hidden.flatten(0, 1)[places.predictors], places.targets),
            nothing
            if states is None
            else mark_loss(model, states, batch.slot_pieces[places.mark_rows, places.mark_slots]),
            patch_loss(model, embedded, batch, places) if patches else nothing,
        ]
    )


def patch_only_losses(model: SphinxV, batch: Batch, places: Places) -> Tensor:
    """As `batch_losses`, with the patch loss alone: the language model's layers do not run."""
    embedded = model.embed(batch.inputs)
    nothing = embedded.float().sum() * 0  # every process must go backward, also one without a mark
    return torch.stack(
        [nothing, nothing, patch_loss(model, embedded, batch, places) if len(places.label_rows) else nothing]
    )
