"""The two-way map between our parameter names and those of released checkpoints, with split dimensions and shapes.

One table; `to_released` and `to_ours` are its two readings. `#` stands for a layer number.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

PREFIX = "llma."
# Parts that released checkpoints do not have (options of small recipes) keep our names behind this prefix.
EXTRA_PREFIX = "llma.extra."

# What SPHINX-V has and its starting points have not: our names begin with these.
PROMPT_PARTS = ("prompt_encoder.", "vp_proj.", "start_vp", "end_vp")

# (released name, our name, singleton dimensions that the released tensor has in front of ours)
_VIT_LAYERS = {
    "clip.visual.transformer.resblocks.#.": (
        "vision.clip.blocks.#.",
        ("ln_1", "attn.in_proj_", "attn.out_proj", "ln_2", "mlp.c_fc", "mlp.c_proj"),
    ),
    "dinov2_vitg14.blocks.#.": (
        "vision.dinov2.blocks.#.",
        ("norm1", "attn.qkv.", "attn.proj", "norm2", "mlp.w12", "mlp.w3"),
    ),
    "qformer.vision_model.encoder.layers.#.": (
        "vision.blip2_vit.blocks.#.",
        ("layer_norm1", "self_attn.qkv.", "self_attn.projection", "layer_norm2", "mlp.fc1", "mlp.fc2"),
    ),
}
_OUR_VIT_LAYER = ("norm1", "attn.qkv.", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")

_QFORMER_LAYER = {
    "attention.attention.query": "attention.query",
    "attention.attention.key": "attention.key",
    "attention.attention.value": "attention.value",
    "attention.output.dense": "attention.dense",
    "attention.output.LayerNorm": "attention.norm",
    "crossattention.attention.query": "crossattention.query",
    "crossattention.attention.key": "crossattention.key",
    "crossattention.attention.value": "crossattention.value",
    "crossattention.output.dense": "crossattention.dense",
    "crossattention.output.LayerNorm": "crossattention.norm",
    "intermediate_query.dense": "fc1",
    "output_query.dense": "fc2",
    "output_query.LayerNorm": "norm",
}

_LLM = (
    *(f"layers.#.attention.{name}.weight" for name in ("wq", "wk", "wv", "wo")),
    *(f"layers.#.feed_forward.{name}.weight" for name in ("w1", "w2", "w3")),
    "layers.#.attention_norm.weight",
    "layers.#.ffn_norm.weight",
    "tok_embeddings.weight",
    "norm.weight",
    "output.weight",
)

_BOTH = ("weight", "bias")


def _table() -> list[tuple[str, str, int]]:
    rows = [(name, f"llm.{name}", 0) for name in _LLM]
    for released_layer, (our_layer, names) in _VIT_LAYERS.items():
        for released, ours in zip(names, _OUR_VIT_LAYER, strict=True):
            for kind in _BOTH:
                # CLIP's packed projection is `in_proj_weight`, a parameter; the others' is a module.
                left = released if released.endswith(("_", ".")) else released + "."
                right = ours if ours.endswith(".") else ours + "."
                rows.append((f"{released_layer}{left}{kind}", f"{our_layer}{right}{kind}", 0))
    rows += [
        ("clip.visual.class_embedding", "vision.clip.class_token", 0),
        ("clip.visual.positional_embedding", "vision.clip.position_embedding", 0),
        ("clip.visual.conv1.weight", "vision.clip.patch_embed.weight", 0),
        ("dinov2_vitg14.cls_token", "vision.dinov2.class_token", 2),
        ("dinov2_vitg14.pos_embed", "vision.dinov2.position_embedding", 1),
        ("dinov2_vitg14.blocks.#.ls1.gamma", "vision.dinov2.blocks.#.scale1", 0),
        ("dinov2_vitg14.blocks.#.ls2.gamma", "vision.dinov2.blocks.#.scale2", 0),
        ("qformer.vision_model.embeddings.class_embedding", "vision.blip2_vit.class_token", 2),
        ("qformer.vision_model.embeddings.position_embedding", "vision.blip2_vit.position_embedding", 1),
        ("qformer.query_tokens", "vision.qformer.query_tokens", 0),
        ("openclip_convnext_xxl.stages.#.blocks.#.gamma", "vision.convnext.stages.#.blocks.#.gamma", 0),
        ("vp_encoder.pe_layer.positional_encoding_gaussian_matrix", "prompt_encoder.frequencies", 0),
        ("vp_encoder.point_embeddings.0.weight", "prompt_encoder.point_invalid", 1),
        ("vp_encoder.point_embeddings.1.weight", "prompt_encoder.point_valid", 1),
        ("vp_encoder.box_embeddings.0.weight", "prompt_encoder.box_invalid", 1),
        ("vp_encoder.box_embeddings.1.weight", "prompt_encoder.box_valid", 1),
        ("vp_encoder.box_embeddings.2.weight", "prompt_encoder.corner0", 1),
        ("vp_encoder.box_embeddings.3.weight", "prompt_encoder.corner1", 1),
        *((tag, tag, 0) for tag in ("start_img", "end_img", "start_vp", "end_vp")),
    ]
    modules = {
        "clip.visual.ln_pre": "vision.clip.pre_norm",
        "clip.visual.ln_post": "vision.clip.norm",
        "dinov2_vitg14.patch_embed.proj": "vision.dinov2.patch_embed",
        "dinov2_vitg14.norm": "vision.dinov2.norm",
        "qformer.vision_model.embeddings.patch_embedding": "vision.blip2_vit.patch_embed",
        "qformer.vision_model.post_layernorm": "vision.blip2_vit.norm",
        "qformer.qformer.layernorm": "vision.qformer.norm",
        "openclip_convnext_xxl.stem.0": "vision.convnext.stem.0",
        "openclip_convnext_xxl.stem.1": "vision.convnext.stem.1",
        "openclip_convnext_xxl.stages.#.downsample.0": "vision.convnext.stages.#.downsample.0",
        "openclip_convnext_xxl.stages.#.downsample.1": "vision.convnext.stages.#.downsample.1",
        "openclip_convnext_xxl.stages.#.blocks.#.conv_dw": "vision.convnext.stages.#.blocks.#.conv",
        "openclip_convnext_xxl.stages.#.blocks.#.norm": "vision.convnext.stages.#.blocks.#.norm",
        "openclip_convnext_xxl.stages.#.blocks.#.mlp.fc1": "vision.convnext.stages.#.blocks.#.fc1",
        "openclip_convnext_xxl.stages.#.blocks.#.mlp.fc2": "vision.convnext.stages.#.blocks.#.fc2",
        "openclip_convnext_xxl.head.norm": "vision.convnext.norm",
        "vp_encoder.up": "prompt_encoder.up",
        **{
            f"{name}.{part}": f"{name}.{part}" for name in ("visual_proj", "qformer_proj", "vp_proj") for part in (0, 1)
        },
        **{
            f"qformer.qformer.encoder.layer.#.{released}": f"vision.qformer.layers.#.{ours}"
            for released, ours in _QFORMER_LAYER.items()
        },
    }
    rows += [(f"{released}.{kind}", f"{ours}.{kind}", 0) for released, ours in modules.items() for kind in _BOTH]
    return rows


_ROWS = _table()
_BY_RELEASED = {released: (ours, lead) for released, ours, lead in _ROWS}
_BY_OURS = {ours: (released, lead) for released, ours, lead in _ROWS}

# In released files, but no part of the model: CLIP's text side and final projection, DINOv2's mask token.
_UNUSED = re.compile(
    r"clip\.(positional_embedding|text_projection|logit_scale|token_embedding\.|ln_final\.|transformer\.|visual\.proj$)"
    r"|dinov2_vitg14\.mask_token$|rope\.freqs$"
)

_SPLIT = {
    **{f"llm.layers.#.attention.{name}.weight": 0 for name in ("wq", "wk", "wv")},
    **{f"llm.layers.#.feed_forward.{name}.weight": 0 for name in ("w1", "w3")},
    "llm.layers.#.attention.wo.weight": 1,
    "llm.layers.#.feed_forward.w2.weight": 1,
    "llm.tok_embeddings.weight": 1,
    "llm.output.weight": 0,
}


@dataclass(frozen=True)
class Mapped:
    """A name on the other side; `lead` is the number of singleton dimensions in front of the released tensor."""

    name: str
    lead: int


_LAYER = re.compile(r"\b(layers|layer|blocks|resblocks|stages)\.(\d+)\.")


def hide_numbers(name: str) -> tuple[str, list[str]]:
    """Layer numbers become `#`; numbers that are part of a name (`visual_proj.0`) stay."""
    numbers = [match.group(2) for match in _LAYER.finditer(name)]
    return _LAYER.sub(r"\1.#.", name), numbers


def restore_numbers(name: str, numbers: list[str]) -> str:
    """Puts layer numbers back in the places of `#`."""
    for number in numbers:
        name = name.replace("#", number, 1)
    return name


def to_released(ours: str) -> Mapped:
    """The released name of our parameter; parts that no release has get `llma.extra.` in front."""
    generic, numbers = hide_numbers(ours)
    if generic not in _BY_OURS:
        return Mapped(EXTRA_PREFIX + ours, 0)
    released, lead = _BY_OURS[generic]
    return Mapped(PREFIX + restore_numbers(released, numbers), lead)


def to_ours(released: str) -> Mapped | None:
    """Our name of a released tensor, with or without the `llma.` in front (Meta's files have none); None if unknown."""
    if released.startswith(EXTRA_PREFIX):
        return Mapped(released[len(EXTRA_PREFIX) :], 0)
    generic, numbers = hide_numbers(released.removeprefix(PREFIX))
    if generic not in _BY_RELEASED:
        return None
    ours, lead = _BY_RELEASED[generic]
    return Mapped(restore_numbers(ours, numbers), lead)


def is_unused(released: str) -> bool:
    """True for tensors that released files carry and the model has no use for."""
    return _UNUSED.match(released.removeprefix(PREFIX)) is not None


def split_dimension(ours: str) -> int | None:
    """The dimension along which tensor-parallel shards divide our parameter; None where every shard has it whole."""
    return _SPLIT.get(hide_numbers(ours)[0])
