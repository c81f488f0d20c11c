"""Losses on exact small tensors."""

import math
from types import SimpleNamespace

import pytest
import torch

from accessory.train.loss import mark_loss, patch_indices, patch_loss, target_loss
from SPHINX_V.config import tiny
from SPHINX_V.inputs import PromptSlots
from SPHINX_V.model.sphinx_v import SphinxV
from SPHINX_V.model.vision import patch_boxes

LOGITS = torch.tensor([[0.0, 0.0, 0.0, 0.0], [0.0, math.log(2), 0.0, 0.0], [math.log(5), 0.0, 0.0, 0.0]])
"""Three states that a head of one-to-one makes scores of: probabilities 1/4 …; 1/5, 2/5, 1/5, 1/5; 5/8, 1/8 …"""


def fake_model():
    """A model whose head and last norm hand on what they get."""
    return SimpleNamespace(llm=SimpleNamespace(output=lambda states: states, norm=lambda states: states))


def test_target_loss_sums_over_targets():
    # Probabilities 1/4 of token 1 by the first state, 1/5 of token 3 by the second.
    loss = target_loss(fake_model(), LOGITS[:2], torch.tensor([1, 3]))
    assert loss.item() == pytest.approx(math.log(4) + math.log(5))
    assert target_loss(fake_model(), LOGITS[:0], torch.tensor([], dtype=torch.int64)).item() == 0


def test_mark_loss_sums_over_slots_each_a_mean_over_its_pieces():
    both = torch.tensor([[1, 2, -1], [0, 3, 0]])
    expected = -(math.log(2 / 5) + math.log(1 / 5)) / 2 - (2 * math.log(5 / 8) + math.log(1 / 8)) / 3
    assert mark_loss(fake_model(), LOGITS[1:], both).item() == pytest.approx(expected)
    assert mark_loss(fake_model(), LOGITS[2:], torch.tensor([[0, -1]])).item() == pytest.approx(-math.log(5 / 8))


def sequence_of_boxes(config):
    """`BOS | views | marks`, where every patch's token begins with its box and all other tokens with -1."""
    vision = config.vision
    boxes = patch_boxes(vision.grid)
    tokens = torch.full((1, 5, vision.tokens_per_view, config.llm.dim), -1.0)
    tokens[0, :, -(vision.grid**2) :, :4] = boxes
    with torch.device("meta"):
        model = SphinxV(config)
    for tag in ("start_img", "end_img", "start_vp", "end_vp"):
        setattr(model, tag, torch.nn.Parameter(torch.full((1, 1, config.llm.dim), -1.0)))
    prefix = model.visual_prefix(tokens, torch.full((1, config.prompts.num_slots, config.llm.dim), -1.0))
    return torch.cat([torch.full_like(prefix[:, :1], -1.0), prefix], dim=1)


def test_a_place_has_the_patch_of_a_quarter_view_that_holds_it():
    config = tiny()
    places = torch.rand(200, 2, generator=torch.Generator().manual_seed(0))
    boxes = sequence_of_boxes(config)[0, patch_indices(config, places), :4]
    assert torch.allclose(boxes[:, 2:] - boxes[:, :2], torch.tensor(1 / (2 * config.vision.grid)))
    assert ((boxes[:, :2] <= places) & (places < boxes[:, 2:])).all()
    edges = sequence_of_boxes(config)[0, patch_indices(config, torch.tensor([[1.0, -0.2], [1.3, 1.0]])), :4]
    assert edges.tolist() == [[0.875, 0, 1, 0.125], [0.875, 0.875, 1, 1]]


def test_patch_loss_reads_the_patch_under_a_point_and_under_the_middle_of_a_box():
    config = tiny()
    point, box = [0.3, 0.8, -1.0, -1.0], [0.1, 0.1, 0.2, 0.7]
    at = patch_indices(config, torch.tensor([[0.3, 0.8], [0.15, 0.4]]))
    embedded = torch.full((1, config.visual_length + 2, 4), 9.0)
    embedded[0, at] = LOGITS[1:]
    slots = PromptSlots(torch.tensor([[point, box]]), torch.tensor([[True, False]]), torch.ones(1, 2).bool())
    batch = SimpleNamespace(inputs=SimpleNamespace(slots=slots), label_pieces=torch.tensor([[[1, -1], [0, 2]]]))
    places = SimpleNamespace(label_rows=torch.tensor([0, 0]), label_slots=torch.tensor([0, 1]))
    model = SimpleNamespace(config=config, llm=fake_model().llm)
    expected = -math.log(2 / 5) - (math.log(5 / 8) + math.log(1 / 8)) / 2
    assert patch_loss(model, embedded, batch, places).item() == pytest.approx(expected)
