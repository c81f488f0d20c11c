"""The optimisers: AdamW, without decay on biases and norms, and Muon for the matrices of small recipes."""

from __future__ import annotations

import torch
from torch import nn

from accessory.config import TrainOptions

# Rows of these stand for tokens, places or words: single vectors, not maps between spaces.
_TABLES = ("tok_embeddings.weight", "output.weight", "position_embedding")


class Optimizers:
    """One or two optimisers that step together, with learning rates that move together."""

    def __init__(
        self, optimizers: list[torch.optim.Optimizer], flattened: list[tuple[nn.Parameter, nn.Parameter]]
    ) -> None:
        self.optimizers = optimizers
        self.flattened = flattened

    def set_rate(self, share: float) -> None:
        """Sets every learning rate to `share` of its peak."""
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = share * group["peak"]

    def step(self) -> None:
        for kernel, matrix in self.flattened:
            matrix.grad = None if kernel.grad is None else kernel.grad.flatten(1)
        for optimizer in self.optimizers:
            optimizer.step()

    def zero_grad(self) -> None:
        for kernel, _ in self.flattened:
            kernel.grad = None
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)


def build_optimizers(model: nn.Module, options: TrainOptions) -> Optimizers:
    """AdamW over what is trained; one-dimensional parameters (biases, norms, tags) never decay.

    With `muon_lr` matrices and convolution kernels go to Muon instead (momentum, orthogonalised; Jordan et al. 2024,
    scaled to AdamW's update size as in Liu et al., arXiv 2502.16982), with the first of `betas` as its momentum. From
    random weights it learns places and shapes in less than half of AdamW's steps.
    """
    trained = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    mixing = [parameter for name, parameter in trained if options.muon_lr and _mixes(name, parameter)]
    taken = {id(parameter) for parameter in mixing}
    rest = [parameter for _, parameter in trained if id(parameter) not in taken]
    groups = [
        {"params": [p for p in rest if p.ndim > 1], "weight_decay": options.weight_decay},
        {"params": [p for p in rest if p.ndim <= 1], "weight_decay": 0.0},
    ]
    groups = [group | {"peak": options.lr} for group in groups if group["params"]]
    optimizers: list[torch.optim.Optimizer] = []
    if groups:
        optimizers.append(torch.optim.AdamW(groups, lr=options.lr, betas=options.betas, fused=True))
    # Muon takes matrices only: a kernel is handed over as a matrix in the same memory, one row per output channel.
    flattened = [(p, nn.Parameter(p.detach().view(p.shape[0], -1))) for p in mixing if p.ndim > 2]
    if options.muon_lr and mixing:
        matrices = [p for p in mixing if p.ndim == 2] + [matrix for _, matrix in flattened]
        muon = torch.optim.Muon(
            [{"params": matrices, "peak": options.muon_lr}],
            lr=options.muon_lr,
            weight_decay=options.weight_decay,
            momentum=options.betas[0],
            adjust_lr_fn="match_rms_adamw",
            ns_steps=3,  # of the usual 5: tiny learns as well with them, and they are a sixth of its time
        )
        optimizers.append(muon)
    return Optimizers(optimizers, flattened)


def _mixes(name: str, parameter: nn.Parameter) -> bool:
    """Does it map one space to another? Tables do not, nor do depthwise kernels, which never mix channels."""
    if name.endswith(_TABLES) or parameter.ndim < 2:
        return False
    return parameter.ndim == 2 or parameter.shape[1] > 1
