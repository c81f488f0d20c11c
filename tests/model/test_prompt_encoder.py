"""Marks one pixel apart stay apart, in every dtype, and each slot has its own kind."""

import math

import pytest
import torch

from SPHINX_V.config import PromptConfig
from SPHINX_V.inputs import PromptSlots
from SPHINX_V.model.prompt_encoder import PromptEncoder


def encoder_in(dtype):
    generator = torch.Generator().manual_seed(2)
    encoder = PromptEncoder(PromptConfig(frequencies=32))
    with torch.no_grad():
        for tensor in (*encoder.parameters(), *encoder.buffers()):
            tensor.normal_(generator=generator)
    return encoder.to(dtype).requires_grad_(False)


def slots(*rows, valid=None):
    """Rows of four numbers; a third of -1 says point."""
    return PromptSlots(
        coords=torch.tensor([rows]),
        is_point=torch.tensor([[row[2] == -1 for row in rows]]),
        valid=torch.tensor([valid or [True] * len(rows)]),
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("autocast", [False, True])
def test_fourier_features_stay_float32_under_low_precision_weights(dtype, autocast):
    encoder = encoder_in(dtype)
    # Neighbours in a picture of 1000 pixels; (x + 0.5) is about 1.4, where a step of bfloat16 is 0.008.
    coords = torch.tensor([[0.900, 0.500], [0.901, 0.500], [0.901, 0.501]])
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        features = encoder.fourier(coords)
    assert features.dtype == torch.float32
    angles = 2 * math.pi * (2 * (coords.double() + 0.5) - 1) @ encoder.frequencies.double()
    expected = torch.cat([angles.sin(), angles.cos()], -1)
    assert (features - expected).abs().max() < 1e-4
    assert (features[0] - features[1]).abs().max() > 1e-2
    assert (features[1] - features[2]).abs().max() > 1e-2


@pytest.mark.parametrize("third", [(-1.0, -1.0), (0.95, 0.75)], ids=["points", "boxes"])
def test_bfloat16_prompts_one_pixel_in_a_thousand_apart_give_different_features(third):
    encoder = encoder_in(torch.bfloat16)
    tokens = encoder(slots((0.900, 0.500, *third), (0.901, 0.500, *third)))
    assert tokens.dtype == torch.bfloat16
    assert (tokens[0, 0] - tokens[0, 1]).abs().max() > 1e-2


def test_points_and_boxes_by_hand():
    encoder = encoder_in(torch.float32)
    point, box = (0.25, 0.5, -1.0, -1.0), (0.1, 0.2, 0.3, 0.4)
    tokens = encoder(slots(point, box, point, box, valid=[True, True, False, False]))[0]
    first = encoder.fourier(torch.tensor(point[:2]))
    corners = [encoder.fourier(torch.tensor(box[:2])) + encoder.corner0]
    corners += [encoder.fourier(torch.tensor(box[2:])) + encoder.corner1]
    expected = [
        encoder.up(first + encoder.point_valid),
        torch.cat(corners) + encoder.box_valid,
        encoder.up(first + encoder.point_invalid),
        torch.cat(corners) + encoder.box_invalid,
    ]
    assert torch.allclose(tokens, torch.stack(expected), atol=1e-5)


def test_frequencies_are_a_buffer_of_the_checkpoint_and_never_trained():
    encoder = PromptEncoder(PromptConfig())
    assert "frequencies" in encoder.state_dict()
    assert "frequencies" not in dict(encoder.named_parameters())
    assert encoder.frequencies.shape == (2, 128)
