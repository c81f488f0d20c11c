"""AdamW with moments of eight bits through torchao: which parts it is for, and its states as plain tensors.

Moments are kept as places in a table of 256 values, times the largest of each block of `BLOCK` neighbours (Dettmers et
al., arXiv 2110.02861); a step computes in float32.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from accessory.config import TrainOptions
from accessory.train.gradients import Part
from SPHINX_V.errors import ConfigError

# Blocks lie within rows, so that another number of data ranks cuts between them. 64 divides the rows of the 13B also
# where eight tensor ranks share them (13824 / 8 = 27 · 64).
BLOCK = 64
_LEAST = 4096  # numbers of a parameter; of smaller ones moments in float32 cost nothing
_MOMENTS = {"exp_avg": True, "exp_avg_sq": False}  # has it signs?
BYTES = len(_MOMENTS) * (1 + 4 / BLOCK)  # for each number: its place in the table, its share of a block's float32


def check_lowbit(options: TrainOptions) -> None:
    """Raises ConfigError, with the line that installs it, where torchao is needed and missing."""
    if options.optimizer == "adamw8bit" and find_spec("torchao") is None:
        raise ConfigError(
            "train.optimizer adamw8bit needs the package torchao, which is not installed: pip install"
            " 'sphinx-v[lowbit]', or take adamw."
        )


def in_eight_bits(whole: Sequence[int], row: int) -> bool:
    """Is adamw8bit for a parameter of this whole shape, of whose rows a process holds `row` numbers?"""
    return len(whole) > 1 and math.prod(whole) >= _LEAST and row % BLOCK == 0


def takes(part: Part) -> bool:
    """`in_eight_bits` for a part."""
    return in_eight_bits(part.parameter.shape, math.prod(part.local.shape[1:]))


class LowBitAdamW:
    """Steps of the local parts, and their states from the beginning. Raises ConfigError as `check_lowbit`."""

    def __init__(self, parts: Sequence[Part], options: TrainOptions) -> None:
        check_lowbit(options)
        from torchao.optim import AdamW8bit
        from torchao.optim.subclass_8bit import OptimState8bit

        # Of a parameter with few rows a data rank may hold nothing, but it counts the steps as the others do.
        self._parts = [part for part in parts if part.local.numel()]
        self._empty = [(part, torch.zeros(())) for part in parts if not part.local.numel()]
        group = {"params": [part.local for part in self._parts], "peak": options.lr}
        self.optimizer: torch.optim.Optimizer | None = None
        if self._parts:
            self.optimizer = AdamW8bit(
                [group], options.lr, options.betas, weight_decay=options.weight_decay, block_size=BLOCK
            )
        self._states: list[dict[str, Any]] = []
        for part in self._parts:
            assert self.optimizer is not None
            state = self.optimizer.state[part.local]
            state["step"] = torch.zeros(())
            for key, signed in _MOMENTS.items():
                state[key] = OptimState8bit.zeros(part.local.shape, signed, BLOCK, part.local.device, torch.float32)
            self._states.append(state)

    def step(self) -> None:
        """One step by the gradients of the local parts."""
        for _, count in self._empty:
            count += 1
        if self.optimizer is None:
            return
        for part in self._parts:
            if part.local.grad is not None:
                part.local.grad = part.local.grad.contiguous()  # blocks are neighbours in memory
        # On the CPU torchao's compiling takes 20 s for every shape of a part; on GPUs it pays.
        on_cpu = self._parts[0].local.device.type == "cpu"
        with torch.compiler.set_stance("force_eager") if on_cpu else nullcontext():
            self.optimizer.step()

    def states(self) -> Iterator[tuple[Part, str, Tensor]]:
        """Every tensor that is kept, by part and name: a count of steps [], and of each moment the places in the table
        (uint8, of the part's shape) and the blocks' largest [rows, blocks of a row]."""
        for part, count in self._empty:
            yield part, "step", count
            for key in _MOMENTS:
                blocks = math.prod(part.local.shape[1:]) // BLOCK
                yield part, f"{key}.codes", torch.zeros_like(part.local, dtype=torch.uint8)
                yield part, f"{key}.scale", part.local.new_zeros(len(part.local), blocks)
        for part, state in zip(self._parts, self._states):
            yield part, "step", state["step"]
            for key in _MOMENTS:
                yield part, f"{key}.codes", state[key].codes
                yield part, f"{key}.scale", state[key].scale.view(len(part.local), -1)


def whole_shape(part: Part, tensor: Tensor) -> torch.Size:
    """The shape over all processes of one that `states` gives for a part."""
    whole = part.parameter.shape
    if tensor.shape == part.local.shape:
        return whole
    return torch.Size((whole[0], math.prod(whole[1:]) // BLOCK))
