"""The 13B preset against the published configurations, built on the meta device: epsilons, activations, counts."""

import pytest
import torch
from torch import nn

from SPHINX_V.config import sphinx_v_13b, tiny
from SPHINX_V.inputs import ModelInputs, PromptSlots
from SPHINX_V.model.llama import RMSNorm
from SPHINX_V.model.sphinx_v import SphinxV
from SPHINX_V.model.vit import ViT


@pytest.fixture(scope="module")
def released():
    with torch.device("meta"):
        return SphinxV(sphinx_v_13b())


def norms(module):
    return [part for part in module.modules() if isinstance(part, (nn.LayerNorm, nn.GroupNorm, RMSNorm))]


# part → epsilon of every norm in it, and how many there are: two per block and the ends.
EPSILONS = {
    "llm": (1e-5, 2 * 40 + 1),
    "vision.clip": (1e-5, 2 * 24 + 2),
    "vision.dinov2": (1e-6, 2 * 40 + 1),
    "vision.blip2_vit": (1e-6, 2 * 39 + 1),
    # stem, one per block, one before each halving, the final one
    "vision.convnext": (1e-5, 1 + (3 + 4 + 30 + 3) + 3 + 1),
    # the query tokens', then self-attention and feed-forward everywhere, cross-attention in every second layer
    "vision.qformer": (1e-12, 1 + 2 * 12 + 6),
    "visual_proj": (1e-5, 1),
    "qformer_proj": (1e-5, 1),
    "vp_proj": (1e-5, 1),
}


@pytest.mark.parametrize("part", EPSILONS)
def test_epsilon_of_every_norm(released, part):
    epsilon, number = EPSILONS[part]
    found = norms(released.get_submodule(part))
    assert [norm.eps for norm in found] == [epsilon] * number


def test_no_norm_is_outside_the_table(released):
    assert len(norms(released)) == sum(number for _, number in EPSILONS.values())


# Published parameter counts. CLIP ViT-L/14 without its projection and DINOv2 ViT-g/14 without its mask token.
COUNTS = {
    "llm": 13_015_864_320,
    "vision.clip": 303_179_776,
    "vision.dinov2": 1_136_480_768 - 1536,
    "vision.blip2_vit": 985_952_256,
    "vision.convnext": 846_471_016 - (3072 * 1000 + 1000),  # timm's convnext_xxlarge less its classifier
    "visual_proj": 5632 * 5120 + 5120 + 2 * 5120,
    "qformer_proj": 768 * 5120 + 5120 + 2 * 5120,
    "vp_proj": 512 * 5120 + 5120 + 2 * 5120,
    "prompt_encoder": 2 * 128 + 2 * 256 + 2 * 512 + 2 * 256 + (256 * 512 + 512),
}


def count(module):
    """Numbers in a checkpoint: parameters and buffers."""
    return sum(tensor.numel() for tensor in module.state_dict().values())


@pytest.mark.parametrize("part", COUNTS)
def test_parameters_of_every_part(released, part):
    assert count(released.get_submodule(part)) == COUNTS[part]


def test_parameters_of_the_q_former_by_hand(released):
    width, mlp, picture = 768, 3072, 1408
    linear = width * width + width
    self_attention = 4 * linear + 2 * width
    cross_attention = 2 * linear + 2 * (picture * width + width) + 2 * width
    feed_forward = width * mlp + mlp + mlp * width + width + 2 * width
    expected = 12 * (self_attention + feed_forward) + 6 * cross_attention + 2 * width + 32 * width
    assert count(released.vision.qformer) == expected


def test_parameters_of_the_whole_file(released):
    text_side = 768 * 768 + 77 * 768 + 49408 * 768 + 2 * 768 + 1  # projection, positions, vocabulary, last norm, scale
    unused = text_side + 1024 * 768 + 1536  # CLIP's visual projection and DINOv2's mask token
    assert unused == pytest.approx(39e6, rel=0.02)
    assert count(released) + unused == 16_465_009_537
    assert count(released.vision) + unused == pytest.approx(3.41e9, abs=5e6)


def test_activations(released):
    for name in ("clip", "blip2_vit"):
        assert {block.mlp.hidden_act for block in released.vision.get_submodule(name).blocks} == {"gelu"}
    assert {block.mlp.hidden_act for block in released.vision.dinov2.blocks} == {"swiglu"}


def test_shape_of_the_language_model(released):
    config, llm = released.config.llm, released.llm
    assert (config.head_dim, config.kv_heads, config.ffn_dim, config.rope_theta) == (128, 40, 13824, 10000.0)
    assert config.max_seq_len == 4096
    assert llm.output.weight.shape == (32000, 5120)
    assert llm.output.weight is not llm.tok_embeddings.weight
    assert llm.layers[0].feed_forward.w1.weight.shape == (13824, 5120)
    linears = [part for part in llm.modules() if isinstance(part, nn.Linear)]
    assert all(part.bias is None for part in linears)


def test_shape_of_the_towers(released):
    vision = released.vision
    heads = {name: vision.get_submodule(name).blocks[0].attn.heads for name in ("clip", "dinov2", "blip2_vit")}
    assert heads == {"clip": 16, "dinov2": 24, "blip2_vit": 16}
    assert {layer.attention.heads for layer in vision.qformer.layers} == {12}
    assert [layer.crossattention is not None for layer in vision.qformer.layers] == [True, False] * 6
    assert vision.clip.patch_embed.bias is None
    assert vision.dinov2.patch_embed.bias is not None
    assert vision.blip2_vit.patch_embed.bias is not None
    assert vision.clip.pre_norm is not None
    assert vision.dinov2.pre_norm is None
    assert vision.dinov2.position_embedding.shape == (37 * 37 + 1, 1536)
    assert vision.dinov2.blocks[0].mlp.fc1.weight.shape == (2 * 4096, 1536)
    assert vision.dinov2.blocks[0].scale1.shape == (1536,)
    assert vision.clip.blocks[0].scale1 is None


def test_lengths_and_widths_follow_from_the_towers():
    config = sphinx_v_13b()
    assert config.visual_length == 1467
    assert config.vision.picture_size == 448
    assert config.vision.convnext_size == 256
    assert config.vision.mixed_width == 5632
    assert config.vision.tokens_per_view == 32 + 257
    assert (config.prompts.corner_width, config.prompts.width, config.prompts.num_slots) == (256, 512, 10)


def test_tiny_has_about_130_visual_tokens():
    assert 120 <= tiny().visual_length <= 140
    assert tiny().vision.view_size < 224
    assert tiny().vision.qformer.num_query_tokens < 32


def test_released_models_have_no_part_of_the_small_recipe(released):
    assert not released.config.vision.position_features
    towers = [part for part in released.vision.modules() if isinstance(part, ViT)]
    assert len(towers) == 3
    assert all(isinstance(tower.patch_embed, nn.Conv2d) for tower in towers)


def variant(**changes):
    """`tiny` with sizes of other parts changed; the rest must follow."""
    values = tiny().model_dump()
    for path, value in changes.items():
        *parents, last = path.split("__")
        target = values
        for parent in parents:
            target = target[parent]
        target[last] = value
    return type(tiny()).model_validate(values)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"llm__dim": 96, "llm__n_kv_heads": 2, "llm__vocab_size": 99},
        {"vision__convnext__dims": (4, 6, 8, 10), "vision__qformer__num_query_tokens": 7},
        {"prompts__num_slots": 3, "prompts__frequencies": 9},
        {"vision__clip__stem": "patch", "vision__position_features": False},
        {"vision__qformer__layers": 3, "vision__blip2_vit__width": 40},
    ],
)
def test_every_size_comes_from_the_configuration(changes):
    """Other sizes run as they are, and a picture's sequence has the length that the configuration says."""
    config = variant(**changes)
    model = SphinxV(config).eval()
    side, slots = config.vision.picture_size, config.prompts.num_slots
    inputs = ModelInputs(
        token_ids=torch.ones(2, 5, dtype=torch.long),
        lengths=torch.tensor([5, 5]),
        pixels=torch.zeros(2, 3, side, side),
        slots=PromptSlots(torch.zeros(2, slots, 4), *torch.zeros(2, 2, slots, dtype=torch.bool)),
    )
    with torch.no_grad():
        assert model.embed(inputs).shape == (2, config.visual_length + 5, config.llm.dim)
        assert model(inputs).shape == (2, 5, config.llm.vocab_size)
