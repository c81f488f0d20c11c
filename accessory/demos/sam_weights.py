"""Weights of SAM (arXiv 2304.02643) into transformers' SamModel: from its own folder, or from the original `.pth`."""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from SPHINX_V.errors import CheckpointError, UsageError
from SPHINX_V.weights.checkpoint import few
from SPHINX_V.weights.tensor_files import TensorFile, TensorInfo, read_json

_ORIGINAL = "sam_vit_b_01ec64.pth, sam_vit_l_0b3195.pth or sam_vit_h_4b8939.pth of segment-anything"
_ACCEPTED = f"give a folder that transformers' SamModel.save_pretrained wrote, or {_ORIGINAL}"

# Original name → transformers' name; `#` is a number that both have. What is not here has the same name in both.
_RULES = tuple(
    (re.compile("^" + re.escape(original).replace(r"\#", r"(\d+)")), ours.replace("#", r"\1"))
    for original, ours in (
        ("image_encoder.patch_embed.proj.", "vision_encoder.patch_embed.projection."),
        ("image_encoder.blocks.#.norm1.", "vision_encoder.layers.#.layer_norm1."),
        ("image_encoder.blocks.#.norm2.", "vision_encoder.layers.#.layer_norm2."),
        ("image_encoder.blocks.#.", "vision_encoder.layers.#."),
        ("image_encoder.neck.0.", "vision_encoder.neck.conv1."),
        ("image_encoder.neck.1.", "vision_encoder.neck.layer_norm1."),
        ("image_encoder.neck.2.", "vision_encoder.neck.conv2."),
        ("image_encoder.neck.3.", "vision_encoder.neck.layer_norm2."),
        ("image_encoder.", "vision_encoder."),
        (
            "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix",
            "shared_image_embedding.positional_embedding",
        ),
        ("prompt_encoder.point_embeddings.", "prompt_encoder.point_embed."),
        ("prompt_encoder.mask_downscaling.0.", "prompt_encoder.mask_embed.conv1."),
        ("prompt_encoder.mask_downscaling.1.", "prompt_encoder.mask_embed.layer_norm1."),
        ("prompt_encoder.mask_downscaling.3.", "prompt_encoder.mask_embed.conv2."),
        ("prompt_encoder.mask_downscaling.4.", "prompt_encoder.mask_embed.layer_norm2."),
        ("prompt_encoder.mask_downscaling.6.", "prompt_encoder.mask_embed.conv3."),
        ("mask_decoder.transformer.norm_final_attn.", "mask_decoder.transformer.layer_norm_final_attn."),
        *(
            (f"mask_decoder.transformer.layers.#.norm{n}.", f"mask_decoder.transformer.layers.#.layer_norm{n}.")
            for n in (1, 2, 3, 4)
        ),
        ("mask_decoder.output_upscaling.0.", "mask_decoder.upscale_conv1."),
        ("mask_decoder.output_upscaling.1.", "mask_decoder.upscale_layer_norm."),
        ("mask_decoder.output_upscaling.3.", "mask_decoder.upscale_conv2."),
    )
)
# The layers of the small perceptrons are numbered through there; here the first and the last have names.
_PERCEPTRON = re.compile(r"^(mask_decoder\.(?:output_hypernetworks_mlps\.\d+|iou_prediction_head))\.layers\.(\d+)\.")
# The same matrix under two names: transformers ties them.
_SHARED = "shared_image_embedding.positional_embedding"
_TIED = "prompt_encoder.shared_embedding.positional_embedding"

# What no tensor tells and no release varies.
_DECODER_HEADS = 8
_DECODER_EPSILON = 1e-5  # of the norms between the decoder's attentions; transformers' own default is 1e-6


def load_sam(path: str | os.PathLike[str], device: torch.device | str) -> Any:
    """transformers' SamModel in float32 on `device`, ready to be asked. Nothing is fetched from a network.

    Raises CheckpointError where the file or folder is none of SAM, damaged or incomplete, UsageError where transformers
    is not installed.
    """
    if importlib.util.find_spec("transformers") is None:
        raise UsageError(
            "SAM needs the package transformers, which is not installed: pip install 'transformers>=5.0', or go on"
            " without SAM."
        )
    path = Path(path)
    if not path.exists():
        raise CheckpointError(f"{path}: there is no such file or folder; {_ACCEPTED}.")
    model = _from_folder(path) if path.is_dir() else _from_file(path)
    return model.to(device).eval().requires_grad_(False)


def to_transformers(name: str, last_layers: Mapping[str, int]) -> str:
    """transformers' name of a tensor of the original; `last_layers`: the last layer's number of each perceptron."""
    perceptron = _PERCEPTRON.match(name)
    if perceptron:
        number, last = int(perceptron[2]), last_layers[perceptron[1]]
        layer = "proj_in" if number == 0 else "proj_out" if number == last else f"layers.{number - 1}"
        return f"{perceptron[1]}.{layer}.{name[perceptron.end() :]}"
    for original, ours in _RULES:
        renamed, found = original.subn(ours, name)
        if found:
            return renamed
    return name


def _from_folder(path: Path) -> Any:
    from safetensors import SafetensorError
    from transformers import SamModel

    kind = read_json(path / "config.json").get("model_type")
    if kind != "sam":
        raise CheckpointError(f"{path / 'config.json'}: model_type is {kind!r}, not 'sam'; {_ACCEPTED}.")
    try:
        found: Any = SamModel.from_pretrained(
            path,
            local_files_only=True,
            use_safetensors=True,
            dtype=torch.float32,
            ignore_mismatched_sizes=True,  # so that they are named below
            output_loading_info=True,
        )
    except (OSError, ValueError, TypeError, KeyError, RuntimeError, SafetensorError) as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise CheckpointError(f"{path}: transformers' SamModel cannot be read ({first}); copy it again.") from None
    model, info = found
    # transformers draws these at random; masks out of it would be invented.
    lacking = sorted({*info["missing_keys"], *(key[0] for key in info["mismatched_keys"])})
    if lacking:
        raise CheckpointError(
            f"{path}: lacks {len(lacking)} of SAM's tensors, or has them in other shapes than config.json says:"
            f" {few(lacking)}; copy the folder again."
        )
    return model


def _from_file(path: Path) -> Any:
    from transformers import SamModel

    if path.suffix == ".safetensors":
        raise CheckpointError(f"{path}: this file has no config.json beside its name; {_ACCEPTED}.")
    file = TensorFile(path)
    config = sam_config(file)
    with torch.device("meta"):
        model = SamModel(config)
    wanted = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items() if name != _TIED}
    last_layers = _last_layers(file.tensors)
    originals = {to_transformers(name, last_layers): name for name in file}
    lacking = [name for name in wanted if name not in originals]
    unknown = [original for name, original in originals.items() if name not in wanted]
    if lacking or unknown:
        problem = f"lacks {few(lacking)}" if lacking else f"has {few(unknown)}, which SAM has not"
        raise CheckpointError(f"{path}: {problem}; {_ACCEPTED}.")
    for name, original in originals.items():
        if file.tensors[original].shape != wanted[name]:
            raise CheckpointError(
                f"{path}: tensor {original} has the shape {list(file.tensors[original].shape)}, by the others it would"
                f" be {list(wanted[name])}; {_ACCEPTED}."
            )
    # A copy of each: `read` gives views of the mapped file.
    state = {name: file.read(original).to(torch.float32, copy=True) for name, original in originals.items()}
    model.load_state_dict({**state, _TIED: state[_SHARED]}, assign=True)
    model.tie_weights()
    return model


def _last_layers(names: Mapping[str, Any]) -> dict[str, int]:
    """The number of the last layer of each small perceptron, by its name."""
    last: dict[str, int] = {}
    for name in names:
        found = _PERCEPTRON.match(name)
        if found:
            last[found[1]] = max(last.get(found[1], 0), int(found[2]))
    return last


def sam_config(file: TensorFile) -> Any:
    """transformers' SamConfig of an original file: the sizes as its tensors show them.

    Heads: the relative positions are per head, so their width is a head's. Which layers attend to everything: those
    whose relative positions span the whole grid, 2·grid − 1; the others' span tells the window.
    """
    from transformers import SamConfig, SamMaskDecoderConfig, SamPromptEncoderConfig, SamVisionConfig

    grid, _, hidden = _shape(file, "image_encoder.pos_embed", 4)[1:]
    patch = _shape(file, "image_encoder.patch_embed.proj.weight", 4)[-1]
    layer = "image_encoder.blocks.#."
    depth = _count(file, layer + "attn.rel_pos_h")
    spans = [_shape(file, f"image_encoder.blocks.{n}.attn.rel_pos_h", 2) for n in range(depth)]
    windows = {(span[0] + 1) // 2 for span in spans if span[0] != 2 * grid - 1}
    if not depth or not hidden or not spans[0][1] or hidden % spans[0][1] or len(windows) > 1:
        raise CheckpointError(f"{file.path}: its relative positions {spans[:4]} are none of SAM's; {_ACCEPTED}.")
    width = _shape(file, "mask_decoder.iou_token.weight", 2)[1]
    attention = "mask_decoder.transformer.layers.0.cross_attn_token_to_image.q_proj.weight"
    inner = _shape(file, attention, 2)[0]
    if not inner or width % inner or inner % _DECODER_HEADS:
        raise CheckpointError(f"{file.path}: tensor {attention} has {inner} rows, which is none of SAM's; {_ACCEPTED}.")
    vision = SamVisionConfig(
        hidden_size=hidden,
        num_hidden_layers=depth,
        num_attention_heads=hidden // spans[0][1],
        image_size=grid * patch,
        patch_size=patch,
        output_channels=_shape(file, "image_encoder.neck.0.weight", 4)[0],
        mlp_dim=_shape(file, "image_encoder.blocks.0.mlp.lin1.weight", 2)[0],
        window_size=windows.pop() if windows else 0,
        global_attn_indexes=[n for n, span in enumerate(spans) if span[0] == 2 * grid - 1],
        num_pos_feats=_shape(file, "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix", 2)[1],
    )
    prompts = SamPromptEncoderConfig(
        hidden_size=width,
        image_size=grid * patch,
        patch_size=patch,
        mask_input_channels=_shape(file, "prompt_encoder.mask_downscaling.6.weight", 4)[1],
    )
    decoder = SamMaskDecoderConfig(
        hidden_size=width,
        mlp_dim=_shape(file, "mask_decoder.transformer.layers.0.mlp.lin1.weight", 2)[0],
        num_hidden_layers=_count(file, "mask_decoder.transformer.layers.#.self_attn.q_proj.weight"),
        num_attention_heads=_DECODER_HEADS,
        attention_downsample_rate=width // inner,
        num_multimask_outputs=_shape(file, "mask_decoder.mask_tokens.weight", 2)[0] - 1,
        iou_head_depth=_count(file, "mask_decoder.iou_prediction_head.layers.#.weight"),
        iou_head_hidden_dim=_shape(file, "mask_decoder.iou_prediction_head.layers.0.weight", 2)[0],
        layer_norm_eps=_DECODER_EPSILON,
    )
    return SamConfig(vision_config=vision, prompt_encoder_config=prompts, mask_decoder_config=decoder)


def _shape(file: TensorFile, name: str, dimensions: int) -> tuple[int, ...]:
    info: TensorInfo | None = file.tensors.get(name)
    if info is None:
        raise CheckpointError(f"{file.path}: lacks tensor {name}; {_ACCEPTED}.")
    if len(info.shape) != dimensions:
        raise CheckpointError(f"{file.path}: tensor {name} has the shape {list(info.shape)}; {_ACCEPTED}.")
    return info.shape


def _count(file: TensorFile, pattern: str) -> int:
    """How many tensors there are whose name is `pattern` with a number in the place of `#`."""
    expression = re.compile(re.escape(pattern).replace(r"\#", r"\d+"))
    return sum(1 for name in file if expression.fullmatch(name))
