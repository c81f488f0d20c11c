"""Small checkpoints of odd sizes, written by hand in the released form: reading is not tested with our writer."""

from __future__ import annotations

import json
from pathlib import Path

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
from SPHINX_V.model.init import initialise
from SPHINX_V.model.sphinx_v import SphinxV
from SPHINX_V.weights.names import to_released

TOKENIZER = b"any bytes: weights never look into the tokenizer"
DATA = Path(__file__).parents[1] / "data"
# The split dimension by the end of the released name, as the specification says it.
COLUMNS = ("wq.weight", "wk.weight", "wv.weight", "w1.weight", "w3.weight", "llma.output.weight")
ROWS = ("wo.weight", "w2.weight", "tok_embeddings.weight")


def small_config(**llm: object) -> SphinxVConfig:
    """Grouped heads, an odd feed-forward size, patches of 7 pixels, a table to resample: nothing like the golden."""
    sizes = {"dim": 48, "n_layers": 3, "n_heads": 8, "n_kv_heads": 4, "vocab_size": 52, "multiple_of": 4}
    return SphinxVConfig(
        llm=LlamaConfig(**{**sizes, "ffn_dim_multiplier": 1.3, "max_seq_len": 300, **llm}),
        vision=VisionConfig(
            view_size=28,
            clip=clip_tower(15, 1, 3, grid=4, patch_size=7),
            dinov2=dinov2_tower(9, 2, 3, grid=5, patch_size=7),
            blip2_vit=blip2_tower(10, 1, 5, mlp_width=21, grid=4, patch_size=7),
            convnext=ConvNeXtConfig(depths=(1, 2, 1, 1), dims=(3, 5, 7, 9)),
            qformer=QFormerConfig(width=6, layers=3, heads=3, mlp_width=11, num_query_tokens=5),
        ),
    )


def random_state(config: SphinxVConfig, dtype: torch.dtype = torch.float32, seed: int = 0) -> dict[str, Tensor]:
    """A model's whole state under our names."""
    model = SphinxV(config)
    initialise(model, seed)
    return {name: tensor.to(dtype) for name, tensor in model.state_dict().items()}


def unused_tensors(dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """Some of what released files carry without use, a scalar among them."""
    generator = torch.Generator().manual_seed(7)
    shapes = {
        "llma.clip.logit_scale": (),
        "llma.clip.visual.proj": (15, 4),
        "llma.clip.transformer.resblocks.0.ln_1.weight": (4,),
        "llma.dinov2_vitg14.mask_token": (1, 9),
    }
    return {name: torch.randn(shape, generator=generator).to(dtype) for name, shape in shapes.items()}


def released_state(state: dict[str, Tensor], unused: dict[str, Tensor] | None = None) -> dict[str, Tensor]:
    """The same under released names and in released shapes."""
    released = {}
    for name, tensor in state.items():
        mapped = to_released(name)
        released[mapped.name] = tensor.reshape((1,) * mapped.lead + tuple(tensor.shape))
    return {**released, **(unused or {})}


def cut(name: str, tensor: Tensor, index: int, shards: int) -> Tensor:
    """One shard's piece, contiguous, by the released name."""
    if name.startswith(("llma.layers.", "llma.output.", "llma.tok_")) and name.endswith((*COLUMNS, *ROWS)):
        return tensor.chunk(shards, 1 if name.endswith(ROWS) else 0)[index].contiguous().clone()
    return tensor.clone()


def released_config(config: SphinxVConfig) -> dict[str, object]:
    """`config.json` for `small_config`, written out as the golden's is."""
    vision = config.vision
    return {
        **config.llm.model_dump(),
        "max_batch_size": 32,
        "rope_scaling": None,
        "load_pretrained_visual_encoder": False,
        "vision": {
            "view_size": vision.view_size,
            "clip": {"width": 15, "layers": 1, "heads": 3, "patch_size": 7, "hidden_act": "gelu"},
            "convnext": {"depths": [1, 2, 1, 1], "dims": [3, 5, 7, 9], "norm_eps": 1e-5},
            "dinov2": {"width": 9, "layers": 2, "heads": 3, "patch_size": 7, "pretrain_size": 35},
            "blip2_vit": {"width": 10, "layers": 1, "heads": 5, "mlp_width": 21, "patch_size": 7},
            "qformer": {"width": 6, "layers": 3, "heads": 3, "mlp_width": 11, "num_query_tokens": 5},
        },
    }


def write_released(
    folder: Path, config: SphinxVConfig, released: dict[str, Tensor], shards: int = 1, values: dict | None = None
) -> Path:
    """A released folder of `shards` files."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(shards):
        piece = {name: cut(name, tensor, index, shards) for name, tensor in released.items()}
        torch.save({"model": piece}, folder / f"consolidated.{index:02d}-of-{shards:02d}.model.pth")
    (folder / "config.json").write_text(json.dumps(released_config(config) if values is None else values))
    (folder / "meta.json").write_text('{"llama_type": "llama_ens5_vp"}')
    (folder / "tokenizer.model").write_bytes(TOKENIZER)
    return folder


def read_shards(folder: Path) -> list[dict[str, Tensor]]:
    """Every released file of a folder, in order, read by torch alone."""
    return [torch.load(path, weights_only=True)["model"] for path in sorted(folder.glob("consolidated.*.pth"))]


def assert_same_bits(one: dict[str, Tensor], two: dict[str, Tensor]) -> None:
    """Same names, shapes, types and bits."""
    assert one.keys() == two.keys()
    for name, tensor in one.items():
        other = two[name]
        assert (tensor.shape, tensor.dtype) == (other.shape, other.dtype), name
        bits = (tensor.contiguous().flatten().view(torch.uint8), other.contiguous().flatten().view(torch.uint8))
        assert torch.equal(*bits), name
