"""The released form of a configuration: `config.json` / Meta's `params.json` to SphinxVConfig and back."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from SPHINX_V.config import (
    LlamaConfig,
    PromptConfig,
    QFormerConfig,
    SphinxVConfig,
    ViTConfig,
    blip2_tower,
    clip_tower,
    dinov2_tower,
    full_vision,
    parse_config,
)
from SPHINX_V.errors import ConfigError

# In released files, without meaning for a model that is read here.
_IGNORED = frozenset({"max_batch_size", "load_pretrained_visual_encoder"})
# In released files, with a meaning that this model does not have; only these values are no change.
_ONLY = {"rope_scaling": (None,), "use_scaled_rope": (None, False)}

_VIEW_SIZE = 224
_PATCH_SIZE = 14
_DINOV2_PRETRAIN_SIZE = 518
_SIZES = ("width", "layers", "heads")
_VISION_PARTS = ("clip", "convnext", "dinov2", "blip2_vit", "qformer")
_VISION_OPTIONS = ("view_size", "position_features")
# Not of the vision, but a released config has no better place for what its form cannot say.
_MODEL_OPTIONS = ("prompts", "norm_eps")


def from_released(values: Mapping[str, Any], where: Path | str, vocab_size: int | None = None) -> SphinxVConfig:
    """The configuration that a released `config.json` or a `params.json` of Meta describes.

    Without the key `vision` the full encoders hold. A vocabulary of -1 or none is replaced by `vocab_size`, the height
    of the embedding. Raises ConfigError that names the file and the key.
    """
    llm_keys = tuple(LlamaConfig.model_fields)
    _refuse_unknown(values, {*llm_keys, *_IGNORED, *_ONLY, "vision"}, f"{where}")
    for key, allowed in _ONLY.items():
        if values.get(key) not in allowed:
            raise ConfigError(
                f"{where}: {key} is {values[key]!r}; this model has plain rotary positions, set it to null."
            )
    llm = {key: values[key] for key in llm_keys if key in values}
    if llm.get("vocab_size", -1) == -1 and vocab_size is not None:
        llm["vocab_size"] = vocab_size
    vision = values.get("vision")
    if vision is None:
        return parse_config({"llm": llm, "vision": full_vision().model_dump()}, str(where))
    if not isinstance(vision, Mapping):
        raise ConfigError(f"{where}: vision is a {type(vision).__name__}, not an object of tower sizes.")
    _refuse_unknown(vision, {*_VISION_PARTS, *_VISION_OPTIONS, *_MODEL_OPTIONS}, f"{where}: vision")
    options = {key: vision[key] for key in _MODEL_OPTIONS if key in vision}
    if isinstance(options.get("prompts"), Mapping):
        _refuse_unknown(options["prompts"], tuple(PromptConfig.model_fields), f"{where}: vision.prompts")
    return parse_config({"llm": llm, "vision": _read_vision(vision, where), **options}, str(where))


def _refuse_unknown(values: Mapping[str, Any], known: Collection[str], where: str) -> None:
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.0)
            raise ConfigError(f"{where}: unknown key {key!r}; the nearest known one is {near[0]!r}.")


def _read_vision(vision: Mapping[str, Any], where: Path | str) -> dict[str, Any]:
    for part in _VISION_PARTS:
        if not isinstance(vision.get(part), Mapping):
            raise ConfigError(
                f"{where}: vision.{part} is missing; name the sizes of all of {', '.join(_VISION_PARTS)}."
            )
    view_size = vision.get("view_size", _VIEW_SIZE)
    if not isinstance(view_size, int):
        raise ConfigError(f"{where}: vision.view_size is {view_size!r}, not a number of pixels.")
    convnext, qformer = dict(vision["convnext"]), dict(vision["qformer"])
    _refuse_unknown(convnext, ("depths", "dims", "norm_eps"), f"{where}: vision.convnext")
    _refuse_unknown(qformer, tuple(QFormerConfig.model_fields), f"{where}: vision.qformer")
    return {
        **{key: vision[key] for key in _VISION_OPTIONS if key in vision},
        "clip": _read_tower(vision["clip"], clip_tower, view_size, f"{where}: vision.clip"),
        "dinov2": _read_tower(vision["dinov2"], dinov2_tower, _DINOV2_PRETRAIN_SIZE, f"{where}: vision.dinov2"),
        "blip2_vit": _read_tower(vision["blip2_vit"], blip2_tower, view_size, f"{where}: vision.blip2_vit"),
        "convnext": convnext,
        "qformer": qformer,
    }


def _read_tower(
    values: Mapping[str, Any], build: Callable[..., ViTConfig], pretrain_size: int, where: str
) -> dict[str, Any]:
    """One tower's fields: those of its family, changed by what the file says; `pretrain_size` in pixels."""
    known = {*ViTConfig.model_fields, "pretrain_size"} - {"pretrain_grid"}
    _refuse_unknown(values, known, where)
    sizes = (*_SIZES, "mlp_width") if build is blip2_tower else _SIZES
    for key in (*sizes, "patch_size", "pretrain_size"):
        default = {"patch_size": _PATCH_SIZE, "pretrain_size": pretrain_size}.get(key)
        value = values.get(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ConfigError(f"{where}.{key} is {value!r}; give a number of at least 1.")
    patch_size = values.get("patch_size", _PATCH_SIZE)
    side = values.get("pretrain_size", pretrain_size)
    if side % patch_size:
        raise ConfigError(f"{where}: patch_size {patch_size} does not divide pretrain_size {side}.")
    base = build(**{key: values[key] for key in sizes}, grid=side // patch_size).model_dump()
    changes = {key: value for key, value in values.items() if key != "pretrain_size"}
    return {**base, **changes}


def to_released(config: SphinxVConfig) -> dict[str, Any]:
    """The released form; what that form has no word for stands under its own name in `vision`.

    The key `vision` is left out where the encoders are the full ones, as in the released 13B.
    """
    values: dict[str, Any] = {**config.llm.model_dump(), "rope_scaling": None}
    extra = {
        key: getattr(config, key) if key == "norm_eps" else config.prompts.model_dump()
        for key in _MODEL_OPTIONS
        if getattr(config, key) != SphinxVConfig.model_fields[key].default
    }
    if config.vision == full_vision() and not extra:
        return values
    vision = config.vision
    view = {} if vision.view_size == _VIEW_SIZE else {"view_size": vision.view_size}
    places = {"position_features": True} if vision.position_features else {}
    values["vision"] = {
        **view,
        **places,
        "clip": _write_tower(vision.clip, clip_tower, vision.view_size),
        "convnext": vision.convnext.model_dump(mode="json"),
        "dinov2": _write_tower(vision.dinov2, dinov2_tower, None),
        "blip2_vit": _write_tower(vision.blip2_vit, blip2_tower, vision.view_size),
        "qformer": {key: value for key, value in vision.qformer.model_dump().items() if _is_said(key, value)},
        **extra,
    }
    return values


def _is_said(key: str, value: Any) -> bool:
    """The released form leaves the Q-Former's epsilon unsaid."""
    return key != "norm_eps" or value != QFormerConfig.model_fields["norm_eps"].default


def _write_tower(tower: ViTConfig, build: Callable[..., ViTConfig], pretrain_size: int | None) -> dict[str, Any]:
    fields = tower.model_dump()
    sizes = (*_SIZES, "mlp_width") if build is blip2_tower else _SIZES
    values = {key: fields[key] for key in sizes}
    base = build(**values, grid=tower.pretrain_grid).model_dump()
    values["patch_size"] = tower.patch_size
    if build is clip_tower:
        values["hidden_act"] = tower.hidden_act
    side = tower.pretrain_grid * tower.patch_size
    if side != pretrain_size:
        values["pretrain_size"] = side
    return {**values, **{key: value for key, value in fields.items() if value != base[key] and key not in values}}
