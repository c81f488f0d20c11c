"""Every tower and the language model against transformers' own, at tiny sizes with transformers' random weights.

Norm epsilons are set to 0.01 on both sides, so that one that is not taken from the configuration shows.
"""

import pytest
import torch

from SPHINX_V.config import ConvNeXtConfig, LlamaConfig, QFormerConfig, blip2_tower, clip_tower, dinov2_tower
from SPHINX_V.model.convnext import ConvNeXt
from SPHINX_V.model.llama import Llama
from SPHINX_V.model.qformer import QFormer
from SPHINX_V.model.vit import ViT

pytest.importorskip("transformers", reason="transformers is the other side of these tests: pip install -e '.[test]'")

from transformers.models.blip_2.configuration_blip_2 import Blip2QFormerConfig, Blip2VisionConfig
from transformers.models.blip_2.modeling_blip_2 import Blip2QFormerModel, Blip2VisionModel
from transformers.models.clip.configuration_clip import CLIPVisionConfig
from transformers.models.clip.modeling_clip import CLIPVisionModel
from transformers.models.convnext import modeling_convnext as hf_convnext
from transformers.models.dinov2.modeling_dinov2 import Dinov2Config, Dinov2Model

from tests.transformers_llama import llama_weights, transformers_llama

# The order of float32 sums differs; the values themselves are of order one.
TOLERANCE = 1e-5
EPS = 1e-2


def randomised(module):
    """Every parameter random, also those that start at zero or one, so that none can be left out unseen."""
    generator = torch.Generator().manual_seed(5)
    for name, parameter in module.named_parameters():
        scale = 0.5 if parameter.ndim < 2 else 1.5 / parameter[0].numel() ** 0.5
        parameter.data.normal_(std=min(scale, 1.0), generator=generator)
        if name.endswith("norm.weight") or "norm1.weight" in name or "norm2.weight" in name:
            parameter.data += 1.0
    return module.eval()


def load(ours, weights):
    """Strict: every one of our parameters comes from the other side."""
    ours.load_state_dict({name: tensor.reshape(ours.state_dict()[name].shape) for name, tensor in weights.items()})
    return ours.eval()


def noise(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(11))


@torch.no_grad()
def assert_equal(ours, theirs):
    assert ours.shape == theirs.shape
    assert theirs.std() > 0.1, "a comparison of nothing"
    assert (ours - theirs).abs().max().item() < TOLERANCE


# ---- the language model


def llama_pair(kv_heads, theta):
    config = LlamaConfig(
        dim=32, n_layers=2, n_heads=4, n_kv_heads=kv_heads, vocab_size=29, multiple_of=8, norm_eps=EPS, rope_theta=theta
    )
    theirs = transformers_llama(config)
    state = randomised(theirs).state_dict()
    return load(Llama(config), dict(llama_weights(state, config))), theirs


@pytest.mark.parametrize("kv_heads", [None, 2, 1])
@pytest.mark.parametrize("theta", [10000.0, 500.0])
@torch.no_grad()
def test_llama_logits(kv_heads, theta):
    ours, theirs = llama_pair(kv_heads, theta)
    ids = torch.arange(100).remainder(29).reshape(2, 50)
    logits = ours.output(ours(ours.tok_embeddings(ids)))
    assert_equal(logits, theirs(input_ids=ids).logits)


# ---- the three vision transformers

BLOCKS = ("weight", "bias")


def vit_layer(ours, theirs, names, state):
    """`names`: our module → theirs, in one layer; packed projections are joined from theirs where those are three."""
    for our_name, their_name in names.items():
        for kind in BLOCKS:
            parts = their_name if isinstance(their_name, tuple) else (their_name,)
            yield f"{ours}{our_name}.{kind}", torch.cat([state[f"{theirs}{part}.{kind}"] for part in parts])


def clip_weights(state, layers):
    yield "class_token", state["embeddings.class_embedding"]
    yield "position_embedding", state["embeddings.position_embedding.weight"]
    yield "patch_embed.weight", state["embeddings.patch_embedding.weight"]
    for kind in BLOCKS:
        yield f"pre_norm.{kind}", state[f"pre_layrnorm.{kind}"]
        yield f"norm.{kind}", state[f"post_layernorm.{kind}"]
    names = {
        "norm1": "layer_norm1",
        "attn.qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
        "attn.proj": "self_attn.out_proj",
        "norm2": "layer_norm2",
        "mlp.fc1": "mlp.fc1",
        "mlp.fc2": "mlp.fc2",
    }
    for index in range(layers):
        yield from vit_layer(f"blocks.{index}.", f"encoder.layers.{index}.", names, state)


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
@torch.no_grad()
def test_clip_tokens(activation):
    theirs = CLIPVisionModel(
        CLIPVisionConfig(
            hidden_size=24,
            intermediate_size=96,
            num_hidden_layers=2,
            num_attention_heads=3,
            image_size=56,
            patch_size=14,
            hidden_act=activation,
            layer_norm_eps=EPS,
        )
    )
    state = {name.removeprefix("vision_model."): tensor for name, tensor in randomised(theirs).state_dict().items()}
    config = clip_tower(24, 2, 3, grid=4, hidden_act=activation, norm_eps=EPS)
    ours = load(ViT(config), dict(clip_weights(state, 2)))
    views = noise(2, 3, 56, 56)
    # transformers norms the class token only (`pooler_output`); SPHINX-V takes all tokens after the final norm.
    expected = torch.nn.functional.layer_norm(
        theirs(pixel_values=views).last_hidden_state,
        (24,),
        state["post_layernorm.weight"],
        state["post_layernorm.bias"],
        EPS,
    )
    assert_equal(ours(views), expected)
    assert_equal(ours(views)[:, 0], theirs(pixel_values=views).pooler_output)


def dinov2_weights(state, layers):
    yield "class_token", state["embeddings.cls_token"]
    yield "position_embedding", state["embeddings.position_embeddings"]
    for kind in BLOCKS:
        yield f"patch_embed.{kind}", state[f"embeddings.patch_embeddings.projection.{kind}"]
        yield f"norm.{kind}", state[f"layernorm.{kind}"]
    names = {
        "norm1": "norm1",
        "attn.qkv": ("attention.q_proj", "attention.k_proj", "attention.v_proj"),
        "attn.proj": "attention.o_proj",
        "norm2": "norm2",
        "mlp.fc1": ("mlp.gate_proj", "mlp.up_proj"),
        "mlp.fc2": "mlp.down_proj",
    }
    for index in range(layers):
        theirs = f"encoder.layer.{index}."
        yield from vit_layer(f"blocks.{index}.", theirs, names, state)
        yield f"blocks.{index}.scale1", state[theirs + "layer_scale1.lambda1"]
        yield f"blocks.{index}.scale2", state[theirs + "layer_scale2.lambda1"]


def dinov2_pair(grid):
    theirs = Dinov2Model(
        Dinov2Config(
            hidden_size=24,
            num_hidden_layers=2,
            num_attention_heads=3,
            image_size=14 * grid,
            patch_size=14,
            layer_norm_eps=EPS,
            use_swiglu_ffn=True,
        )
    )
    state = randomised(theirs).state_dict()
    config = dinov2_tower(24, 2, 3, grid=grid, norm_eps=EPS)
    return load(ViT(config), dict(dinov2_weights(state, 2))), theirs


@torch.no_grad()
def test_dinov2_tokens():
    """SwiGLU's width and order of halves, both LayerScales, the final norm; on the table's own grid."""
    ours, theirs = dinov2_pair(4)
    views = noise(2, 3, 56, 56)
    assert_equal(ours(views), theirs(pixel_values=views).last_hidden_state)


@torch.no_grad()
def test_dinov2_resampled_positions_differ_by_the_scale_factor_only():
    """transformers resamples to the target size; with its table in place of ours the outputs agree."""
    ours, theirs = dinov2_pair(7)
    views = noise(1, 3, 56, 56)
    expected = theirs(pixel_values=views).last_hidden_state
    assert (ours(views) - expected).abs().max() > 1e-3, "the quirk is lost: this is resampling by target size"
    table = theirs.embeddings.interpolate_pos_encoding(torch.zeros(1, 17, 24), 56, 56)[0]
    ours.positions = lambda grid: table
    assert_equal(ours(views), expected)


def blip2_weights(state, layers):
    yield "class_token", state["embeddings.class_embedding"]
    yield "position_embedding", state["embeddings.position_embedding"]
    for kind in BLOCKS:
        yield f"patch_embed.{kind}", state[f"embeddings.patch_embedding.{kind}"]
        yield f"norm.{kind}", state[f"post_layernorm.{kind}"]
    names = {
        "norm1": "layer_norm1",
        "attn.qkv": "self_attn.qkv",
        "attn.proj": "self_attn.projection",
        "norm2": "layer_norm2",
        "mlp.fc1": "mlp.fc1",
        "mlp.fc2": "mlp.fc2",
    }
    for index in range(layers):
        yield from vit_layer(f"blocks.{index}.", f"encoder.layers.{index}.", names, state)


@torch.no_grad()
def test_blip2_vit_tokens():
    theirs = Blip2VisionModel(
        Blip2VisionConfig(
            hidden_size=24,
            intermediate_size=40,
            num_hidden_layers=2,
            num_attention_heads=3,
            image_size=56,
            patch_size=14,
            layer_norm_eps=EPS,
        )
    )
    state = randomised(theirs).state_dict()
    config = blip2_tower(24, 2, 3, mlp_width=40, grid=4, norm_eps=EPS)
    ours = load(ViT(config), dict(blip2_weights(state, 2)))
    views = noise(2, 3, 56, 56)
    assert_equal(ours(views), theirs(pixel_values=views).last_hidden_state)


# ---- the Q-Former and ConvNeXt


@pytest.mark.parametrize("frequency", [2, 1, 3])
@torch.no_grad()
def test_qformer_query_tokens(frequency):
    theirs = Blip2QFormerModel(
        Blip2QFormerConfig(
            hidden_size=24,
            intermediate_size=40,
            num_hidden_layers=4,
            num_attention_heads=3,
            encoder_hidden_size=20,
            cross_attention_frequency=frequency,
            layer_norm_eps=EPS,
        )
    )
    state = randomised(theirs).state_dict()
    ends = {
        "attention.query": "attention.attention.query",
        "attention.key": "attention.attention.key",
        "attention.value": "attention.attention.value",
        "attention.dense": "attention.output.dense",
        "attention.norm": "attention.output.LayerNorm",
    }
    # Cross-attention has the same five parts; layers without it have none.
    crossing = {f"cross{ours}": f"cross{other}" for ours, other in ends.items()}
    feeding = {"fc1": "intermediate_query.dense", "fc2": "output_query.dense", "norm": "output_query.LayerNorm"}
    weights = {f"norm.{kind}": state[f"layernorm.{kind}"] for kind in BLOCKS}
    for index in range(4):
        names = {**ends, **(crossing if index % frequency == 0 else {}), **feeding}
        weights |= dict(vit_layer(f"layers.{index}.", f"encoder.layer.{index}.", names, state))
    weights["query_tokens"] = queries = noise(1, 6, 24)
    config = QFormerConfig(
        width=24,
        layers=4,
        heads=3,
        mlp_width=40,
        num_query_tokens=6,
        cross_attention_frequency=frequency,
        norm_eps=EPS,
    )
    ours = load(QFormer(config, context_width=20), weights)
    picture = noise(2, 10, 20)
    expected = theirs(query_embeds=queries.expand(2, -1, -1), encoder_hidden_states=picture).last_hidden_state
    assert_equal(ours(picture), expected)


@torch.no_grad()
def test_convnext_map():
    theirs = hf_convnext.ConvNextModel(
        hf_convnext.ConvNextConfig(hidden_sizes=[8, 12, 16, 24], depths=[1, 2, 1, 1], layer_norm_eps=1e-6)
    )
    state = randomised(theirs).state_dict()
    weights = {}
    for kind in BLOCKS:
        weights[f"stem.0.{kind}"] = state[f"embeddings.patch_embeddings.{kind}"]
        weights[f"stem.1.{kind}"] = state[f"embeddings.layernorm.{kind}"]
        weights[f"norm.{kind}"] = state[f"layernorm.{kind}"]
    names = {"conv": "dwconv", "norm": "layernorm", "fc1": "pwconv1", "fc2": "pwconv2"}
    for stage, depth in enumerate((1, 2, 1, 1)):
        ours, others = f"stages.{stage}.", f"encoder.stages.{stage}."
        if stage:
            halving = {"downsample.0": "downsampling_layer.0", "downsample.1": "downsampling_layer.1"}
            weights |= dict(vit_layer(ours, others, halving, state))
        for block in range(depth):
            weights |= dict(vit_layer(f"{ours}blocks.{block}.", f"{others}layers.{block}.", names, state))
            weights[f"{ours}blocks.{block}.gamma"] = state[f"{others}layers.{block}.layer_scale_parameter"]
    # transformers' inner norms have 1e-6 written in; ours follow the configuration.
    model = load(ConvNeXt(ConvNeXtConfig(depths=(1, 2, 1, 1), dims=(8, 12, 16, 24), norm_eps=1e-6)), weights)
    pictures = noise(2, 3, 64, 64)
    # transformers pools before the final norm; timm's head norms the map, which is what SPHINX-V takes.
    expected = theirs.layernorm(theirs(pixel_values=pictures).last_hidden_state.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    assert_equal(model(pictures), expected)
