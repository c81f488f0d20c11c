"""Samples → Batch: exact small tensors."""

import torch

from accessory.data.collate import collate
from accessory.data.dataset import Sample
from SPHINX_V.inputs import PromptSlots
from SPHINX_V.processing.image import CLIP_MEAN, CLIP_STD


def slots(value):
    return PromptSlots(torch.full((1, 3, 4), value), torch.zeros(1, 3, dtype=torch.bool), torch.ones(1, 3).bool())


def sample(ids, labels, index, *, pieces=(), value=None):
    pixels = None if value is None else torch.full((3, 2, 2), value, dtype=torch.uint8)
    said = tuple((40 + slot, *label) if label else () for slot, label in enumerate(pieces))
    return Sample(ids, labels, pixels, None if value is None else slots(float(index)), said, pieces, index)


def test_texts_are_padded_on_the_right():
    batch = collate([sample([1, 5, 6, 2], [0, 0, 6, 2], 4), sample([1, 7], [0, 7], 9)], 3)
    assert batch.inputs.token_ids.tolist() == [[1, 5, 6, 2], [1, 7, 0, 0]]
    assert batch.inputs.lengths.tolist() == [4, 2]
    assert batch.labels.tolist() == [[0, 0, 6, 2], [0, 7, 0, 0]]
    assert batch.inputs.pixels is None
    assert batch.inputs.slots is None
    assert batch.indices == (4, 9)
    assert (batch.target_count, batch.mark_count) == (3, 0)


def test_texts_are_padded_to_a_multiple():
    batch = collate([sample([1, 5, 6, 2, 3], [0, 0, 6, 2, 3], 4)], 3, multiple=4)
    assert batch.inputs.token_ids.tolist() == [[1, 5, 6, 2, 3, 0, 0, 0]]
    assert batch.labels.tolist() == [[0, 0, 6, 2, 3, 0, 0, 0]]
    assert collate([sample([1, 5, 6, 2], [0] * 4, 4)], 3, multiple=4).inputs.token_ids.shape == (1, 4)


def test_the_first_position_is_no_target():
    assert collate([sample([1, 5], [1, 5], 0)], 3).target_count == 1


def test_pictures_are_normalised_and_slots_joined():
    batch = collate([sample([1, 2], [0, 2], 0, value=255), sample([1, 2], [0, 2], 1, value=0)], 3)
    expected = torch.tensor([[(level - m) / s for m, s in zip(CLIP_MEAN, CLIP_STD)] for level in (1.0, 0.0)])
    assert batch.inputs.pixels.shape == (2, 3, 2, 2)
    torch.testing.assert_close(batch.inputs.pixels[:, :, 1, 1], expected)
    assert batch.inputs.slots.coords[:, 2, 3].tolist() == [0.0, 1.0]


def test_pieces_of_marks():
    rows = [sample([1], [0], 0, pieces=((8, 9), (), (7,))), sample([1], [0], 1, pieces=((6,),))]
    batch = collate(rows, 3)
    assert batch.slot_pieces.tolist() == [
        [[40, 8, 9], [-1, -1, -1], [42, 7, -1]],
        [[40, 6, -1], [-1, -1, -1], [-1, -1, -1]],
    ]
    assert batch.label_pieces.tolist() == [[[8, 9], [-1, -1], [7, -1]], [[6, -1], [-1, -1], [-1, -1]]]
    assert (batch.mark_count, batch.label_count) == (3, 3)


def test_a_batch_may_have_lost_all_its_rows():
    batch = collate([], 3, ["items.json, item 3: broken"])
    assert batch.inputs.batch_size == 0
    assert (batch.target_count, batch.mark_count, batch.inputs.lengths.sum().item()) == (0, 0, 0)
    assert batch.failed == ("items.json, item 3: broken",)
    assert batch.to("cpu").failed == batch.failed
