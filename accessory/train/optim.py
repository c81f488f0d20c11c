"""The optimisers: AdamW, without decay on biases and norms, with moments of 32 or 8 bits, and Muon for the matrices of
small recipes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from accessory.config import TrainOptions
from accessory.train.gradients import Part
from accessory.train.lowbit import LowBitAdamW, takes

# Rows of these stand for tokens, places or words: single vectors, not maps between spaces.
_TABLES = ("tok_embeddings.weight", "output.weight", "position_embedding")


class Optimizers:
    """One or two optimisers over the local parts that step together, with learning rates that move together."""

    def __init__(self, parts: Sequence[Part], options: TrainOptions) -> None:
        self.parts = parts
        mixing = [part for part in parts if options.muon_lr and _mixes(part)]
        low_bit = [part for part in parts if options.optimizer == "adamw8bit" and takes(part)]
        names = {part.name for part in (*mixing, *low_bit)}
        self.adamw = _adamw([part for part in parts if part.name not in names], options)
        # Muon takes matrices only: a kernel is handed over as a matrix in the same memory, one row per output channel.
        self._matrices = [(part, _as_matrix(part.local)) for part in mixing]
        self.muon = _muon([matrix for _, matrix in self._matrices], options) if mixing else None
        self.low_bit = LowBitAdamW(low_bit, options) if low_bit else None

    @property
    def _optimizers(self) -> list[torch.optim.Optimizer]:
        low_bit = None if self.low_bit is None else self.low_bit.optimizer
        return [optimizer for optimizer in (self.adamw, self.muon, low_bit) if optimizer is not None]

    def set_rate(self, share: float) -> None:
        """Sets every learning rate to `share` of its peak."""
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                rate = share * group["peak"]
                # torchao keeps its rate in a tensor, so that its compiled step takes every rate.
                group["lr"] = group["lr"].fill_(rate) if isinstance(group["lr"], Tensor) else rate

    def step(self, good: Tensor) -> None:
        """One step, or none where `good` [] is false; AdamW of 32 bits finds that out on the device, the others ask."""
        if self.adamw is not None:
            # What torch's fused kernels look for: a gradient scaler tells them in this way of an overflow.
            self.adamw.grad_scale = None  # type: ignore[attr-defined]
            self.adamw.found_inf = (~good).float()  # type: ignore[attr-defined]
            self.adamw.step()
        if self.muon is not None and bool(good):
            for part, matrix in self._matrices:
                matrix.data = part.local.detach().view_as(matrix)
                matrix.grad = None if part.local.grad is None else part.local.grad.flatten(1)
            self.muon.step()
            for _, matrix in self._matrices:
                matrix.grad = None
        if self.low_bit is not None and bool(good):
            self.low_bit.step()

    def states(self) -> Iterator[tuple[Part, str, Tensor]]:
        """Every tensor that the optimisers keep, by part and by its name there, made first where there was no step yet.

        The count of steps is one number per parameter [], the others have the part's own shape, or are those of
        `LowBitAdamW.states`.
        """
        owners: list[tuple[torch.optim.Optimizer, Part, nn.Parameter]] = []
        if self.adamw is not None:
            chosen = {id(p) for group in self.adamw.param_groups for p in group["params"]}
            owners += [(self.adamw, part, part.local) for part in self.parts if id(part.local) in chosen]
        if self.muon is not None:
            owners += [(self.muon, part, matrix) for part, matrix in self._matrices]
        for optimizer, part, local in owners:
            state = optimizer.state[local]
            if not state:
                _begin(state, local, muon=optimizer is self.muon)
            for key in sorted(state):
                tensor = state[key]
                yield part, key, tensor if tensor.ndim == 0 else tensor.view_as(part.local)
        if self.low_bit is not None:
            yield from self.low_bit.states()


def _begin(state: dict[str, Tensor], local: Tensor, muon: bool) -> None:
    """What torch's optimisers make at their first step, so that a state can be read back before it."""
    if muon:
        state["momentum_buffer"] = torch.zeros_like(local)
        return
    state["step"] = torch.zeros((), dtype=torch.float32, device=local.device)  # fused: on the parameter's device
    state["exp_avg"] = torch.zeros_like(local)
    state["exp_avg_sq"] = torch.zeros_like(local)


def _adamw(parts: Sequence[Part], options: TrainOptions) -> torch.optim.Optimizer | None:
    """AdamW; one-dimensional parameters (biases, norms, tags) never decay."""
    groups = [
        {"params": [part.local for part in parts if _decays(part)], "weight_decay": options.weight_decay},
        {"params": [part.local for part in parts if not _decays(part)], "weight_decay": 0.0},
    ]
    groups = [group | {"peak": options.lr} for group in groups if group["params"]]
    return torch.optim.AdamW(groups, lr=options.lr, betas=options.betas, fused=True) if groups else None


def _muon(matrices: Sequence[nn.Parameter], options: TrainOptions) -> torch.optim.Optimizer:
    """Muon (momentum, orthogonalised; Jordan et al. 2024, scaled to AdamW's update size as in Liu et al., arXiv
    2502.16982), with the first of `betas` as its momentum. From random weights it learns places and shapes in less than
    half of AdamW's steps."""
    assert options.muon_lr is not None
    return torch.optim.Muon(
        [{"params": list(matrices), "peak": options.muon_lr}],
        lr=options.muon_lr,
        weight_decay=options.weight_decay,
        momentum=options.betas[0],
        adjust_lr_fn="match_rms_adamw",
        ns_steps=3,  # of the usual 5: tiny learns as well with them, and they are a sixth of its time
    )


def _as_matrix(local: nn.Parameter) -> nn.Parameter:
    return local if local.ndim == 2 else nn.Parameter(local.detach().view(local.shape[0], -1))


def _decays(part: Part) -> bool:
    """Single vectors do not: biases, norms, and tags, which have dimensions of 1 before their own."""
    return sum(size > 1 for size in part.parameter.shape) > 1


def _mixes(part: Part) -> bool:
    """Does it map one space to another? Tables do not, nor do depthwise kernels, which never mix channels."""
    parameter = part.parameter
    if part.name.endswith(_TABLES) or parameter.ndim < 2:
        return False
    if parameter.ndim > 2 and parameter.shape[1] == 1:
        return False
    assert parameter.shape == part.local.shape, "Muon needs whole matrices; `checks.check_layout` sees to it"
    return True
