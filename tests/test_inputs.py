"""Joining inputs into batches keeps every row what it was."""

import pytest
import torch

from SPHINX_V.inputs import ModelInputs, PromptSlots


def text(*ids):
    return ModelInputs(torch.tensor([ids]), torch.tensor([len(ids)]))


def with_picture(value, *ids):
    slots = PromptSlots(torch.full((1, 3, 4), value), torch.tensor([[True] * 3]), torch.tensor([[False] * 3]))
    return ModelInputs(torch.tensor([ids]), torch.tensor([len(ids)]), torch.full((1, 3, 2, 2), value), slots)


def test_texts_are_padded_on_the_right():
    batch = ModelInputs.stack([text(1, 5, 6), text(1), text(1, 7)], pad_id=9)
    assert batch.token_ids.tolist() == [[1, 5, 6], [1, 9, 9], [1, 7, 9]]
    assert batch.lengths.tolist() == [3, 1, 2]
    assert batch.pixels is None
    assert batch.slots is None
    assert batch.batch_size == 3


def test_batches_of_batches():
    batch = ModelInputs.stack([ModelInputs.stack([text(1, 5), text(1)]), text(1, 7, 8)])
    assert batch.token_ids.tolist() == [[1, 5, 0], [1, 0, 0], [1, 7, 8]]
    assert batch.lengths.tolist() == [2, 1, 3]


def test_pictures_and_slots_stay_with_their_row():
    batch = ModelInputs.stack([with_picture(0.5, 1, 2), with_picture(0.25, 1)])
    assert batch.pixels[:, 0, 0, 0].tolist() == [0.5, 0.25]
    assert batch.slots.coords[:, 0, 0].tolist() == [0.5, 0.25]
    assert batch.slots.is_point.shape == batch.slots.valid.shape == (2, 3)


def test_moving_moves_everything():
    moved = with_picture(0.5, 1, 2).to("meta")
    tensors = [
        moved.token_ids,
        moved.lengths,
        moved.pixels,
        moved.slots.coords,
        moved.slots.is_point,
        moved.slots.valid,
    ]
    assert {tensor.device.type for tensor in tensors} == {"meta"}
    assert text(1).to("meta").pixels is None


def test_rows_with_and_without_a_picture_do_not_mix():
    with pytest.raises(AssertionError, match="with and without a picture"):
        ModelInputs.stack([text(1), with_picture(0.5, 1)])
    with pytest.raises(AssertionError, match="come together"):
        ModelInputs(torch.ones(1, 1), torch.ones(1), pixels=torch.zeros(1, 3, 2, 2))
