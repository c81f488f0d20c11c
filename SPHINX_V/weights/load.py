"""From a checkpoint to a model: all is checked first, then tensors go straight to their places, a few at once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, cast

import torch
from torch import Tensor, nn

from SPHINX_V.config import SphinxVConfig, parse_config
from SPHINX_V.errors import CheckpointError, ConfigError, UsageError
from SPHINX_V.model.init import initialise
from SPHINX_V.model.lowbit import PRECISIONS, LowBitLinear, Precision, use_low_bits
from SPHINX_V.model.sphinx_v import SphinxV
from SPHINX_V.weights.checkpoint import Checkpoint, few, open_checkpoint
from SPHINX_V.weights.local_part import copy_local, is_distributed, local_region, local_tensor
from SPHINX_V.weights.names import PROMPT_PARTS
from SPHINX_V.weights.tensor_files import unreadable

InitialiseMissing = Literal["none", "prompts", "all"]
Replicas = Literal["check", "first"]

# Tensors that are read at once. Each thread holds at most `byte_ranges.STAGE_BYTES` beside the model.
READERS = 4

# Comparing every replica would read the frozen encoders once per shard; small tensors tell two trainings apart as well.
_REPLICA_BYTES = 1 << 20


@dataclass(frozen=True)
class LoadReport:
    """What was loaded and what was not; names are ours, those of `unused` and `unknown` as released."""

    kind: str
    loaded: int
    missing: tuple[str, ...]
    initialised: tuple[str, ...]
    unused: tuple[str, ...]
    unknown: tuple[str, ...]
    dtype: torch.dtype


@dataclass(frozen=True)
class Loaded:
    """A model with what it needs to run."""

    model: SphinxV
    config: SphinxVConfig
    tokenizer_bytes: bytes
    report: LoadReport


@dataclass(frozen=True)
class Opened:
    """A checkpoint that was checked against its model, which is still without memory; `missing` may be drawn."""

    model: SphinxV
    config: SphinxVConfig
    tokenizer_bytes: bytes
    checkpoint: Checkpoint
    missing: tuple[str, ...]


def open_model(
    path: str | os.PathLike[str],
    *,
    initialise_missing: str = "none",
    config: SphinxVConfig | None = None,
    overrides: Mapping[str, Any] | None = None,
    tokenizer_file: str | os.PathLike[str] | None = None,
    replicas: str = "check",
) -> Opened:
    """All that can be known of a checkpoint before its weights are read; arguments and errors as of `load_model`."""
    how = _initialise_how(initialise_missing)
    checkpoint = open_checkpoint(path, config)
    config = override(checkpoint.config, overrides or {}, str(path))
    tokenizer = _tokenizer(checkpoint, tokenizer_file)
    with torch.device("meta"):
        model = SphinxV(config)
    return Opened(model, config, tokenizer, checkpoint, _check(checkpoint, model, how, replicas))


def load_model(
    path: str | os.PathLike[str],
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    parallelize: Callable[[SphinxV], None] | None = None,
    initialise_missing: str = "none",
    seed: int = 0,
    config: SphinxVConfig | None = None,
    overrides: Mapping[str, Any] | None = None,
    tokenizer_file: str | os.PathLike[str] | None = None,
    replicas: str = "check",
    quantize: str | None = None,
) -> Loaded:
    """Loads any checkpoint that `open_checkpoint` knows, on `device`, in `dtype` (default: the checkpoint's).

    `parallelize` gets the model on the meta device and may split its parameters as DTensors; each process then holds
    its part only. `initialise_missing`: "prompts" draws the prompt parts that starting points lack, "all" whatever is
    missing, from `seed`; "none" refuses. `config` takes the place of the file's, `overrides` changes single sizes, such
    as {"llm.max_seq_len": 2048}. `replicas`: "first" accepts shards that disagree in a tensor that all of them hold.
    The prompt encoder's frequencies stay float32 whatever `dtype` is: they are computed with in float32. `quantize`
    ("int8", "int4") stores the language model's weights in that many bits, each as it is read; see `model.lowbit`.

    Raises CheckpointError, ConfigError or UsageError before anything is allocated.
    """
    if dtype is not None and not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
        raise UsageError(f"dtype is {dtype!r}; pass a floating torch.dtype, such as torch.bfloat16.")
    precision = _precision(quantize, parallelize is not None)
    opened = open_model(
        path,
        initialise_missing=initialise_missing,
        config=config,
        overrides=overrides,
        tokenizer_file=tokenizer_file,
        replicas=replicas,
    )
    model, checkpoint = opened.model, opened.checkpoint
    dtype = dtype or checkpoint.dtype
    low_bits = {} if precision is None else _use_low_bits(model, precision, opened.missing)
    materialise(model, device=device, dtype=dtype, parallelize=parallelize)
    report = _fill(model, checkpoint, opened.missing, seed, dtype, low_bits)
    return Loaded(model, opened.config, opened.tokenizer_bytes, report)


def load_state(
    model: SphinxV,
    checkpoint: Checkpoint | str | os.PathLike[str],
    *,
    initialise_missing: str = "none",
    seed: int = 0,
    replicas: str = "check",
) -> LoadReport:
    """Fills a model that exists, whatever its device, type and split; names and shapes are checked before.

    Raises CheckpointError with the model unchanged.
    """
    how = _initialise_how(initialise_missing)
    if not isinstance(checkpoint, Checkpoint):
        checkpoint = open_checkpoint(checkpoint, model.config)
    missing = _check(checkpoint, model, how, replicas)
    return _fill(model, checkpoint, missing, seed, model.start_img.dtype)


def load_tensors(model: nn.Module, tensors: Mapping[str, Tensor], where: str, prefixes: Iterable[str] = ()) -> None:
    """Fills single tensors of a model (from `sam`, `towers` or anywhere); our names, full shapes.

    Every tensor of the model whose name begins with one of `prefixes` must be among them. `where` names the origin in
    messages. Raises CheckpointError with the model unchanged.
    """
    targets = model.state_dict()
    for name, tensor in tensors.items():
        if name not in targets:
            raise CheckpointError(f"{where}: tensor {name} has no place in this model; does the file fit it?")
        if tensor.shape != targets[name].shape:
            raise CheckpointError(
                f"{where}: tensor {name} has the shape {list(tensor.shape)}, the model's {list(targets[name].shape)}."
            )
    starts = tuple(prefixes)
    missing = [name for name in targets if starts and name.startswith(starts) and name not in tensors]
    if missing:
        raise CheckpointError(f"{where}: lacks {len(missing)} tensors of the part: {few(missing)}.")
    with torch.no_grad():
        for name, tensor in tensors.items():
            copy_local(targets[name], tensor)


def build_random(
    config: SphinxVConfig,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    parallelize: Callable[[SphinxV], None] | None = None,
    seed: int = 0,
) -> SphinxV:
    """A model with random weights, made on `device` in `dtype`: no copy of it is ever anywhere else."""
    with torch.device("meta"):
        model = SphinxV(config)
    names = list(model.state_dict())  # without what `parallelize` adds
    materialise(model, device=device, dtype=dtype, parallelize=parallelize)
    initialise_tensors(model, names, seed)
    return model


def materialise(
    model: SphinxV,
    *,
    device: torch.device | str,
    dtype: torch.dtype,
    parallelize: Callable[[SphinxV], None] | None = None,
) -> None:
    """Gives a model on the meta device memory on `device`, with arbitrary contents; splits it first, so that no process
    holds the whole."""
    model.to(dtype)
    # Fourier features of bfloat16 frequencies would be off by pixels, and the file may hold them in float32.
    model.prompt_encoder.frequencies = model.prompt_encoder.frequencies.float()
    if parallelize is not None:
        parallelize(model)
    model.to_empty(device=device)


def override(config: SphinxVConfig, changes: Mapping[str, Any], where: str) -> SphinxVConfig:
    """`config` with dotted fields changed; raises ConfigError for a field that does not exist or a wrong value."""
    if not changes:
        return config
    values = config.model_dump()
    for dotted, value in changes.items():
        *parents, leaf = dotted.split(".")
        level: Any = values
        for part in parents:
            level = level.get(part) if isinstance(level, dict) else None
        if not isinstance(level, dict):
            raise ConfigError(f"{where}: there is no field {dotted!r} to override.")
        level[leaf] = value
    return parse_config(values, where)


def initialise_tensors(model: SphinxV, chosen: Iterable[str], seed: int) -> None:
    """Random values for single tensors of a model; of split ones every process draws the whole and keeps its part."""
    chosen, targets = list(chosen), model.state_dict()
    plain = [name for name in chosen if not is_distributed(targets[name])]
    initialise(model, seed, plain)
    split = [name for name in chosen if is_distributed(targets[name])]
    if not split:
        return
    with torch.device("meta"):
        whole = SphinxV(model.config)
    for name in split:
        target = targets[name]
        owner, _, leaf = name.rpartition(".")
        module = whole.get_submodule(owner)
        empty = torch.empty(target.shape, dtype=target.dtype, device=local_tensor(target).device)
        setattr(module, leaf, nn.Parameter(empty))
        initialise(whole, seed, [name])
        with torch.no_grad():
            copy_local(target, module.get_parameter(leaf))
        setattr(module, leaf, nn.Parameter(empty.to("meta")))


def _initialise_how(value: str) -> InitialiseMissing:
    if value not in ("none", "prompts", "all"):
        raise UsageError(f"initialise_missing is {value!r}; give 'none', 'prompts' or 'all'.")
    return cast(InitialiseMissing, value)


def _precision(value: str | None, is_split: bool) -> Precision | None:
    if value is None:
        return None
    if value not in PRECISIONS:
        raise UsageError(f"quantize is {value!r}; give {' or '.join(map(repr, PRECISIONS))}, or None.")
    if is_split:
        raise UsageError(
            f"quantize {value} is for a model in one process; leave it out, or load with tensor_parallel=1."
        )
    return value


def _use_low_bits(model: SphinxV, precision: Precision, missing: Iterable[str]) -> dict[str, LowBitLinear]:
    """The low-bit layers of a model by the names of the weights that they stand for."""
    layers = {f"llm.{name}": layer for name, layer in use_low_bits(model.llm, precision).items()}
    drawn = [name for name in missing if name in layers]
    if drawn:
        raise UsageError(
            f"the checkpoint lacks {few(drawn)}; random weights are not quantised: leave out quantize, or train first."
        )
    return layers


def _tokenizer(checkpoint: Checkpoint, file: str | os.PathLike[str] | None) -> bytes:
    if file is not None:
        if not Path(file).is_file():
            raise CheckpointError(f"{os.fspath(file)}: there is no such tokenizer file.")
        try:
            return Path(file).read_bytes()
        except OSError as error:
            raise unreadable(file, error) from None
    if checkpoint.tokenizer_bytes is None:
        raise CheckpointError(
            f"{checkpoint.path}: has no tokenizer.model; copy it there or name one with tokenizer_file."
        )
    return checkpoint.tokenizer_bytes


def _check(checkpoint: Checkpoint, model: SphinxV, how: InitialiseMissing, replicas: str) -> tuple[str, ...]:
    """The missing names, if they may be missing; touches neither model nor, but for small replicas, data."""
    if replicas not in ("check", "first"):
        raise UsageError(f"replicas is {replicas!r}; give 'check' or 'first'.")
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    missing = checkpoint.check(shapes).missing
    beyond_prompts = [name for name in missing if not name.startswith(PROMPT_PARTS)]
    refused: Iterable[str] = {"none": missing, "prompts": beyond_prompts, "all": ()}[how]
    if refused:
        option = "all" if beyond_prompts else "prompts"
        stored = [checkpoint.source.stored_name(name) for name in refused]
        files = few(file.path.name for file in checkpoint.source.files)
        raise CheckpointError(
            f"{checkpoint.path}: {files}: lacks {len(stored)} of the model's {len(shapes)} tensors: {few(stored)}."
            f" If that is meant, initialise_missing={option!r} draws them at random."
        )
    if replicas == "check":
        checkpoint.check_replicas(_REPLICA_BYTES)
    return missing


def _fill(
    model: SphinxV,
    checkpoint: Checkpoint,
    missing: tuple[str, ...],
    seed: int,
    dtype: torch.dtype,
    low_bits: Mapping[str, LowBitLinear] = MappingProxyType({}),
) -> LoadReport:
    targets = model.state_dict()
    names = [name for name in checkpoint.shapes() if name in targets or name in low_bits]
    straight = {name: place for name in names if name in targets and (place := _straight(targets[name])) is not None}
    _copy_straight(checkpoint, straight)
    with torch.no_grad():
        for name in names:
            if name in low_bits:
                low_bits[name].fill(checkpoint.read(name))
            elif name not in straight:
                copy_local(targets[name], checkpoint.read(name))
    if missing:
        initialise_tensors(model, missing, seed)
    return LoadReport(checkpoint.kind, len(names), missing, missing, checkpoint.unused, checkpoint.unknown, dtype)


class _Place(NamedTuple):
    """Memory that holds a tensor from `start` on along `dimension`."""

    memory: Tensor
    dimension: int
    start: int


def _straight(target: Tensor) -> _Place | None:
    """The memory of this process for a tensor, where that is one stretch of it."""
    region = local_region(target)
    return None if region is None else _Place(local_tensor(target), *region)


def _copy_straight(checkpoint: Checkpoint, places: Mapping[str, _Place]) -> None:
    """Reads tensors into their places, `READERS` at a time; of several errors the first in order is raised."""
    inference = torch.is_inference_mode_enabled()  # known to each thread for itself

    def copy(name: str) -> None:
        with torch.inference_mode(inference), torch.no_grad():
            checkpoint.source.copy_part(name, *places[name])

    with ThreadPoolExecutor(READERS, thread_name_prefix="weights") as pool:
        for _ in pool.map(copy, places):
            pass
