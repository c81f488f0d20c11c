"""Peculiarities that released weights were trained with; each test is named after its quirk and computes it by hand."""

import math

import pytest
import torch
from torch.nn import functional

from SPHINX_V.config import (
    ConvNeXtConfig,
    PromptConfig,
    QFormerConfig,
    VisionConfig,
    blip2_tower,
    clip_tower,
    dinov2_tower,
)
from SPHINX_V.model import convnext, qformer, vit
from SPHINX_V.model.prompt_encoder import PromptEncoder
from SPHINX_V.model.vision import MixedEncoder, clip_to_imagenet, split_views


def noise(*shape, seed=3):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def randomise(module):
    with torch.no_grad():
        for index, parameter in enumerate(module.parameters()):
            parameter.copy_(noise(*parameter.shape, seed=index) * 0.3)
    return module.eval().requires_grad_(False)


def cubic(distance):
    """Keys' cubic convolution kernel with a = -0.75, the one of PyTorch's bicubic mode."""
    d, a = abs(distance), -0.75
    if d <= 1:
        return (a + 2) * d**3 - (a + 3) * d**2 + 1
    return a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a if d < 2 else 0.0


def cubic_matrix(target, source, factor):
    """[target, source] weights of a row: output i samples the source at (i + 0.5) / factor - 0.5, borders repeated."""
    matrix = torch.zeros(target, source)
    for row in range(target):
        place = (row + 0.5) / factor - 0.5
        for tap in range(math.floor(place) - 1, math.floor(place) + 3):
            matrix[row, min(max(tap, 0), source - 1)] += cubic(place - tap)
    return matrix


def exact_gelu(x):
    return torch.tensor([0.5 * v * (1 + math.erf(v / math.sqrt(2))) for v in x.flatten().tolist()]).reshape(x.shape)


@pytest.fixture(scope="module")
def towers():
    """All four encoders at small sizes, for views of 224 pixels."""
    sizes = VisionConfig(
        clip=clip_tower(8, 1, 2, grid=16),
        dinov2=dinov2_tower(8, 1, 2, grid=37),
        blip2_vit=blip2_tower(8, 1, 2, mlp_width=16, grid=16),
        convnext=ConvNeXtConfig(depths=(1, 1, 1, 1), dims=(4, 6, 8, 10)),
        qformer=QFormerConfig(width=8, layers=1, heads=2, mlp_width=16, num_query_tokens=3),
    )
    return randomise(MixedEncoder(sizes))


def test_convnext_views_are_enlarged_by_nearest_neighbour_from_224_to_256(towers):
    views = noise(2, 3, 224, 224)
    taken = torch.tensor([pixel * 224 // 256 for pixel in range(256)])
    cells = towers.convnext(views[..., taken, :][..., taken])
    assert cells.shape[-2:] == (8, 8)
    doubled = cells.repeat_interleave(2, -1).repeat_interleave(2, -2).flatten(2).transpose(1, 2)
    tokens = towers.convnext_tokens(views)
    assert torch.allclose(tokens[:, 1:], doubled, atol=1e-6)
    smooth = functional.interpolate(views, size=(256, 256), mode="bilinear")
    assert (towers.convnext(smooth) - cells).abs().max() > 0.05, "the test could not see another resize"


def test_convnext_class_token_is_the_mean_of_its_cells(towers):
    tokens = towers.convnext_tokens(noise(2, 3, 224, 224))
    assert tokens.shape == (2, 257, 10)
    assert torch.allclose(tokens[:, 0], tokens[:, 1:].mean(1), atol=1e-6)


def test_channels_are_clip_then_convnext_then_dinov2(towers):
    views = noise(2, 3, 224, 224)
    mixed, queries = towers(views)
    assert torch.allclose(mixed[..., :8], towers.clip(views), atol=1e-6)
    assert torch.allclose(mixed[..., 8:18], towers.convnext_tokens(views), atol=1e-6)
    assert torch.allclose(mixed[..., 18:], towers.dinov2(clip_to_imagenet(views)), atol=1e-6)
    assert torch.allclose(queries, towers.qformer(towers.blip2_vit(views)), atol=1e-6)


def test_dinov2_sees_imagenet_normalisation_and_the_others_clip_normalisation():
    unit = torch.rand(3, 5, 5, generator=torch.Generator().manual_seed(1))

    def channels(*values):
        return torch.tensor(values).view(3, 1, 1)

    clip = (unit - channels(0.48145466, 0.4578275, 0.40821073)) / channels(0.26862954, 0.26130258, 0.27577711)
    imagenet = (unit - channels(0.485, 0.456, 0.406)) / channels(0.229, 0.224, 0.225)
    assert torch.allclose(clip_to_imagenet(clip), imagenet, atol=1e-5)


@pytest.mark.parametrize(("side", "grid"), [(37, 16), (37, 32), (7, 4)])
def test_position_table_is_resampled_by_scale_factor_not_by_size(side, grid):
    table = noise(1 + side * side, 6)
    resampled = vit.resample_positions(table, grid)
    maps = table[1:].reshape(side, side, 6)

    def by_hand(factor):
        matrix = cubic_matrix(grid, side, factor)
        return torch.einsum("ys,xt,stc->yxc", matrix, matrix, maps).flatten(0, 1)

    assert torch.equal(resampled[0], table[0]), "the class token has no place to resample"
    assert torch.allclose(resampled[1:], by_hand((grid + 0.1) / side), atol=2e-5)
    assert (resampled[1:] - by_hand(grid / side)).abs().max() > 1e-2, "the quirk is lost"


def test_position_table_of_the_own_grid_is_taken_as_it_is(towers):
    assert towers.clip.positions(16) is towers.clip.position_embedding
    assert towers.dinov2.positions(16).shape == (257, 8)


def test_resampled_positions_follow_the_weights():
    """The resampled table is kept, but never beyond a change of the weights, of dtype, or past training."""
    tower = randomise(vit.ViT(dinov2_tower(8, 1, 2, grid=7)))
    before = tower.positions(4)
    assert tower.positions(4) is before, "resampled once"
    with torch.no_grad():
        tower.position_embedding.add_(1.0)
    assert torch.allclose(tower.positions(4), before + 1.0, atol=1e-5)
    assert tower.to(torch.bfloat16).positions(4).dtype == torch.bfloat16
    tower.float().requires_grad_(True)
    tower.positions(4).sum().backward()
    assert tower.position_embedding.grad is not None


def test_resampled_positions_of_weights_made_in_inference_mode():
    with torch.inference_mode():
        tower = randomise(vit.ViT(dinov2_tower(8, 1, 2, grid=7)))
        assert tower(noise(1, 3, 56, 56)).shape == (1, 17, 8)


def test_five_views_are_the_whole_then_the_crops_row_by_row():
    pixels = torch.zeros(2, 3, 8, 8)
    for number, (row, column) in enumerate([(0, 0), (0, 4), (4, 0), (4, 4)], start=1):
        pixels[:, :, row : row + 4, column : column + 4] = number
    views = split_views(pixels)
    assert views.shape == (2, 5, 3, 4, 4)
    for number in (1, 2, 3, 4):
        assert (views[:, number] == number).all()
    assert views[0, 0, 0, [0, 0, 3, 3], [0, 3, 0, 3]].round().tolist() == [1, 2, 3, 4]


def test_the_whole_view_is_bicubic_without_antialias():
    pixels = noise(1, 3, 8, 8)
    # At half size every sample lies midway between two pixels: four taps, where antialiasing would use eight.
    matrix = cubic_matrix(4, 8, 0.5)
    assert matrix[1].tolist() == [0, -0.09375, 0.59375, 0.59375, -0.09375, 0, 0, 0]
    expected = torch.einsum("ys,xt,bcst->bcyx", matrix, matrix, pixels)
    assert torch.allclose(split_views(pixels)[:, 0], expected, atol=1e-6)


def test_views_are_made_in_float32_whatever_comes_in():
    assert split_views(noise(1, 3, 8, 8).half()).dtype == torch.float32


def test_coordinates_are_shifted_by_half_a_pixel_though_they_are_in_unit_frame():
    encoder = PromptEncoder(PromptConfig(frequencies=5))
    coords = torch.tensor([[0.0, 0.0], [1.0, 0.25], [0.123, 0.9]])
    frequencies = encoder.frequencies.double()
    shifted = 2 * (coords.double() + 0.5) - 1
    angles = 2 * math.pi * (shifted[:, :1] * frequencies[0] + shifted[:, 1:] * frequencies[1])
    expected = torch.cat([angles.sin(), angles.cos()], dim=-1)
    features = encoder.fourier(coords)
    assert torch.allclose(features.double(), expected, atol=1e-5)
    # Without the shift the corner (0, 0) would be at (-1, -1), not in the middle of the frequencies' range.
    assert features[0].tolist() == [0.0] * 5 + [1.0] * 5


@pytest.mark.parametrize("part", ["vit", "qformer", "convnext"])
def test_gelu_is_the_exact_form_with_erf(part):
    x = noise(2, 9, 6)
    if part == "vit":
        mlp = randomise(vit.Mlp(clip_tower(6, 1, 2, grid=4)))
        computed, expected = mlp(x), mlp.fc2(exact_gelu(mlp.fc1(x)))
    elif part == "qformer":
        sizes = QFormerConfig(width=6, layers=1, heads=2, mlp_width=24)
        layer = randomise(qformer.Layer(sizes, 6, reads_picture=False))
        attended = layer.attention(x, x)
        computed, expected = layer(x, x), layer.norm(layer.fc2(exact_gelu(layer.fc1(attended))) + attended)
    else:
        x = noise(2, 6, 3, 3)
        block = randomise(convnext.Block(6, 1e-5))
        mixed = block.fc1(block.norm(block.conv(x).permute(0, 2, 3, 1)))
        computed = block(x)
        expected = x + (block.fc2(exact_gelu(mixed)) * block.gamma).permute(0, 3, 1, 2)
    # The tanh form is off by up to 5e-4 at single values; the sums of the second layer are of order one.
    assert torch.allclose(computed, expected, atol=2e-6)
