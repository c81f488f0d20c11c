"""Names of tensors in the encoders' original and transformers' files, as tables to ours; `#` is a layer number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Place:
    """Our name, and which of how many pieces of it a tensor is (packed q, k, v; packed SwiGLU)."""

    name: str
    index: int = 0
    of: int = 1


Table = dict[str, Place]
_BOTH = ("weight", "bias")


def _modules(prefix: str, ours: str, names: Mapping[str, str | tuple[str, int, int]]) -> Table:
    """Weight and bias of every module in `names`; the value is ours, or (ours, piece, pieces)."""
    table = {}
    for stored, target in names.items():
        name, index, of = target if isinstance(target, tuple) else (target, 0, 1)
        for kind in _BOTH:
            table[f"{prefix}{stored}.{kind}"] = Place(f"{ours}{name}.{kind}", index, of)
    return table


def _single(ours: str, names: Mapping[str, str]) -> Table:
    return {stored: Place(ours + name) for stored, name in names.items()}


_QKV = {name: ("attn.qkv", index, 3) for index, name in enumerate(("q_proj", "k_proj", "v_proj"))}


def _clip() -> Table:
    ours = "vision.clip."
    return {
        # OpenAI and open_clip
        **_single(
            ours,
            {
                "visual.class_embedding": "class_token",
                "visual.positional_embedding": "position_embedding",
                "visual.conv1.weight": "patch_embed.weight",
                "visual.transformer.resblocks.#.attn.in_proj_weight": "blocks.#.attn.qkv.weight",
                "visual.transformer.resblocks.#.attn.in_proj_bias": "blocks.#.attn.qkv.bias",
            },
        ),
        **_modules("visual.", ours, {"ln_pre": "pre_norm", "ln_post": "norm"}),
        **_modules(
            "visual.transformer.resblocks.#.",
            ours + "blocks.#.",
            {
                "ln_1": "norm1",
                "ln_2": "norm2",
                "attn.out_proj": "attn.proj",
                "mlp.c_fc": "mlp.fc1",
                "mlp.c_proj": "mlp.fc2",
            },
        ),
        # transformers
        **_single(
            ours,
            {
                "embeddings.class_embedding": "class_token",
                "embeddings.position_embedding.weight": "position_embedding",
                "embeddings.patch_embedding.weight": "patch_embed.weight",
            },
        ),
        **_modules("", ours, {"pre_layrnorm": "pre_norm", "post_layernorm": "norm"}),
        **_modules(
            "encoder.layers.#.",
            ours + "blocks.#.",
            {
                "layer_norm1": "norm1",
                "layer_norm2": "norm2",
                **{f"self_attn.{name}": place for name, place in _QKV.items()},
                "self_attn.out_proj": "attn.proj",
                "mlp.fc1": "mlp.fc1",
                "mlp.fc2": "mlp.fc2",
            },
        ),
    }


def _dinov2() -> Table:
    ours = "vision.dinov2."
    layer = {"norm1": "norm1", "norm2": "norm2", "mlp.fc1": "mlp.fc1", "mlp.fc2": "mlp.fc2"}
    return {
        # the hub
        **_single(
            ours,
            {
                "cls_token": "class_token",
                "pos_embed": "position_embedding",
                "blocks.#.ls1.gamma": "blocks.#.scale1",
                "blocks.#.ls2.gamma": "blocks.#.scale2",
            },
        ),
        **_modules("", ours, {"patch_embed.proj": "patch_embed", "norm": "norm"}),
        **_modules(
            "blocks.#.",
            ours + "blocks.#.",
            {**layer, "attn.qkv": "attn.qkv", "attn.proj": "attn.proj", "mlp.w12": "mlp.fc1", "mlp.w3": "mlp.fc2"},
        ),
        # transformers: files of version 4 and 5 differ in the names of attention and SwiGLU
        **_single(
            ours,
            {
                "embeddings.cls_token": "class_token",
                "embeddings.position_embeddings": "position_embedding",
                "encoder.layer.#.layer_scale1.lambda1": "blocks.#.scale1",
                "encoder.layer.#.layer_scale2.lambda1": "blocks.#.scale2",
            },
        ),
        **_modules("", ours, {"embeddings.patch_embeddings.projection": "patch_embed", "layernorm": "norm"}),
        **_modules(
            "encoder.layer.#.",
            ours + "blocks.#.",
            {
                **layer,
                "attention.attention.query": ("attn.qkv", 0, 3),
                "attention.attention.key": ("attn.qkv", 1, 3),
                "attention.attention.value": ("attn.qkv", 2, 3),
                "attention.output.dense": "attn.proj",
                **{f"attention.{name}": place for name, place in _QKV.items()},
                "attention.o_proj": "attn.proj",
                "mlp.weights_in": "mlp.fc1",
                "mlp.weights_out": "mlp.fc2",
                "mlp.gate_proj": ("mlp.fc1", 0, 2),
                "mlp.up_proj": ("mlp.fc1", 1, 2),
                "mlp.down_proj": "mlp.fc2",
            },
        ),
    }


def _convnext() -> Table:
    ours = "vision.convnext."
    block = ours + "stages.#.blocks.#."
    return {
        # timm; open_clip puts `visual.trunk.` in front. The last norm stands before or in the head.
        **_single(ours, {"stages.#.blocks.#.gamma": "stages.#.blocks.#.gamma"}),
        **_modules("", ours, {"stem.0": "stem.0", "stem.1": "stem.1", "head.norm": "norm", "norm_pre": "norm"}),
        **_modules("stages.#.", ours + "stages.#.", {f"downsample.{i}": f"downsample.{i}" for i in (0, 1)}),
        **_modules(
            "stages.#.blocks.#.", block, {"conv_dw": "conv", "norm": "norm", "mlp.fc1": "fc1", "mlp.fc2": "fc2"}
        ),
        # transformers
        **_single(ours, {"encoder.stages.#.layers.#.layer_scale_parameter": "stages.#.blocks.#.gamma"}),
        **_modules(
            "",
            ours,
            {"embeddings.patch_embeddings": "stem.0", "embeddings.layernorm": "stem.1", "layernorm": "norm"},
        ),
        **_modules(
            "encoder.stages.#.", ours + "stages.#.", {f"downsampling_layer.{i}": f"downsample.{i}" for i in (0, 1)}
        ),
        **_modules(
            "encoder.stages.#.layers.#.",
            block,
            {"dwconv": "conv", "layernorm": "norm", "pwconv1": "fc1", "pwconv2": "fc2"},
        ),
    }


def _bert(attention: str) -> dict[str, str]:
    """The Q-Former's layers; LAVIS keeps BERT's `self`, transformers says `attention` twice."""
    names = {"intermediate_query.dense": "fc1", "output_query.dense": "fc2", "output_query.LayerNorm": "norm"}
    for block in ("attention", "crossattention"):
        names |= {f"{block}.{attention}.{part}": f"{block}.{part}" for part in ("query", "key", "value")}
        names |= {f"{block}.output.dense": f"{block}.dense", f"{block}.output.LayerNorm": f"{block}.norm"}
    return names


def _blip2() -> Table:
    vit, qformer = "vision.blip2_vit.", "vision.qformer."
    table: Table = {
        "query_tokens": Place(qformer + "query_tokens"),
        # transformers
        "vision_model.embeddings.class_embedding": Place(vit + "class_token"),
        "vision_model.embeddings.position_embedding": Place(vit + "position_embedding"),
        **_modules(
            "vision_model.",
            vit,
            {"embeddings.patch_embedding": "patch_embed", "post_layernorm": "norm"},
        ),
        **_modules(
            "vision_model.encoder.layers.#.",
            vit + "blocks.#.",
            {
                "layer_norm1": "norm1",
                "layer_norm2": "norm2",
                "self_attn.qkv": "attn.qkv",
                "self_attn.projection": "attn.proj",
                "mlp.fc1": "mlp.fc1",
                "mlp.fc2": "mlp.fc2",
            },
        ),
        **_modules("qformer.", qformer, {"layernorm": "norm"}),
        **_modules("qformer.encoder.layer.#.", qformer + "layers.#.", _bert("attention")),
        # LAVIS
        **_modules("", vit, {"ln_vision": "norm"}),
        **_modules("Qformer.bert.embeddings.", qformer, {"LayerNorm": "norm"}),
        **_modules("Qformer.bert.encoder.layer.#.", qformer + "layers.#.", _bert("self")),
    }
    # LAVIS's own file, and the EVA file that it starts from, in which the same encoder has no prefix.
    for prefix in ("visual_encoder.", ""):
        block = f"{prefix}blocks.#."
        table |= {
            f"{prefix}cls_token": Place(vit + "class_token"),
            f"{prefix}pos_embed": Place(vit + "position_embedding"),
            f"{block}attn.q_bias": Place(vit + "blocks.#.attn.qkv.bias", 0, 3),
            f"{block}attn.v_bias": Place(vit + "blocks.#.attn.qkv.bias", 2, 3),
            f"{block}attn.qkv.weight": Place(vit + "blocks.#.attn.qkv.weight"),
            **_modules(prefix, vit, {"patch_embed.proj": "patch_embed"}),
            **_modules(
                block,
                vit + "blocks.#.",
                {
                    "norm1": "norm1",
                    "norm2": "norm2",
                    "attn.proj": "attn.proj",
                    "mlp.fc1": "mlp.fc1",
                    "mlp.fc2": "mlp.fc2",
                },
            ),
        }
    return table


# Tower → its table and the prefixes that may stand in front of all names.
TABLES: dict[str, tuple[Table, tuple[str, ...]]] = {
    "clip": (_clip(), ("vision_model.", "")),
    "dinov2": (_dinov2(), ("dinov2.", "")),
    "convnext": (_convnext(), ("visual.trunk.", "convnext.", "")),
    "blip2": (_blip2(), ("",)),
}
