"""Losses on exact small tensors."""

import math
from types import SimpleNamespace

import pytest
import torch

from accessory.train.loss import mark_loss, target_loss

LOGITS = torch.tensor([[0.0, 0.0, 0.0, 0.0], [0.0, math.log(2), 0.0, 0.0], [math.log(5), 0.0, 0.0, 0.0]])
"""Three states that a head of one-to-one makes scores of: probabilities 1/4 …; 1/5, 2/5, 1/5, 1/5; 5/8, 1/8 …"""


def fake_model(slots=2, visual_length=3):
    """A model whose head and last norm hand on what they get, whose visual prefix is the slots and a tag."""
    config = SimpleNamespace(prompts=SimpleNamespace(num_slots=slots), visual_length=visual_length)
    return SimpleNamespace(config=config, llm=SimpleNamespace(output=lambda states: states, norm=lambda states: states))


def test_target_loss_sums_over_targets_predicted_one_before():
    hidden = torch.cat([torch.full((2, 4), 9.0), LOGITS]).unsqueeze(0)  # two visual positions, three of text
    labels = torch.tensor([[0, 1, 3]])
    # Label 1 is predicted by the first text state (1/4), label 3 by the second (1/5); the third predicts nothing.
    assert target_loss(fake_model(), hidden, labels).item() == pytest.approx(math.log(4) + math.log(5))


def test_target_loss_ignores_label_0_and_the_first_position():
    hidden = LOGITS.unsqueeze(0)
    assert target_loss(fake_model(), hidden, torch.tensor([[2, 0, 0]])).item() == 0
    assert target_loss(fake_model(), hidden, torch.tensor([[2, 0, 1]])).item() == pytest.approx(-math.log(2 / 5))


def test_mark_loss_sums_over_slots_each_a_mean_over_its_pieces():
    # BOS, slots 1 and 2, end_vp, text: a prefix of 3.
    hidden = torch.stack([torch.full((4,), 9.0), LOGITS[1], LOGITS[2], torch.full((4,), 9.0), LOGITS[0]]).unsqueeze(0)
    both = torch.tensor([[[1, 2], [0, -1]]])
    expected = -(math.log(2 / 5) + math.log(1 / 5)) / 2 - math.log(5 / 8)
    assert mark_loss(fake_model(), hidden, both).item() == pytest.approx(expected)
    second = torch.tensor([[[-1, -1], [0, -1]]])
    assert mark_loss(fake_model(), hidden, second).item() == pytest.approx(-math.log(5 / 8))


def test_mark_loss_without_labels_is_zero():
    hidden = LOGITS.unsqueeze(0)
    assert mark_loss(fake_model(), hidden, torch.full((1, 2, 2), -1)).item() == 0
    assert mark_loss(fake_model(), hidden, torch.empty(1, 2, 0, dtype=torch.int64)).item() == 0
