"""Sizes of every part of the model, the two presets, and all derived sizes; a number is typed here once or nowhere."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from SPHINX_V.errors import ConfigError

NUM_VIEWS = 5  # the whole picture and its four quarters
VIEWS_PER_SIDE = 2
STEM_GROUPS = 8  # channel groups of the convolutional stem's norms


class _Sizes(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LlamaConfig(_Sizes):
    """The language model, in the fields of Meta's `params.json` (LLaMA 2, arXiv 2307.09288)."""

    dim: int = Field(gt=0)
    n_layers: int = Field(gt=0)
    n_heads: int = Field(gt=0)
    n_kv_heads: int | None = Field(default=None, gt=0)
    vocab_size: int = Field(gt=0)
    multiple_of: int = Field(default=256, gt=0)
    ffn_dim_multiplier: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    norm_eps: float = Field(default=1e-5, gt=0, allow_inf_nan=False)
    rope_theta: float = Field(default=10000.0, gt=0, allow_inf_nan=False)
    max_seq_len: int = Field(default=4096, gt=0)

    @model_validator(mode="after")
    def _sizes_divide(self) -> LlamaConfig:
        if self.dim % self.n_heads or (self.dim // self.n_heads) % 2:
            raise ValueError(f"dim {self.dim} must divide into n_heads {self.n_heads} heads of an even size")
        if self.n_heads % self.kv_heads:
            raise ValueError(f"n_heads {self.n_heads} must be a multiple of n_kv_heads {self.kv_heads}")
        if self.ffn_dim < 1:
            raise ValueError(f"ffn_dim_multiplier {self.ffn_dim_multiplier} leaves no feed-forward width")
        return self

    @property
    def head_dim(self) -> int:
        return self.dim // self.n_heads

    @property
    def kv_heads(self) -> int:
        return self.n_heads if self.n_kv_heads is None else self.n_kv_heads

    @property
    def ffn_dim(self) -> int:
        """SwiGLU hidden size: 8/3 of dim, times the multiplier, rounded up to `multiple_of`."""
        hidden = int(2 * (4 * self.dim) / 3)
        if self.ffn_dim_multiplier is not None:
            hidden = int(self.ffn_dim_multiplier * hidden)
        return self.multiple_of * ((hidden + self.multiple_of - 1) // self.multiple_of)


class ViTConfig(_Sizes):
    """One vision transformer; CLIP ViT, DINOv2 and BLIP-2's ViT differ in these fields only."""

    width: int = Field(gt=0)
    layers: int = Field(gt=0)
    heads: int = Field(gt=0)
    mlp_width: int = Field(gt=0)
    patch_size: int = Field(default=14, gt=0)
    pretrain_grid: int = Field(gt=0, description="side of the position table, in patches")
    hidden_act: Literal["gelu", "quick_gelu", "swiglu"] = "gelu"
    norm_eps: float = 1e-5
    pre_norm: bool = False
    patch_bias: bool = True
    layer_scale: bool = False
    stem: Literal["patch", "conv"] = Field(
        default="patch", description="conv: strided convolutions and pooling, learns from little data"
    )

    @model_validator(mode="after")
    def _sizes_divide(self) -> ViTConfig:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} must be a multiple of heads {self.heads}")
        if self.stem == "conv" and self.patch_size not in (4, 8, 16, 32):
            raise ValueError(
                f"stem conv halves the view again and again: patch_size {self.patch_size} must be 4, 8, 16 or 32"
            )
        if self.stem == "conv" and self.width % (2 * STEM_GROUPS):
            raise ValueError(
                f"stem conv starts with half of width {self.width}, in {STEM_GROUPS} groups: give a multiple of 16"
            )
        return self


class ConvNeXtConfig(_Sizes):
    """ConvNeXt (arXiv 2201.03545) as timm builds it."""

    depths: tuple[int, int, int, int]
    dims: tuple[int, int, int, int]
    norm_eps: float = 1e-5


class QFormerConfig(_Sizes):
    """BLIP-2's Q-Former (arXiv 2301.12597), query side only."""

    width: int = Field(gt=0)
    layers: int = Field(gt=0)
    heads: int = Field(gt=0)
    mlp_width: int = Field(gt=0)
    cross_attention_frequency: int = Field(default=2, gt=0)
    num_query_tokens: int = Field(default=32, gt=0)
    norm_eps: float = 1e-12

    @model_validator(mode="after")
    def _sizes_divide(self) -> QFormerConfig:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} must be a multiple of heads {self.heads}")
        return self


class VisionConfig(_Sizes):
    """The five views and their four encoders."""

    view_size: int = Field(default=224, gt=0)
    clip: ViTConfig
    dinov2: ViTConfig
    blip2_vit: ViTConfig
    convnext: ConvNeXtConfig
    qformer: QFormerConfig
    position_features: bool = Field(
        default=False, description="add each patch's place, in the Fourier basis of the marks; off for released weights"
    )

    @model_validator(mode="after")
    def _grids_agree(self) -> VisionConfig:
        for name in ("clip", "dinov2", "blip2_vit"):
            tower: ViTConfig = getattr(self, name)
            if self.view_size % tower.patch_size:
                raise ValueError(f"{name}.patch_size {tower.patch_size} does not divide view_size {self.view_size}")
        if self.view_size // self.dinov2.patch_size != self.grid:
            raise ValueError(f"clip and dinov2 must have one grid, their tokens are concatenated: {self.grid} patches")
        if self.grid % 2:
            raise ValueError(f"a view has {self.grid} patches per side; ConvNeXt's map is doubled, so it must be even")
        for name in ("clip", "blip2_vit"):
            tower = getattr(self, name)
            if tower.pretrain_grid != self.view_size // tower.patch_size:
                raise ValueError(
                    f"{name}.pretrain_grid {tower.pretrain_grid}: only dinov2's position table is resampled"
                )
        return self

    @property
    def picture_size(self) -> int:
        """Side of the square picture in pixels, two views wide."""
        return VIEWS_PER_SIDE * self.view_size

    @property
    def grid(self) -> int:
        """Patches per side of one view."""
        return self.view_size // self.clip.patch_size

    @property
    def convnext_size(self) -> int:
        """Side of ConvNeXt's input: its stride is 32 and its map is doubled to the grid."""
        return self.grid // 2 * 32

    @property
    def mixed_width(self) -> int:
        """Channels of CLIP | ConvNeXt | DINOv2 side by side."""
        return self.clip.width + self.convnext.dims[-1] + self.dinov2.width

    @property
    def tokens_per_view(self) -> int:
        """Q-Former tokens, then class token and patches, without the tags."""
        return self.qformer.num_query_tokens + 1 + self.grid**2


class PromptConfig(_Sizes):
    """The prompt encoder: SAM's Fourier features (arXiv 2304.02643) over a fixed number of slots."""

    num_slots: int = Field(default=10, gt=0)
    frequencies: int = Field(default=128, gt=0)

    @property
    def corner_width(self) -> int:
        """Sines and cosines of one corner."""
        return 2 * self.frequencies

    @property
    def width(self) -> int:
        """A box has two corners; a point is projected up to the same width."""
        return 2 * self.corner_width


class SphinxVConfig(_Sizes):
    """The whole model."""

    llm: LlamaConfig
    vision: VisionConfig
    prompts: PromptConfig = PromptConfig()
    norm_eps: float = Field(default=1e-5, description="LayerNorms of the three projections")

    @property
    def image_length(self) -> int:
        """Tokens of a picture: five tagged views (1455 for the 13B)."""
        return NUM_VIEWS * (self.vision.tokens_per_view + 2)

    @property
    def visual_length(self) -> int:
        """Tokens in front of the text: those of the picture and the tagged prompt slots (1467 for the 13B)."""
        return self.image_length + self.prompts.num_slots + 2


def parse_config(values: dict[str, Any], where: str) -> SphinxVConfig:
    """A config from JSON or YAML values; raises ConfigError that names `where`, the field and the fault."""
    try:
        return SphinxVConfig.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"{where}: {explain(error)}") from None


def explain(error: ValidationError) -> str:
    """One line per fault: the dotted field, what is wrong, the value."""
    faults = []
    for fault in error.errors():
        field = ".".join(str(part) for part in fault["loc"]) or "model"
        value = "" if isinstance(fault["input"], (dict, list)) else f" (value: {fault['input']!r})"
        faults.append(f"{field}: {fault['msg']}{value}")
    return "; ".join(faults)


def dinov2_mlp_width(width: int) -> int:
    """Hidden size of DINOv2's packed SwiGLU: two thirds of 4·width, rounded up to a multiple of 8."""
    return (int(4 * width * 2 / 3) + 7) // 8 * 8


def clip_tower(width: int, layers: int, heads: int, grid: int, **changes: Any) -> ViTConfig:
    """OpenAI's CLIP ViT (arXiv 2103.00020): LayerNorm before the blocks, no bias in the patch convolution."""
    fields = {"mlp_width": 4 * width, "norm_eps": 1e-5, "pre_norm": True, "patch_bias": False, **changes}
    return ViTConfig(width=width, layers=layers, heads=heads, pretrain_grid=grid, **fields)


def dinov2_tower(width: int, layers: int, heads: int, grid: int, **changes: Any) -> ViTConfig:
    """DINOv2 (arXiv 2304.07193): SwiGLU, LayerScale, LayerNorm epsilon 1e-6."""
    fields = {
        "mlp_width": dinov2_mlp_width(width),
        "hidden_act": "swiglu",
        "norm_eps": 1e-6,
        "layer_scale": True,
        **changes,
    }
    return ViTConfig(width=width, layers=layers, heads=heads, pretrain_grid=grid, **fields)


def blip2_tower(width: int, layers: int, heads: int, mlp_width: int, grid: int, **changes: Any) -> ViTConfig:
    """BLIP-2's ViT, from EVA-CLIP: LayerNorm epsilon 1e-6."""
    fields = {"norm_eps": 1e-6, **changes}
    return ViTConfig(width=width, layers=layers, heads=heads, mlp_width=mlp_width, pretrain_grid=grid, **fields)


def full_vision() -> VisionConfig:
    """The four encoders of the released model."""
    return VisionConfig(
        clip=clip_tower(1024, 24, 16, grid=16),
        dinov2=dinov2_tower(1536, 40, 24, grid=37),
        blip2_vit=blip2_tower(1408, 39, 16, mlp_width=6144, grid=16),
        convnext=ConvNeXtConfig(depths=(3, 4, 30, 3), dims=(384, 768, 1536, 3072)),
        qformer=QFormerConfig(width=768, layers=12, heads=12, mlp_width=3072),
    )


def sphinx_v_13b() -> SphinxVConfig:
    """The released model: LLaMA-2-13B with the full encoders."""
    return SphinxVConfig(
        llm=LlamaConfig(dim=5120, n_layers=40, n_heads=40, vocab_size=32000, multiple_of=256), vision=full_vision()
    )


def tiny(vocab_size: int = 1024) -> SphinxVConfig:
    """A model of every part that trains on a laptop in minutes: 128-pixel pictures, 4×4 patches per view."""
    tower = {"patch_size": 16}
    return SphinxVConfig(
        # A large rope_theta leaves most channels nearly unrotated between marks and patches, so that they can match.
        llm=LlamaConfig(
            dim=128,
            n_layers=4,
            n_heads=4,
            vocab_size=vocab_size,
            multiple_of=32,
            ffn_dim_multiplier=0.75,
            rope_theta=1e6,
            max_seq_len=1024,
        ),
        vision=VisionConfig(
            view_size=64,
            clip=clip_tower(64, 2, 4, grid=4, stem="conv", **tower),
            dinov2=dinov2_tower(32, 1, 2, grid=4, **tower),
            blip2_vit=blip2_tower(32, 1, 2, mlp_width=64, grid=4, **tower),
            convnext=ConvNeXtConfig(depths=(1, 1, 1, 1), dims=(16, 32, 48, 64)),
            qformer=QFormerConfig(width=32, layers=1, heads=2, mlp_width=64, num_query_tokens=4),
            position_features=True,
        ),
    )


PRESETS = {"sphinx_v_13b": sphinx_v_13b, "tiny": tiny}
