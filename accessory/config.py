"""Typed options of a training run, from YAML with `key.sub=value` overrides; unknown keys are errors with a line."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypeVar, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from SPHINX_V.config import PRESETS
from SPHINX_V.errors import ConfigError


class Options(BaseModel):
    """Base of every group of options: unknown keys are refused, values do not change after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelOptions(Options):
    """Where the model comes from: a checkpoint folder, or a preset with random weights and a tokenizer file."""

    checkpoint: str | None = None
    preset: str | None = None
    tokenizer: str | None = None
    sam: str | None = Field(
        default=None, description="SAM ViT-H's file: where the prompt encoder of a starting point begins"
    )
    initialise_missing: Literal["none", "prompts", "all"] = Field(
        default="none", description="what a checkpoint may lack: nothing, the prompt parts, anything"
    )

    @model_validator(mode="after")
    def _one_origin(self) -> ModelOptions:
        if (self.checkpoint is None) == (self.preset is None):
            raise ValueError("give exactly one of model.checkpoint and model.preset")
        if self.preset is not None and self.preset not in PRESETS:
            raise ValueError(f"preset {self.preset!r} is unknown; known: {', '.join(PRESETS)}")
        if self.preset is not None and self.tokenizer is None:
            raise ValueError("a preset has no tokenizer of its own; give model.tokenizer")
        return self


class DataOptions(Options):
    """What is trained on."""

    config: str = Field(description="YAML file in the META form (path, type, root, ratio)")
    max_words: int = Field(gt=0, description="tokens per sample, the visual ones included")
    on_bad_sample: Literal["refuse", "skip"] = "refuse"
    max_bad_rate: float = Field(
        default=0.01, ge=0, le=1, description="with on_bad_sample skip: more bad items than this share stop the run"
    )
    box_jitter: bool = True
    workers: int = Field(default=0, ge=0)
    length_pool: int = Field(
        default=16, gt=0, description="batches whose items are sorted by length together; 1 mixes short and long ones"
    )
    text_multiple: int = Field(
        default=1,
        gt=0,
        description="texts of a micro-batch are padded to a multiple of so many tokens; few lengths suit torch.compile",
    )
    check_pictures: bool = Field(
        default=True,
        description="look at every picture's header and marks before training, once per state of the annotation file;"
        " without, bad ones are met on the way",
    )
    index_dir: str | None = Field(
        default=None,
        description="folder for the index of annotations and what was found about them; by default .sphinx_v_index"
        " beside each annotation file",
    )
    prepare_processes: int | None = Field(
        default=None,
        gt=0,
        description="processes that look at the items before the first training; by default one per core, at most 16,"
        " and one for less than 32768 items",
    )
    keep_items: int = Field(
        default=50_000,
        ge=0,
        description="up to this many items stay in memory as tokens once read, about 4 KB each; beyond, all are read"
        " anew",
    )
    cache_pictures: bool = Field(default=False, description="keep resized pictures in memory; for small data sets")
    heldout: str | None = Field(default=None, description="YAML file in the META form: items that are only measured on")
    heldout_every: int = Field(default=500, gt=0, description="steps between two measurements of the held-out loss")
    heldout_items: int | None = Field(
        default=None,
        gt=0,
        description="how many of the held-out items are measured on, always the same; all by default",
    )


class LoraOptions(Options):
    """Low-rank adapters (LoRA, arXiv 2106.09685) that are trained in place of the projections beside them."""

    rank: int = Field(default=16, gt=0, description="channels between an adapter's two matrices")
    alpha: int = Field(default=32, gt=0, description="an adapter's result is multiplied by alpha / rank")
    targets: tuple[Literal["wq", "wk", "wv", "wo", "w1", "w2", "w3"], ...] = Field(
        default=("wq", "wk", "wv", "wo", "w1", "w2", "w3"),
        min_length=1,
        description="projections of the language model's layers that get one: attention's and the feed-forward's",
    )


class TrainOptions(Options):
    """How it is trained. Defaults are those of the published recipe."""

    freeze: list[str] = Field(default_factory=list, description="prefixes of our parameter names")
    lora: LoraOptions | None = Field(
        default=None, description="adapters for projections of the language model, which are then frozen"
    )
    lr: float = Field(gt=0)
    min_lr: float = Field(default=0.0, ge=0)
    warmup_epochs: float = Field(default=0.03, ge=0)
    epochs: float = Field(default=1.0, gt=0)
    max_steps: int | None = Field(default=None, gt=0, description="the run, and its schedule, end after these steps")
    batch_size: int = Field(gt=0, description="per process and micro-batch")
    accumulation: int = Field(default=1, gt=0)
    optimizer: Literal["adamw", "adamw8bit"] = Field(
        default="adamw", description="adamw8bit keeps the moments of matrices in 8 bits in place of 32"
    )
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = Field(default=0.0, ge=0)
    muon_lr: float | None = Field(
        default=None, gt=0, description="train matrices by Muon with this peak rate; for models from random weights"
    )
    clip_grad: float = Field(default=8.0, gt=0)
    packing: bool = Field(
        default=False, description="the texts of a micro-batch behind one another in one row, without padding; exact"
    )
    packing_multiple: int = Field(
        default=1, gt=0, description="length of a packed row; few lengths keep torch.compile from compiling anew"
    )
    skip_spikes: float | None = Field(
        default=None, gt=0, description="leave out steps whose gradient norm is so many deviations above the last ones'"
    )
    max_skipped: int = Field(default=10, ge=0, description="steps left out one after another before the run stops")
    log_every: int = Field(default=1, gt=0, description="steps between looks at the device, for metrics and for stops")
    mark_loss: float = Field(
        default=0.0,
        ge=0,
        description="weight of an extra loss at the prompt slots: each predicts what the answer says of its mark",
    )
    patch_loss: float = Field(
        default=0.0, ge=0, description="weight of an extra loss at the patches under the marks: each predicts the label"
    )
    patch_steps: int = Field(
        default=0,
        ge=0,
        description="first steps that train by the patch loss alone, without the language model's layers; far cheaper",
    )
    seed: int = 0

    @model_validator(mode="after")
    def _patch_steps_have_a_loss(self) -> TrainOptions:
        if self.patch_steps and not self.patch_loss:
            raise ValueError("train.patch_steps trains by the patch loss alone; give train.patch_loss a weight above 0")
        return self


class ParallelOptions(Options):
    """How a run is laid out over processes; changes speed and memory, not what is learnt."""

    tensor: int = Field(default=1, gt=0, description="processes that share one language model (model parallel size)")
    mode: Literal["ddp", "sdp", "fsdp"] = Field(
        default="ddp",
        description="over data ranks: replicas; gradients and optimiser split; weights split too",
    )
    recompute: Literal["none", "selective", "full"] = Field(
        default="none", description="activations of the language model that backward computes again"
    )
    dtype: Literal["float32", "bfloat16"] = Field(
        default="float32", description="of computation and of frozen weights; trained weights are float32"
    )
    attention: Literal["sdpa", "varlen", "flex", "flash"] = Field(
        default="sdpa", description="kernel for packed rows; all but sdpa are for CUDA"
    )
    compile: bool = Field(default=False, description="torch.compile for every layer of the language model")


class SaveOptions(Options):
    """When the state of a run is saved, so that it can be resumed, and which states are kept."""

    every: int | None = Field(
        default=None, gt=0, description="steps between states; without, one when the run is stopped"
    )
    keep_last: int = Field(default=2, gt=0, description="newest states that are kept; one alone can be hit by damage")
    keep_every: int | None = Field(default=None, gt=0, description="states of steps divisible by this stay for good")
    asynchronous: bool = Field(
        default=True, description="write beside training, from a copy in host memory; else training waits for the disk"
    )
    dtype: Literal["float32", "bfloat16"] | None = Field(
        default=None,
        description="of the checkpoint at the end; without, trained weights are float32 as they were trained",
    )
    released_shards: int | None = Field(
        default=None, gt=0, description="at the end write the released layout too, in so many files"
    )


class LogOptions(Options):
    """Where a run's numbers go besides the progress bar and metrics.jsonl."""

    tensorboard: bool = Field(default=False, description="event files in the output's folder tensorboard")
    wandb: str | None = Field(default=None, min_length=1, description="name of a project of Weights & Biases")


class RunOptions(Options):
    """One training run."""

    output: str
    model: ModelOptions
    data: DataOptions
    train: TrainOptions
    parallel: ParallelOptions = ParallelOptions()
    save: SaveOptions = Field(default_factory=SaveOptions)
    log: LogOptions = LogOptions()


T = TypeVar("T", bound=BaseModel)


def read_yaml(path: str | Path) -> tuple[Any, dict[tuple[Any, ...], int]]:
    """The values of a YAML file and the line of every key, by its path; raises ConfigError that names file and line."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such configuration file.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({error}); give a YAML file in UTF-8.") from None
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    lines: dict[tuple[Any, ...], int] = {}

    def walk(node: Any, place: tuple[Any, ...]) -> None:
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                here = (*place, key.value)
                if here in lines:
                    raise ConfigError(
                        f"{path}, line {key.start_mark.line + 1}: {'.'.join(map(str, here))} stands in line"
                        f" {lines[here]} already; keep one of them."
                    )
                lines[here] = key.start_mark.line + 1
                walk(value, here)
        elif isinstance(node, yaml.SequenceNode):
            for index, value in enumerate(node.value):
                here = (*place, index)
                lines[here] = value.start_mark.line + 1
                walk(value, here)

    walk(root, ())
    return values, lines


def load_options(cls: type[T], path: str | Path, overrides: Sequence[str] = ()) -> T:
    """Options of type `cls` from a YAML file; each override is `key.sub=value`, the value in YAML.

    Raises ConfigError naming file, line, key and the nearest known key.
    """
    values, lines = read_yaml(path)
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: holds a {type(values).__name__}; a configuration is a mapping of keys.")
    origins = {place: f"{path}, line {line}" for place, line in lines.items()}
    for override in overrides:
        place = _apply(cls, values, override)
        _drop_other_origin(values, place)
        origins = {other: origin for other, origin in origins.items() if other[: len(place)] != place}
        origins[place] = f"override {override!r}"
    return validate(cls, values, str(path), origins)


def validate(cls: type[T], values: Any, where: str, origins: Mapping[tuple[Any, ...], str]) -> T:
    """`cls` from plain values; errors name the key's origin (file and line, or override), else `where`, and the nearest
    known key."""
    try:
        return cls.model_validate(values)
    except ValidationError as error:
        faults = []
        for fault in error.errors():
            place = tuple(fault["loc"])
            prefix = next((origins[place[:n]] for n in range(len(place), 0, -1) if place[:n] in origins), where)
            if fault["type"] == "extra_forbidden":
                faults.append(f"{prefix}: unknown key {'.'.join(map(str, place))}{_nearest(cls, place)}")
            else:
                faults.append(f"{prefix}: {explain_one(fault)}")
        raise ConfigError("\n".join(faults)) from None


def explain_one(fault: Any) -> str:
    """The dotted key of a fault, what is wrong, and the value."""
    key = ".".join(map(str, fault["loc"]))
    message = fault["msg"].removeprefix("Value error, ")
    value = "" if isinstance(fault["input"], (dict, list)) else f" (value: {fault['input']!r})"
    return f"{key}: {message}{value}" if key else f"{message}"


def _nearest(cls: type[BaseModel], place: tuple[Any, ...]) -> str:
    model: type[BaseModel] = cls
    for key in place[:-1]:
        if str(key) not in model.model_fields:  # a place in a list, or a name that the file's author chose
            continue
        annotation = model.model_fields[str(key)].annotation
        options = [annotation, *get_args(annotation)]
        inner = [option for option in options if isinstance(option, type) and issubclass(option, BaseModel)]
        if not inner:
            return ""
        model = inner[0]
    known = list(model.model_fields)
    close = difflib.get_close_matches(str(place[-1]), known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else f"; known: {', '.join(known)}"


def _annotation(cls: type[BaseModel], place: Sequence[str]) -> Any:
    """The type of the option at `place`, None where there is none."""
    annotation: Any = cls
    for key in place:
        groups = [one for one in (annotation, *get_args(annotation)) if isinstance(one, type)]
        model = next((one for one in groups if issubclass(one, BaseModel)), None)
        if model is None or key not in model.model_fields:
            return None
        annotation = model.model_fields[key].annotation
    return annotation


def _apply(cls: type[BaseModel], values: dict[str, Any], override: str) -> tuple[str, ...]:
    """Puts the override's value in its place, which is returned."""
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise ConfigError(f"override {override!r} is not of the form key.sub=value.")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        value = error
    annotation = _annotation(cls, key.split("."))
    alternatives = get_args(annotation) if get_origin(annotation) is UnionType else (annotation,)
    if value is not None and str in alternatives:
        value = text  # as it stands: YAML would take " #" in a path for a comment, and 12 for a number
    if isinstance(value, yaml.YAMLError):
        raise ConfigError(f"override {override!r}: the value is not valid YAML: {value}")
    *parents, last = key.split(".")
    place = values
    for parent in parents:
        if place.get(parent) is None:
            place[parent] = {}
        place = place[parent]
        if not isinstance(place, dict):
            raise ConfigError(f"override {override!r}: {parent} is not a group of options.")
    place[last] = value
    return (*parents, last)


def _drop_other_origin(values: dict[str, Any], place: tuple[str, ...]) -> None:
    """A model has one origin: naming it in an override takes the place of the file's, which is then no second one."""
    group = values.get("model")
    if place == ("model", "checkpoint") and isinstance(group, dict) and group["checkpoint"] is not None:
        group.pop("preset", None)
        group.pop("tokenizer", None)
    elif place == ("model", "preset") and isinstance(group, dict) and group["preset"] is not None:
        group.pop("checkpoint", None)
