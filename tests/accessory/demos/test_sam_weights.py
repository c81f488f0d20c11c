"""SAM's two forms give the same model; what is neither is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from accessory.demos.sam_weights import load_sam, sam_config
from SPHINX_V.errors import CheckpointError, UsageError
from SPHINX_V.weights.tensor_files import TensorFile
from tests.accessory.demos import tiny_sam

pytest.importorskip("transformers", reason="transformers is not installed: pip install -e '.[test]'")


def test_the_original_names_are_those_of_transformers_model_renamed() -> None:
    state = tiny_sam.to_original(tiny_sam.tiny_sam().state_dict())
    assert {name: tuple(tensor.shape) for name, tensor in state.items()} == tiny_sam.original_shapes()


def test_both_forms_give_the_same_tensors_and_results_to_the_bit(tmp_path: Path) -> None:
    folder = load_sam(tiny_sam.save_folder(tmp_path / "sam"), "cpu")
    file = load_sam(tiny_sam.save_original(tmp_path / "sam_vit_t.pth"), "cpu")
    left, right = folder.state_dict(), file.state_dict()
    assert left.keys() == right.keys()
    assert all(torch.equal(left[name], right[name]) for name in left)
    pixels = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    points = torch.tensor([[[[10.0, 20.0]], [[50.0, 33.0]]]])
    one, other = (model(pixel_values=pixels, input_points=points) for model in (folder, file))
    assert torch.equal(one.pred_masks, other.pred_masks)
    assert torch.equal(one.iou_scores, other.iou_scores)
    assert not file.training
    assert not any(parameter.requires_grad for parameter in file.parameters())


def test_the_original_file_computes_what_segment_anything_computes(tmp_path: Path) -> None:
    """Numbers of segment-anything's own modules (commit dca509f) with these weights, on a CPU in float32."""
    torch.save(tiny_sam.waves(), tmp_path / "sam.pth")
    model = load_sam(tmp_path / "sam.pth", "cpu")
    embedding = model.get_image_embeddings(torch.sin(torch.arange(3 * 64 * 64).reshape(1, 3, 64, 64) * 0.01))
    expected = [
        *(1.270367, 0.814422, 0.169417, 1.5249, 1.714286, 1.766025),
        *(-0.617865, -0.078227, 0.627618, -1.469008, -1.510462, -1.383938),
    ]
    # Four decimals: sums are taken in another order, and float32 has seven digits.
    assert embedding[0, ::5, 3, ::3].flatten().tolist() == pytest.approx(expected, abs=1e-4)

    points = torch.tensor([[[[10.0, 20.0]], [[50.0, 33.0]]]])
    answer = model(image_embeddings=embedding, input_points=points)
    expected = [
        *(0.300659, 0.011062, 0.160417, 0.94392, -0.074024, 0.146691, -0.478025, 0.087048, 0.088375),
        *(0.338887, 0.005286, 0.156877, 0.927384, -0.077206, 0.115679, -0.454224, 0.08342, 0.099365),
    ]
    assert answer.pred_masks[0, :, :, 7, ::11].flatten().tolist() == pytest.approx(expected, abs=1e-4)
    expected = [-0.022744, 0.246407, -0.389489, -0.026302, 0.250988, -0.392837]
    assert answer.iou_scores.flatten().tolist() == pytest.approx(expected, abs=1e-4)

    boxes = torch.tensor([[[3.0, 4.0, 40.0, 50.0]]])
    answer = model(image_embeddings=embedding, input_boxes=boxes, multimask_output=False)
    assert answer.pred_masks[0, 0, 0, 7, ::11].tolist() == pytest.approx([-0.079264, 0.042863, 0.112215], abs=1e-4)
    assert answer.iou_scores.item() == pytest.approx(-0.208806, abs=1e-4)


@pytest.mark.parametrize(
    "hidden, depth, heads, attends, millions",
    [
        (768, 12, 12, (2, 5, 8, 11), 93.7),
        (1024, 24, 16, (5, 11, 17, 23), 312.3),
        (1280, 32, 16, (7, 15, 23, 31), 641.1),
    ],
    ids=["vit_b", "vit_l", "vit_h"],
)
def test_the_sizes_of_the_releases_are_read_off_their_tensors(
    tmp_path: Path, hidden: int, depth: int, heads: int, attends: tuple[int, ...], millions: float
) -> None:
    """The sizes are those of segment-anything's build_sam.py, the parameter counts those of its paper's models."""
    from transformers import SamConfig, SamModel

    sizes = tiny_sam.Sizes(hidden, depth, heads, attends, 64, 16, 14, 256, 4, 16, 2048, 256)
    # All tensors are views of one number, so the file is small.
    one = torch.zeros(())
    state = {name: one.expand(shape) for name, shape in tiny_sam.original_shapes(sizes).items()}
    torch.save(state, tmp_path / "sam.pth")
    config: SamConfig = sam_config(TensorFile(tmp_path / "sam.pth"))
    vision = config.vision_config
    assert (vision.hidden_size, vision.num_hidden_layers, vision.num_attention_heads) == (hidden, depth, heads)
    assert (vision.global_attn_indexes, vision.window_size) == (list(attends), 14)
    assert (vision.image_size, vision.patch_size, vision.output_channels, vision.num_pos_feats) == (1024, 16, 256, 128)
    decoder, prompts = config.mask_decoder_config, config.prompt_encoder_config
    assert (decoder.hidden_size, decoder.mlp_dim, decoder.num_hidden_layers) == (256, 2048, 2)
    assert (decoder.attention_downsample_rate, decoder.num_multimask_outputs) == (2, 3)
    assert (decoder.iou_head_depth, decoder.iou_head_hidden_dim) == (3, 256)
    assert (prompts.hidden_size, prompts.mask_input_channels, prompts.image_embedding_size) == (256, 16, 64)
    with torch.device("meta"):
        model = SamModel(config)
    assert sum(parameter.numel() for parameter in model.parameters()) / 1e6 == pytest.approx(millions, abs=0.05)
    wanted = {name: tuple(t.shape) for name, t in tiny_sam.to_original(model.state_dict()).items()}
    assert wanted == tiny_sam.original_shapes(sizes)


def test_a_folder_of_another_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "sam2"}))
    with pytest.raises(CheckpointError, match=r"model_type is 'sam2', not 'sam'; give a folder that transformers'"):
        load_sam(tmp_path, "cpu")


def test_a_folder_without_config_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"config\.json: there is no such file"):
        load_sam(tmp_path, "cpu")


def test_nothing_at_the_path_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"sam\.pth: there is no such file or folder; give .*sam_vit_h_4b8939"):
        load_sam(tmp_path / "sam.pth", "cpu")


def test_a_truncated_folder_is_refused(tmp_path: Path) -> None:
    weights = tiny_sam.save_folder(tmp_path) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(CheckpointError, match=r"SamModel cannot be read \(.*\); copy it again"):
        load_sam(tmp_path, "cpu")


def test_a_folder_that_lacks_a_tensor_is_refused_and_nothing_drawn(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = tiny_sam.save_folder(tmp_path) / "model.safetensors"
    tensors = load_file(weights)
    del tensors["mask_decoder.iou_token.weight"]
    save_file(tensors, weights, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"lacks 1 of SAM's tensors, .*: mask_decoder\.iou_token\.weight"):
        load_sam(tmp_path, "cpu")


def test_a_folder_with_a_tensor_of_another_shape_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = tiny_sam.save_folder(tmp_path) / "model.safetensors"
    tensors = load_file(weights)
    tensors["mask_decoder.iou_token.weight"] = torch.zeros(1, 5)
    save_file(tensors, weights, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"has them in other shapes .*: mask_decoder\.iou_token\.weight; copy"):
        load_sam(tmp_path, "cpu")


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    path = tiny_sam.save_original(tmp_path / "sam.pth")
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(CheckpointError, match=r"truncated at \d+ bytes.*copy it again"):
        load_sam(path, "cpu")


def test_a_file_that_would_run_code_is_refused(tmp_path: Path) -> None:
    torch.save({"image_encoder.pos_embed": Path("x")}, tmp_path / "sam.pth")
    with pytest.raises(CheckpointError, match=r"no tensor and is never built"):
        load_sam(tmp_path / "sam.pth", "cpu")


@pytest.mark.parametrize(
    "name, shape, words",
    [
        ("image_encoder.pos_embed", None, r"lacks tensor image_encoder\.pos_embed; give"),
        ("mask_decoder.iou_token.weight", None, r"lacks tensor mask_decoder\.iou_token"),
        ("prompt_encoder.no_mask_embed.weight", None, r"lacks prompt_encoder\.no_mask_embed\.weight; give"),
        ("text_encoder.weight", (3, 3), r"has text_encoder\.weight, which SAM has not; give"),
        ("image_encoder.pos_embed", (5,), r"image_encoder\.pos_embed has the shape \[5\]; give"),
        ("image_encoder.blocks.0.norm1.weight", (17,), r"norm1\.weight has the shape \[17\], .* be \[16\]; give"),
        ("image_encoder.blocks.0.attn.rel_pos_h", (5, 7), r"relative positions .* none of SAM's; give"),
        ("image_encoder.blocks.1.attn.rel_pos_h", (0, 0), r"none of SAM's; give|would be \[15, 8\]"),
        (
            "mask_decoder.transformer.layers.0.cross_attn_token_to_image.q_proj.weight",
            (6, 16),
            r"has 6 rows, which is none of SAM's; give",
        ),
    ],
)
def test_a_file_that_is_no_sam_is_refused_with_the_tensor(
    tmp_path: Path, name: str, shape: tuple[int, ...] | None, words: str
) -> None:
    state = tiny_sam.waves()
    if shape is None:
        del state[name]
    else:
        state[name] = torch.zeros(shape)
    torch.save(state, tmp_path / "sam.pth")
    with pytest.raises(CheckpointError, match=words):
        load_sam(tmp_path / "sam.pth", "cpu")


def test_a_file_of_safetensors_without_its_folder_is_refused(tmp_path: Path) -> None:
    tiny_sam.save_folder(tmp_path)
    with pytest.raises(CheckpointError, match=r"model\.safetensors: .*give a folder"):
        load_sam(tmp_path / "model.safetensors", "cpu")


def test_without_transformers_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib import util

    # As on a machine that lacks it: the finders find everything but this one.
    find_spec = util.find_spec
    monkeypatch.setattr(
        util, "find_spec", lambda name, *rest: None if name == "transformers" else find_spec(name, *rest)
    )
    with pytest.raises(UsageError, match=r"not installed: pip install 'transformers>=5\.0', or go on without SAM"):
        load_sam(tmp_path, "cpu")
