"""Places of patches, for the recipes that give patches the marks' own features."""

import pytest
import torch

from SPHINX_V.config import tiny
from SPHINX_V.inputs import PromptSlots
from SPHINX_V.model.init import initialise
from SPHINX_V.model.sphinx_v import SphinxV
from SPHINX_V.model.vision import patch_boxes


def test_patch_boxes_lie_where_their_view_lies():
    whole, top_left, top_right, bottom_left, bottom_right = patch_boxes(2)
    assert whole.tolist() == [[0, 0, 0.5, 0.5], [0.5, 0, 1, 0.5], [0, 0.5, 0.5, 1], [0.5, 0.5, 1, 1]]
    assert top_left[3].tolist() == [0.25, 0.25, 0.5, 0.5]
    assert top_right[0].tolist() == [0.5, 0, 0.75, 0.25]
    assert bottom_left[0].tolist() == [0, 0.5, 0.25, 0.75]
    assert bottom_right[3].tolist() == [0.75, 0.75, 1, 1]


def test_the_crops_tile_the_picture():
    crops = patch_boxes(4)[1:].flatten(0, 1)
    areas = (crops[:, 2] - crops[:, 0]) * (crops[:, 3] - crops[:, 1])
    assert areas.sum().item() == pytest.approx(1.0)
    assert len({tuple(corner) for corner in crops[:, :2].tolist()}) == 4 * 16


@pytest.mark.parametrize("batch", [1, 2])
def test_a_patch_carries_its_place_and_a_class_token_none(batch):
    with_places = tiny()
    assert with_places.vision.position_features
    without = with_places.model_copy(
        update={"vision": with_places.vision.model_copy(update={"position_features": False})}
    )
    models = [SphinxV(config).eval().requires_grad_(False) for config in (with_places, without)]
    for model in models:
        initialise(model, seed=0)
    pixels = torch.randn(batch, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    added = models[0].encode_image(pixels) - models[1].encode_image(pixels)
    queries = with_places.vision.qformer.num_query_tokens
    assert added[:, :, : queries + 1].abs().max() == 0
    # View 3 is the bottom-left quarter; its patch 6 of 4 × 4 stands in row 1, column 2.
    point = torch.tensor([[[2.5 / 8, 0.5 + 1.5 / 8, -1, -1]]])
    box = torch.tensor([[[2 / 8, 0.5 + 1 / 8, 3 / 8, 0.5 + 2 / 8]]])
    yes = torch.tensor([[True]])
    marks = models[0].encode_prompts(PromptSlots(point, yes, yes)) + models[0].encode_prompts(
        PromptSlots(box, ~yes, yes)
    )
    assert torch.allclose(added[:, 3, queries + 1 + 6], marks[0].expand(batch, -1), atol=1e-4)
