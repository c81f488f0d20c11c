"""A tiny SAM in both forms: transformers' SamModel, and the names and shapes of segment-anything's state dict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Sizes:
    """What segment-anything's `_build_sam` is told, and what it has fixed; the defaults are tiny."""

    hidden: int = 16
    depth: int = 2
    heads: int = 2
    attends: tuple[int, ...] = (1,)  # the layers that attend to the whole grid
    grid: int = 8
    patch: int = 8
    window: int = 3
    width: int = 16  # of embeddings, prompts and decoder
    mlp_ratio: int = 2
    mask_channels: int = 8
    decoder_mlp: int = 24
    iou_hidden: int = 12


TINY = Sizes()


def original_shapes(sizes: Sizes = TINY) -> dict[str, tuple[int, ...]]:
    """What `Sam(...).state_dict()` holds at these sizes, read off segment-anything's source (commit dca509f)."""
    hidden, w, inner = sizes.hidden, sizes.width, sizes.width // 2
    shapes: dict[str, tuple[int, ...]] = {"image_encoder.pos_embed": (1, sizes.grid, sizes.grid, hidden)}

    def layer(name: str, *shape: int, bias: int | None = None) -> None:
        shapes[f"{name}.weight"] = shape
        shapes[f"{name}.bias"] = (shape[0] if bias is None else bias,)

    layer("image_encoder.patch_embed.proj", hidden, 3, sizes.patch, sizes.patch)
    for n in range(sizes.depth):
        block = f"image_encoder.blocks.{n}"
        span = 2 * (sizes.grid if n in sizes.attends else sizes.window) - 1
        for norm in ("norm1", "norm2"):
            layer(f"{block}.{norm}", hidden)
        for axis in "hw":
            shapes[f"{block}.attn.rel_pos_{axis}"] = (span, hidden // sizes.heads)
        layer(f"{block}.attn.qkv", 3 * hidden, hidden)
        layer(f"{block}.attn.proj", hidden, hidden)
        layer(f"{block}.mlp.lin1", sizes.mlp_ratio * hidden, hidden)
        layer(f"{block}.mlp.lin2", hidden, sizes.mlp_ratio * hidden)
    shapes["image_encoder.neck.0.weight"] = (w, hidden, 1, 1)
    layer("image_encoder.neck.1", w)
    shapes["image_encoder.neck.2.weight"] = (w, w, 3, 3)
    layer("image_encoder.neck.3", w)

    shapes["prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"] = (2, w // 2)
    for n in range(4):
        shapes[f"prompt_encoder.point_embeddings.{n}.weight"] = (1, w)
    for single in ("not_a_point_embed", "no_mask_embed"):
        shapes[f"prompt_encoder.{single}.weight"] = (1, w)
    channels = sizes.mask_channels
    layer("prompt_encoder.mask_downscaling.0", channels // 4, 1, 2, 2)
    layer("prompt_encoder.mask_downscaling.1", channels // 4)
    layer("prompt_encoder.mask_downscaling.3", channels, channels // 4, 2, 2)
    layer("prompt_encoder.mask_downscaling.4", channels)
    layer("prompt_encoder.mask_downscaling.6", w, channels, 1, 1)

    def attention(name: str, size: int) -> None:
        for projection in ("q_proj", "k_proj", "v_proj"):
            layer(f"{name}.{projection}", size, w)
        layer(f"{name}.out_proj", w, size)

    for n in range(2):
        block = f"mask_decoder.transformer.layers.{n}"
        attention(f"{block}.self_attn", w)
        attention(f"{block}.cross_attn_token_to_image", inner)
        attention(f"{block}.cross_attn_image_to_token", inner)
        layer(f"{block}.mlp.lin1", sizes.decoder_mlp, w)
        layer(f"{block}.mlp.lin2", w, sizes.decoder_mlp)
        for norm in range(1, 5):
            layer(f"{block}.norm{norm}", w)
    attention("mask_decoder.transformer.final_attn_token_to_image", inner)
    layer("mask_decoder.transformer.norm_final_attn", w)
    shapes["mask_decoder.iou_token.weight"] = (1, w)
    shapes["mask_decoder.mask_tokens.weight"] = (4, w)
    layer("mask_decoder.output_upscaling.0", w, w // 4, 2, 2, bias=w // 4)
    layer("mask_decoder.output_upscaling.1", w // 4)
    layer("mask_decoder.output_upscaling.3", w // 4, w // 8, 2, 2, bias=w // 8)
    for n in range(4):
        layer(f"mask_decoder.output_hypernetworks_mlps.{n}.layers.0", w, w)
        layer(f"mask_decoder.output_hypernetworks_mlps.{n}.layers.1", w, w)
        layer(f"mask_decoder.output_hypernetworks_mlps.{n}.layers.2", w // 8, w)
    layer("mask_decoder.iou_prediction_head.layers.0", sizes.iou_hidden, w)
    layer("mask_decoder.iou_prediction_head.layers.1", sizes.iou_hidden, sizes.iou_hidden)
    layer("mask_decoder.iou_prediction_head.layers.2", 4, sizes.iou_hidden)
    return shapes


# transformers' part of a name → the original's; the first that fits, and only it.
_BACK = (
    ("vision_encoder.patch_embed.projection", "image_encoder.patch_embed.proj"),
    ("vision_encoder.neck.conv1", "image_encoder.neck.0"),
    ("vision_encoder.neck.layer_norm1", "image_encoder.neck.1"),
    ("vision_encoder.neck.conv2", "image_encoder.neck.2"),
    ("vision_encoder.neck.layer_norm2", "image_encoder.neck.3"),
    ("shared_image_embedding.positional_embedding", "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"),
    ("prompt_encoder.point_embed", "prompt_encoder.point_embeddings"),
    ("prompt_encoder.mask_embed.conv1", "prompt_encoder.mask_downscaling.0"),
    ("prompt_encoder.mask_embed.layer_norm1", "prompt_encoder.mask_downscaling.1"),
    ("prompt_encoder.mask_embed.conv2", "prompt_encoder.mask_downscaling.3"),
    ("prompt_encoder.mask_embed.layer_norm2", "prompt_encoder.mask_downscaling.4"),
    ("prompt_encoder.mask_embed.conv3", "prompt_encoder.mask_downscaling.6"),
    ("mask_decoder.upscale_conv1", "mask_decoder.output_upscaling.0"),
    ("mask_decoder.upscale_layer_norm", "mask_decoder.output_upscaling.1"),
    ("mask_decoder.upscale_conv2", "mask_decoder.output_upscaling.3"),
)


def to_original(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state of transformers' model under the original's names."""
    renamed = {}
    for name, tensor in state.items():
        if name == "prompt_encoder.shared_embedding.positional_embedding":  # the same tensor as another
            continue
        for theirs, original in _BACK:
            if name.startswith(theirs + ".") or name == theirs:
                name = original + name[len(theirs) :]
                break
        else:
            if name.startswith("vision_encoder."):
                name = name.replace("vision_encoder.layers.", "image_encoder.blocks.")
                name = name.replace("vision_encoder.", "image_encoder.").replace(".layer_norm", ".norm")
            elif name.startswith("mask_decoder.transformer."):
                name = name.replace(".layer_norm_final", ".norm_final").replace(".layer_norm", ".norm")
            elif "_mlps." in name or "iou_prediction_head." in name:
                name = name.replace(".layers.0.", ".layers.1.")
                name = name.replace(".proj_in.", ".layers.0.").replace(".proj_out.", ".layers.2.")
        renamed[name] = tensor
    return renamed


def tiny_sam(seed: int = 0) -> Any:
    """transformers' SamModel at these sizes with random weights, also where its own are zero at the start."""
    from transformers import SamConfig, SamMaskDecoderConfig, SamModel, SamPromptEncoderConfig, SamVisionConfig

    side = TINY.grid * TINY.patch
    vision = SamVisionConfig(
        hidden_size=TINY.hidden,
        output_channels=TINY.width,
        num_hidden_layers=TINY.depth,
        num_attention_heads=TINY.heads,
        image_size=side,
        patch_size=TINY.patch,
        mlp_dim=TINY.mlp_ratio * TINY.hidden,
        window_size=TINY.window,
        global_attn_indexes=list(TINY.attends),
        num_pos_feats=TINY.width // 2,
    )
    prompts = SamPromptEncoderConfig(
        hidden_size=TINY.width, image_size=side, patch_size=TINY.patch, mask_input_channels=TINY.mask_channels
    )
    # The original's norms between the decoder's attentions have PyTorch's epsilon.
    decoder = SamMaskDecoderConfig(
        hidden_size=TINY.width, mlp_dim=TINY.decoder_mlp, iou_head_hidden_dim=TINY.iou_hidden, layer_norm_eps=1e-5
    )
    model = SamModel(SamConfig(vision_config=vision, prompt_encoder_config=prompts, mask_decoder_config=decoder))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.4)
    return model.eval()


def waves() -> dict[str, Tensor]:
    """The original's state dict with numbers that any implementation can make."""
    state = {}
    for k, (name, shape) in enumerate(sorted(original_shapes().items())):
        size = torch.Size(shape).numel()
        values = torch.sin(torch.arange(size, dtype=torch.float64) * 0.37 * (k + 1) + k) * 0.5
        is_norm = len(shape) == 1 and name.endswith("weight")
        state[name] = (values + 1 if is_norm else values).float().reshape(shape)
    return state


def save_folder(folder: Path, seed: int = 0) -> Path:
    """A folder as `SamModel.save_pretrained` writes it."""
    tiny_sam(seed).save_pretrained(folder)
    return folder


def save_original(path: Path, seed: int = 0) -> Path:
    """The same weights as `save_folder` writes, in the original's form."""
    torch.save({name: tensor.clone() for name, tensor in to_original(tiny_sam(seed).state_dict()).items()}, path)
    return path
