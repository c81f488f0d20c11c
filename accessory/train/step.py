"""One optimiser step: micro-batches forward and backward, one loss over all ranks, clipping, update."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from accessory.config import ParallelOptions, TrainOptions
from accessory.data.collate import Batch, blank_batch
from accessory.runtime.distributed import World
from accessory.train.gradients import clip, collect, gradient_norm, release, trained_parts
from accessory.train.loss import batch_losses, patch_only_losses
from accessory.train.optim import Optimizers
from accessory.train.phases import Phases
from accessory.train.places import Places
from accessory.train.stability import NormHistory
from accessory.train.utilization import flop_rule
from SPHINX_V.model.sphinx_v import SphinxV


class LossModule(nn.Module):
    """The model as training calls it: a micro-batch in, sums of losses out. FSDP hooks into this forward."""

    def __init__(self, model: SphinxV, options: TrainOptions) -> None:
        super().__init__()
        self.model = model
        self.options = options

    def forward(self, batch: Batch, places: Places, patches_only: bool) -> Tensor:
        """Sums over target tokens, marks and patches [3]; of a part that the options leave out zero."""
        if patches_only:
            return patch_only_losses(self.model, batch, places)
        marks, patches = self.options.mark_loss > 0, self.options.patch_loss > 0
        return batch_losses(self.model, batch, places, marks, patches)


class StepResult(NamedTuple):
    """The numbers of a step over all processes, still on the device: `losses` [3] per target token, mark and patch,
    `norm` [], `counts` [4] (target tokens, tokens, samples, the model's FLOPs), `good` [] false where the step changed
    nothing."""

    losses: Tensor
    norm: Tensor
    counts: Tensor
    good: Tensor


class StepEngine:
    """Steps of one model; owns gradients, optimisers and the history of norms, and knows nothing of data or files."""

    def __init__(self, module: LossModule, train: TrainOptions, parallel: ParallelOptions, world: World) -> None:
        self.module = module
        self.train = train
        self.world = world
        self.split_views = world.tensor_size > 1
        self.parts = trained_parts(module.model, world)
        self.optimizers = Optimizers(self.parts, train)
        self.history = NormHistory(world.device, train.skip_spikes)
        self.parallel = parallel
        self.flops = flop_rule(module.model.config, {part.name for part in self.parts}, train.lora)
        self._denominators = torch.tensor([0, 4, 5], device=world.device)
        # What the patch loss cannot reach stays as it is in the first steps: without a gradient it is passed over.
        self._reached = [part for part in self.parts if not part.name.startswith("llm.layers.")]

    def run(self, micro_batches: Sequence[Batch], rate: float, patches_only: bool, phases: Phases) -> StepResult:
        """One step at the learning rate `rate`.

        The loss is the sum over target tokens divided by their number, both over all ranks and micro-batches; so are
        the mark and patch losses over marks.
        """
        counts = self._counts(micro_batches)
        denominators = counts[self._denominators].clamp_min(1)
        losses = torch.zeros(3, device=self.world.device)
        for number, batch in enumerate(micro_batches, start=1):
            self._synchronise(last=number == len(micro_batches))
            if not batch.indices:  # all were bad; only pictures turn out to be so on the way
                batch = blank_batch(self.module.model.config)
            losses += self._backward(batch, denominators, patches_only, phases)
        self.world.sum(losses)
        with phases("optimiser"):
            parts = self._reached if patches_only else self.parts
            collect(parts, self.world, self.split_views)
            norm = gradient_norm(parts, self.world)
            good = self.history.accept(losses.sum(), norm)
            clip(parts, norm, self.train.clip_grad)
            self.optimizers.set_rate(rate / self.train.lr)
            self.optimizers.step(good)
            release(self.parts)
        return StepResult(losses, norm, counts[:4], good)

    def _counts(self, micro_batches: Sequence[Batch]) -> Tensor:
        """Target tokens, tokens, samples, FLOPs, marks and labels of the step over all ranks [6] float64, on the
        device."""
        return self.world.sum(
            torch.tensor(
                [
                    sum(batch.target_count for batch in micro_batches),
                    sum(batch.token_count for batch in micro_batches),
                    sum(batch.inputs.batch_size for batch in micro_batches),
                    sum(self.flops.of(batch) for batch in micro_batches),
                    sum(batch.mark_count for batch in micro_batches),
                    sum(batch.label_count for batch in micro_batches),
                ],
                device=self.world.device,
                dtype=torch.float64,
            )
        )

    def _backward(self, batch: Batch, denominators: Tensor, patches_only: bool, phases: Phases) -> Tensor:
        """Adds one micro-batch's gradients; returns its shares of the step's losses [3]."""
        device, kernel = self.world.device, self.parallel.attention if self.train.packing else None
        places = Places.of(batch, self.module.model.config, kernel, self.train.packing_multiple)
        with phases("forward"):
            shares = self.module(batch.to(device), places.to(device), patches_only) / denominators.float()
        weights = shares.new_tensor([1.0, self.train.mark_loss, self.train.patch_loss])
        with phases("backward"):
            (shares * weights).sum().backward()
        return shares.detach()

    def _synchronise(self, last: bool) -> None:
        """Replicas exchange gradients after the last micro-batch only; split gradients are reduced after each, as
        holding them whole would need the memory that splitting saves, but weights stay gathered until the last."""
        from torch.distributed.fsdp import FSDPModule

        if not isinstance(self.module, FSDPModule):
            return
        if self.parallel.mode == "ddp":
            self.module.set_requires_gradient_sync(last)
        if self.parallel.mode == "sdp":
            self.module.set_reshard_after_backward(last)
