"""Which steps change the model: none with a number that is not finite, optionally none with a spike of the norm."""

from __future__ import annotations

import torch
from torch import Tensor

WINDOW = 128  # steps whose norms a spike is measured against
LEAST = 16  # norms that must be known first


class NormHistory:
    """The gradient norms of the last steps that counted, on the device: deciding about a step asks nothing of the host.

    `tensors` are part of a run's state. A step counts where loss and norm are finite and, with `sigmas`, the norm is
    below mean + sigmas · standard deviation of the last `WINDOW` ones.
    """

    def __init__(self, device: torch.device, sigmas: float | None) -> None:
        self.sigmas = sigmas
        self.norms = torch.zeros(WINDOW, device=device)
        self.count = torch.zeros((), device=device)

    @property
    def tensors(self) -> dict[str, Tensor]:
        return {"norms": self.norms, "count": self.count}

    def accept(self, loss: Tensor, norm: Tensor) -> Tensor:
        """True [] where the step counts; its norm is then remembered. The same on all processes, as its inputs are."""
        good = torch.isfinite(loss) & torch.isfinite(norm)
        if self.sigmas is not None:
            good = good & ((self.count < LEAST) | (norm <= self._limit(self.sigmas)))
            place = torch.arange(WINDOW, device=norm.device) == self.count % WINDOW
            self.norms.copy_(torch.where(place & good, norm, self.norms))
            self.count += good
        return good

    def _limit(self, sigmas: float) -> Tensor:
        known = torch.arange(WINDOW, device=self.norms.device) < self.count
        number = known.sum().clamp_min(1)
        mean = (self.norms * known).sum() / number
        variance = ((self.norms - mean).square() * known).sum() / number
        return mean + sigmas * variance.sqrt()
