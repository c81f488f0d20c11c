"""The four encoders and the prompt encoder's start from files of their authors and of transformers."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from SPHINX_V.config import ConvNeXtConfig, QFormerConfig, VisionConfig, blip2_tower, clip_tower, dinov2_tower
from SPHINX_V.errors import CheckpointError
from SPHINX_V.model.vision import MixedEncoder
from SPHINX_V.weights.load import build_random, load_tensors
from SPHINX_V.weights.names import PREFIX, to_released
from SPHINX_V.weights.sam import read_sam
from SPHINX_V.weights.towers import PREFIXES, read_tower
from tests.weights import small

transformers = pytest.importorskip("transformers")

VISION = VisionConfig(
    view_size=28,
    clip=clip_tower(8, 2, 2, grid=2),
    dinov2=dinov2_tower(24, 2, 3, grid=3),
    blip2_vit=blip2_tower(8, 2, 2, mlp_width=16, grid=2),
    convnext=ConvNeXtConfig(depths=(1, 2, 1, 1), dims=(4, 8, 12, 16)),
    qformer=QFormerConfig(width=8, layers=3, heads=2, mlp_width=16, num_query_tokens=3),
)


class Holder(torch.nn.Module):
    """A model that is nothing but the encoders, under the names that they have in the whole."""

    def __init__(self):
        super().__init__()
        self.vision = MixedEncoder(VISION)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.normal_()


def expected(*prefixes):
    return {n: t for n, t in Holder().state_dict().items() if n.startswith(prefixes)}


def original(state, part):
    """The authors' names, which the released ones keep behind `llma.<part>.`."""
    found = {}
    for name, tensor in state.items():
        mapped = to_released(name)
        released = mapped.name.removeprefix(PREFIX).removeprefix(part)
        found[released] = tensor.reshape((1,) * mapped.lead + tuple(tensor.shape))
    return found


def filled(tower, *paths):
    """A holder with one tower filled from files; raises where any of its tensors is missing."""
    holder = Holder().eval()
    load_tensors(holder, read_tower(tower, paths, VISION).tensors, str(paths[0]), PREFIXES[tower])
    return holder


def save(path, state):
    state = {name: tensor.contiguous() for name, tensor in state.items()}
    save_file(state, path) if path.suffix == ".safetensors" else torch.save(state, path)
    return path


def assert_filled(holder, state):
    stored = holder.state_dict()
    small.assert_same_bits({name: stored[name] for name in state}, state)


def randomised(model):
    """Values for every tensor; transformers begins with ones and zeros, which hide swaps."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3)
    return model.eval()


def close(one, two):
    assert one.shape == two.shape
    assert (one - two).abs().max() < 1e-5


@pytest.fixture
def views():
    return torch.randn(2, 3, 28, 28, generator=torch.Generator().manual_seed(0))


def test_clip_of_open_clip(tmp_path):
    state = expected("vision.clip.")
    text = {"text_projection": torch.zeros(2, 2), "transformer.resblocks.0.ln_1.weight": torch.zeros(2)}
    file = save(tmp_path / "open_clip.pt", {**original(state, "clip."), **text, "visual.proj": torch.zeros(8, 2)})
    assert_filled(filled("clip", file), state)
    assert set(read_tower("clip", file, VISION).ignored) == {*text, "visual.proj"}


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
def test_clip_of_openai_is_a_torchscript_archive(tmp_path):
    state = expected("vision.clip.")

    class Script(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

    script = Script()
    for name, tensor in original(state, "clip.").items():
        *path, leaf = name.split(".")
        owner = script
        for part in path:
            if not hasattr(owner, part):
                owner.add_module(part, torch.nn.Module())
            owner = getattr(owner, part)
        owner.register_buffer(leaf, tensor)
    torch.jit.save(torch.jit.script(script), tmp_path / "ViT-L-14.pt")
    assert_filled(filled("clip", tmp_path / "ViT-L-14.pt"), state)


@pytest.mark.parametrize("whole", [False, True])
def test_clip_of_transformers(whole, tmp_path, views):
    sizes = {"hidden_size": 8, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    vision = transformers.CLIPVisionConfig(**sizes, image_size=28, patch_size=14, hidden_act="gelu")
    if whole:
        text = transformers.CLIPTextConfig(**sizes, vocab_size=10)
        config = transformers.CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=4)
        model = randomised(transformers.CLIPModel(config))
        tower = model.vision_model
    else:
        tower = model = randomised(transformers.CLIPVisionModel(vision))
    model.save_pretrained(tmp_path)
    ours = filled("clip", tmp_path / "model.safetensors").vision.clip
    with torch.no_grad():
        hidden = tower(views).last_hidden_state
        norm = getattr(tower, "vision_model", tower).post_layernorm
        close(ours(views), norm(hidden))


def test_dinov2_of_the_hub(tmp_path):
    state = expected("vision.dinov2.")
    stored = {**original(state, "dinov2_vitg14."), "mask_token": torch.zeros(1, 24)}
    assert "blocks.1.mlp.w12.weight" in stored
    assert_filled(filled("dinov2", save(tmp_path / "dinov2_vitg14_pretrain.pth", stored)), state)


@pytest.mark.parametrize("version", [4, 5])
def test_dinov2_of_transformers(version, tmp_path, views):
    sizes = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "patch_size": 14}
    model = randomised(transformers.Dinov2Model(transformers.Dinov2Config(**sizes, image_size=28, use_swiglu_ffn=True)))
    state = dict(model.state_dict())
    if version == 4:
        # What files of earlier versions look like: other names, the two halves of SwiGLU packed.
        new = {"attention.q_proj": "attention.attention.query", "attention.k_proj": "attention.attention.key"}
        new |= {"attention.v_proj": "attention.attention.value", "attention.o_proj": "attention.output.dense"}
        new |= {"mlp.down_proj": "mlp.weights_out"}
        packed = {}
        for name in [name for name in state if "mlp.gate_proj" in name]:
            halves = [state.pop(name), state.pop(name.replace("gate_proj", "up_proj"))]
            packed[name.replace("gate_proj", "weights_in")] = torch.cat(halves)
        for old, other in new.items():
            state = {name.replace(old, other): tensor for name, tensor in state.items()}
        state |= packed
    file = save(tmp_path / "pytorch_model.bin", state)
    weights = read_tower("dinov2", file, VISION)
    assert weights.ignored == ("embeddings.mask_token",)
    vision = VISION.model_copy(update={"dinov2": dinov2_tower(24, 2, 3, grid=2)})
    ours = Holder().vision.dinov2
    tower = type(ours)(vision.dinov2).eval()
    tower.load_state_dict({name.removeprefix("vision.dinov2."): t for name, t in weights.tensors.items()})
    with torch.no_grad():
        close(tower(views), model(views).last_hidden_state)


@pytest.mark.parametrize(
    "prefix, norm", [("", "head.norm"), ("visual.trunk.", "head.norm"), ("visual.trunk.", "norm_pre")]
)
def test_convnext_of_timm_and_open_clip(prefix, norm, tmp_path):
    state = expected("vision.convnext.")
    stored = {prefix + n.replace("head.norm", norm): t for n, t in original(state, "openclip_convnext_xxl.").items()}
    stored |= {"visual.head.proj.weight": torch.zeros(2, 2), "logit_scale": torch.zeros(())}
    assert f"{prefix}{norm}.weight" in stored
    assert_filled(filled("convnext", save(tmp_path / "open_clip_pytorch_model.safetensors", stored)), state)


def test_convnext_of_transformers(tmp_path):
    config = transformers.ConvNextConfig(hidden_sizes=[4, 8, 12, 16], depths=[1, 2, 1, 1], layer_norm_eps=1e-5)
    model = randomised(transformers.ConvNextModel(config))
    model.save_pretrained(tmp_path)
    ours = filled("convnext", tmp_path / "model.safetensors").vision.convnext
    pictures = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        # transformers' own epsilon inside is 1e-6, so the values are compared loosely, the weights exactly.
        theirs = model.encoder(model.embeddings(pictures)).last_hidden_state.permute(0, 2, 3, 1)
        theirs = torch.nn.functional.layer_norm(theirs, (16,), model.layernorm.weight, model.layernorm.bias, 1e-5)
        assert (ours(pictures).permute(0, 2, 3, 1) - theirs).abs().max() < 1e-2
    assert torch.equal(ours.stages[1].blocks[1].gamma, model.encoder.stages[1].layers[1].layer_scale_parameter)


def lavis(state):
    """(what LAVIS trains and keeps, the ViT), with q and v biases apart and none for the keys."""
    ours = {name: tensor.clone() for name, tensor in state.items()}
    for name in ours:
        if name.endswith("qkv.bias"):
            ours[name][8:16] = 0
    kept, vit = {}, {}
    for name, tensor in original(ours, "qformer.").items():
        if name.startswith("vision_model.post_layernorm."):
            kept[name.replace("vision_model.post_layernorm", "ln_vision")] = tensor
        elif name.startswith("vision_model."):
            name = name.removeprefix("vision_model.").replace("encoder.layers.", "blocks.")
            for theirs, his in (
                ("embeddings.class_embedding", "cls_token"),
                ("embeddings.position_embedding", "pos_embed"),
                ("embeddings.patch_embedding", "patch_embed.proj"),
                ("layer_norm", "norm"),
                ("self_attn.qkv", "attn.qkv"),
                ("self_attn.projection", "attn.proj"),
            ):
                name = name.replace(theirs, his)
            if name.endswith("attn.qkv.bias"):
                start = name.removesuffix("qkv.bias")
                vit[f"{start}q_bias"], _, vit[f"{start}v_bias"] = tensor.chunk(3)
            else:
                vit[name] = tensor
        else:
            name = name.replace("qformer.layernorm", "Qformer.bert.embeddings.LayerNorm")
            name = name.replace("qformer.encoder", "Qformer.bert.encoder").replace(
                "attention.attention", "attention.self"
            )
            kept[name] = tensor
    kept |= {"Qformer.bert.embeddings.word_embeddings.weight": torch.zeros(4, 8), "temp": torch.zeros(())}
    kept |= {"Qformer.bert.encoder.layer.0.output.dense.weight": torch.zeros(8, 16)}
    return kept, vit, ours


def test_blip2_of_lavis(tmp_path):
    kept, vit, ours = lavis(expected("vision.blip2_vit.", "vision.qformer."))
    assert "Qformer.bert.encoder.layer.2.crossattention.self.query.weight" in kept
    assert "blocks.1.attn.q_bias" in vit
    one = tmp_path / "blip2_pretrained.pth"
    torch.save({"model": {**kept, **{f"visual_encoder.{name}": tensor for name, tensor in vit.items()}}}, one)
    assert_filled(filled("blip2", one), ours)

    beyond = {name.replace("blocks.1.", "blocks.2."): t for name, t in vit.items() if name.startswith("blocks.1.")}
    eva = save(tmp_path / "eva_vit_g.pth", {**vit, **beyond, "head.weight": torch.zeros(2)})
    torch.save({"model": kept}, one)
    assert_filled(filled("blip2", eva, one), ours)
    with pytest.raises(CheckpointError, match=r"lacks \d+ tensors of the part: vision\.blip2_vit\.class_token"):
        filled("blip2", one)
    with pytest.raises(CheckpointError, match="is there twice"):
        read_tower("blip2", [eva, eva], VISION)


def test_blip2_of_transformers(tmp_path, views):
    vit = {
        "hidden_size": 8,
        "intermediate_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 28,
    }
    qformer = {**vit, "num_hidden_layers": 3, "encoder_hidden_size": 8, "vocab_size": 10}
    del qformer["image_size"]
    text = {"model_type": "opt", "hidden_size": 8, "num_hidden_layers": 1, "ffn_dim": 8, "num_attention_heads": 2}
    config = transformers.Blip2Config(
        vision_config={**vit, "layer_norm_eps": 1e-6},
        qformer_config=qformer,
        text_config={**text, "vocab_size": 10, "word_embed_proj_dim": 8},
        num_query_tokens=3,
    )
    model = randomised(transformers.Blip2Model(config))
    model.save_pretrained(tmp_path)
    assert any(name.startswith("language_model.") for name in load_file(tmp_path / "model.safetensors"))
    ours = filled("blip2", tmp_path / "model.safetensors").vision
    with torch.no_grad():
        seen = model.vision_model(views).last_hidden_state
        close(ours.blip2_vit(views), seen)
        queries = model.query_tokens.expand(2, -1, -1)
        read = model.qformer(query_embeds=queries, encoder_hidden_states=seen).last_hidden_state
        close(ours.qformer(seen), read)


def test_a_file_of_something_else(tmp_path):
    file = save(tmp_path / "resnet.pth", {"layer1.0.conv1.weight": torch.zeros(3)})
    for tower in PREFIXES:
        with pytest.raises(CheckpointError, match=rf"resnet\.pth: holds no tensor of {tower}"):
            read_tower(tower, file, VISION)
    with pytest.raises(CheckpointError, match=r"none\.pth: there is no such file"):
        read_tower("clip", tmp_path / "none.pth", VISION)


def test_an_incomplete_packed_tensor(tmp_path):
    stored = {f"encoder.layers.0.self_attn.{part}_proj.weight": torch.zeros(8, 8) for part in "qk"}
    with pytest.raises(CheckpointError, match=r"blocks\.0\.attn\.qkv\.weight only 2 of 3 parts"):
        read_tower("clip", save(tmp_path / "half.pth", stored), VISION)


def test_sam_of_its_authors(tmp_path):
    stored = {f"prompt_encoder.point_embeddings.{i}.weight": torch.full((1, 256), float(i)) for i in range(4)}
    stored["prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"] = torch.randn(2, 128)
    stored["prompt_encoder.not_a_point_embed.weight"] = torch.full((1, 256), 9.0)
    file = save(tmp_path / "sam_vit_h_4b8939.pth", stored)
    model = build_random(small.small_config(), seed=1)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    load_tensors(model, read_sam(file), str(file))
    encoder = model.prompt_encoder
    # Quirk of the published model: label 0, SAM's background point, became the slot without a mark.
    for value, name in enumerate(("point_invalid", "point_valid", "corner0", "corner1")):
        assert torch.equal(getattr(encoder, name), torch.full((256,), float(value))), name
    assert torch.equal(encoder.frequencies, stored["prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"])
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert len(changed) == 5
    del stored["prompt_encoder.point_embeddings.3.weight"]
    with pytest.raises(CheckpointError, match=r"lacks tensor prompt_encoder\.point_embeddings\.3\.weight"):
        read_sam(save(file, stored))
    stored["prompt_encoder.point_embeddings.3.weight"] = torch.zeros(256)
    with pytest.raises(CheckpointError, match=r"point_embeddings\.3\.weight has the shape \[256\]"):
        read_sam(save(file, stored))


def test_sam_of_transformers(tmp_path):
    vision = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "image_size": 32, "mlp_dim": 8}
    config = transformers.SamConfig(
        vision_config={**vision, "output_channels": 8, "num_pos_feats": 4},
        prompt_encoder_config={"hidden_size": 8, "image_size": 32},
        mask_decoder_config={"hidden_size": 8, "num_attention_heads": 1, "mlp_dim": 8, "num_hidden_layers": 1},
    )
    model = randomised(transformers.SamModel(config))
    model.save_pretrained(tmp_path)
    found = read_sam(tmp_path / "model.safetensors")
    points = [model.prompt_encoder.point_embed[i].weight[0] for i in range(4)]
    names = ["point_invalid", "point_valid", "corner0", "corner1"]
    assert torch.equal(found["prompt_encoder.frequencies"], model.shared_image_embedding.positional_embedding)
    assert all(torch.equal(found[f"prompt_encoder.{name}"], point) for name, point in zip(names, points, strict=True))
