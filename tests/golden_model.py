"""The golden checkpoint as a model, assembled by hand, so that tests of the model do not rest on our loading code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from SPHINX_V.config import (
    ConvNeXtConfig,
    LlamaConfig,
    QFormerConfig,
    SphinxVConfig,
    VisionConfig,
    blip2_tower,
    clip_tower,
    dinov2_tower,
)
from SPHINX_V.model.sphinx_v import SphinxV
from SPHINX_V.weights.names import is_unused, split_dimension, to_ours

GOLDEN = Path(__file__).parent / "golden"
VIEW = 224


def golden_config() -> SphinxVConfig:
    """The sizes in the golden's `config.json`, read field by field."""
    stored = json.loads((GOLDEN / "config.json").read_text(encoding="utf-8"))
    vision = stored["vision"]
    clip, dinov2, blip2 = vision["clip"], vision["dinov2"], vision["blip2_vit"]
    llm = {name: stored[name] for name in LlamaConfig.model_fields if name in stored}
    return SphinxVConfig(
        llm=LlamaConfig(**llm),
        vision=VisionConfig(
            clip=clip_tower(
                clip["width"],
                clip["layers"],
                clip["heads"],
                grid=VIEW // clip["patch_size"],
                hidden_act=clip["hidden_act"],
            ),
            dinov2=dinov2_tower(
                dinov2["width"],
                dinov2["layers"],
                dinov2["heads"],
                grid=dinov2["pretrain_size"] // dinov2["patch_size"],
            ),
            blip2_vit=blip2_tower(
                blip2["width"],
                blip2["layers"],
                blip2["heads"],
                blip2["mlp_width"],
                grid=VIEW // blip2["patch_size"],
            ),
            convnext=ConvNeXtConfig(**vision["convnext"]),
            qformer=QFormerConfig(**vision["qformer"]),
        ),
    )


def golden_weights(shapes: dict[str, torch.Size]) -> dict[str, Tensor]:
    """Our names → tensors of `shapes`, with the two tensor-parallel shards joined."""
    shards: list[dict[str, Any]] = [
        torch.load(path, weights_only=True)["model"] for path in sorted(GOLDEN.glob("consolidated.*.pth"))
    ]
    assert len(shards) == 2
    weights = {}
    for name, tensor in shards[0].items():
        ours = to_ours(name)
        if ours is None:
            assert is_unused(name), name
            continue
        dimension = split_dimension(ours.name)
        whole = tensor if dimension is None else torch.cat([shard[name] for shard in shards], dimension)
        weights[ours.name] = whole.reshape(shapes[ours.name])
    return weights


def golden_model() -> SphinxV:
    """The golden model in float32 on the CPU, without gradients."""
    model = SphinxV(golden_config())
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    model.load_state_dict(golden_weights(shapes))
    return model.eval().requires_grad_(False)
