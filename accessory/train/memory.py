"""Memory of one process in training, by component, from sizes alone: weights are added up, activations come from a run
on the meta device."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Collection
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from accessory.config import ParallelOptions, TrainOptions
from accessory.parallel.layout import DTYPES, blocks, needs_group
from accessory.parallel.recompute import recompute
from accessory.train.lora import split_of
from accessory.train.loss import target_loss
from accessory.train.lowbit import BYTES, in_eight_bits
from accessory.train.meta_model import META, meta_inputs, meta_model, use_kernels
from SPHINX_V.config import SphinxVConfig
from SPHINX_V.model.sphinx_v import SphinxV

_MASTER = 4  # bytes of a trained weight and of its gradient, which are float32
_STATES = 8  # bytes of what AdamW keeps for each


class MicroBatch(NamedTuple):
    """The sizes of one: rows, text tokens per row with padding, target tokens over all rows, whether with pictures; the
    length of its one row where it is packed."""

    rows: int
    text_length: int
    targets: int
    picture: bool
    packed: int | None = None

    def states(self, visual_length: int) -> int:
        """Positions that pass the layers."""
        return self.packed or self.rows * (self.text_length + (visual_length if self.picture else 0))


@dataclass(frozen=True)
class Memory:
    """Bytes of one process at the highest point of a step.

    `frozen` weights and `masters` (trained weights in float32), as they lie between steps; `gathered`, the trained
    weights in the type of computation; `gradients`; `optimizer`, its states; `activations`, what forward keeps for
    backward; `working`, what backward needs at its highest point beside them; `exchange`, buffers between processes.
    What torch, the driver and NCCL take for themselves (1 to 2 GiB) is not in it.
    """

    frozen: int
    masters: int
    gathered: int
    gradients: int
    optimizer: int
    activations: int
    working: int
    exchange: int

    @property
    def total(self) -> int:
        return sum(getattr(self, field.name) for field in fields(self))


def estimate_memory(
    config: SphinxVConfig,
    trained: Collection[str],
    train: TrainOptions,
    parallel: ParallelOptions,
    data: int,
    batch: MicroBatch,
) -> Memory:
    """Of a model of which the parameters named in `trained` learn, those of adapters among them, laid out by `parallel`
    over `data` data ranks, in a step whose largest micro-batch is `batch`."""
    model = meta_model(config, trained, train.lora)
    units = _units(model, parallel.tensor, train.optimizer == "adamw8bit")
    width = DTYPES[parallel.dtype].itemsize
    shards = 1 if parallel.mode == "ddp" else data
    split = data > 1 or needs_group(parallel)  # by FSDP, which alone mixes types
    whole = parallel.mode != "fsdp"
    learning = sum(unit.trained for unit in units)
    frozen = gathered = 0
    for unit in units:
        parted = split and not whole and not unit.is_root
        frozen += width * unit.frozen // (shards if parted else 1)
        gathered += width * unit.trained if split and (whole or unit.is_root) else 0
    if split and not whole:
        # One block computes while the next is on its way.
        gathered += 2 * width * max(unit.trained + unit.frozen for unit in units if not unit.is_root)
    activations, working = _activations(model, parallel, batch)
    return Memory(
        frozen,
        _MASTER * learning // shards,
        gathered,
        _MASTER * learning // shards,
        int(sum(unit.states for unit in units)) // shards,
        activations,
        working,
        _exchange(config, units, parallel, split, batch),
    )


class _Unit(NamedTuple):
    """A part of the model that FSDP gathers at once: numbers of weights that one tensor rank has, and bytes of what the
    optimiser keeps for them."""

    trained: int
    frozen: int
    states: float
    is_root: bool


def _units(model: SphinxV, tensor: int, low_bit: bool) -> list[_Unit]:
    """As `accessory.parallel.layout.shard` makes them: single blocks, and the rest as the root."""
    names = {parameter: name for name, parameter in model.named_parameters()}
    units = []
    for module in [*blocks(model), model]:
        trained = frozen = 0
        states = 0.0
        for parameter in module.parameters():
            if parameter not in names:
                continue
            side = split_of(names.pop(parameter))
            number = parameter.numel() // (1 if side is None else tensor)
            if not parameter.requires_grad:
                frozen += number
                continue
            trained += number
            row = math.prod(parameter.shape[1:]) // (tensor if side == 1 else 1)
            states += number * (BYTES if low_bit and in_eight_bits(parameter.shape, row) else _STATES)
        units.append(_Unit(trained, frozen, states, module is model))
    return units


def _exchange(
    config: SphinxVConfig, units: list[_Unit], parallel: ParallelOptions, split: bool, batch: MicroBatch
) -> int:
    """Buffers of gradients on their way, in float32 those of a unit and of the one before it, and of tensor ranks'
    parts of a layer's result."""
    width = DTYPES[parallel.dtype].itemsize
    largest = max(unit.trained for unit in units)
    gradients = (width + 2 * _MASTER) * largest if split else 0
    parts = width * batch.states(config.visual_length) * config.llm.dim if parallel.tensor > 1 else 0
    return gradients + parts


def _activations(model: SphinxV, parallel: ParallelOptions, batch: MicroBatch) -> tuple[int, int]:
    """Bytes that are alive after forward, and how many more there are at the highest point of forward and backward."""
    _cut(model, parallel.tensor)
    model.to(DTYPES[parallel.dtype])
    model.prompt_encoder.frequencies = model.prompt_encoder.frequencies.float()
    use_kernels(model)
    recompute(model, parallel.recompute)
    for parameter in model.parameters():
        if parameter.requires_grad:
            # Counted as gradients; here they would be alive to the end.
            parameter.register_post_accumulate_grad_hook(_drop_gradient)
    with LiveBytes() as live:
        inputs = meta_inputs(model.config, batch.rows, batch.text_length, batch.picture)
        embedded = model.embed(inputs)
        if batch.packed is not None:
            # Attention within each sequence keeps what one over the whole row would.
            embedded = embedded.flatten(0, 1)[_places(batch.packed)].unsqueeze(0)
        loss = _loss(model, model.hidden(embedded), batch.targets)
        del embedded
        kept = live.now
        loss.backward()
    return kept, live.peak - kept


def _loss(model: SphinxV, hidden: Tensor, targets: int) -> Tensor:
    """The loss over any `targets` positions."""
    places = _places(targets)
    return target_loss(model, hidden.flatten(0, 1)[places], places)


def _places(count: int) -> Tensor:
    """Indices of `count` states; which ones makes no difference here."""
    return torch.zeros(count, dtype=torch.int64, device=META)


def _drop_gradient(parameter: Tensor) -> None:
    parameter.grad = None


def _cut(model: SphinxV, tensor: int) -> None:
    """Leaves of the layers what one of `tensor` ranks has, and of the views what it encodes; embeddings and head stay,
    as their results are gathered whole."""
    if tensor == 1:
        return
    for number, layer in enumerate(model.llm.layers):
        for name, parameter in list(layer.named_parameters()):
            dimension = split_of(f"llm.layers.{number}.{name}")
            if dimension is not None:
                owner, _, leaf = name.rpartition(".")
                part = parameter.detach().chunk(tensor, dimension)[0]
                setattr(layer.get_submodule(owner), leaf, nn.Parameter(part, parameter.requires_grad))

    count = 0

    def take(module: nn.Module, arguments: tuple[Tensor, ...]) -> tuple[Tensor]:
        nonlocal count
        count = len(arguments[0])
        return (arguments[0][: -(-count // tensor)],)

    def join(module: nn.Module, arguments: Any, parts: tuple[Tensor, Tensor]) -> tuple[Tensor, ...]:
        return tuple(torch.cat([part] * tensor)[:count] for part in parts)

    model.vision.register_forward_pre_hook(take)
    model.vision.register_forward_hook(join)


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of all tensors that come into being within it and are still alive: `now`, and at most `peak`."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0
        self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = {_key(leaf) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
        result = function(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor) and _key(leaf) not in given | self._known:
                self._count(leaf.untyped_storage())
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        self._known.add(key)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._forget, key, size)

    def _forget(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size


def _key(tensor: Tensor) -> int:
    """The same for all views of one piece of memory."""
    return tensor.untyped_storage()._cdata
