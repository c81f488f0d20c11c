"""One trainer for all recipes: steps over micro-batches, one loss over all ranks, metrics and a checkpoint."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from accessory.config import RunOptions
from accessory.data.collate import Batch
from accessory.data.dataset import RegionDataset
from accessory.data.loader import MicroBatches
from accessory.runtime.distributed import World
from accessory.train.freeze import freeze
from accessory.train.loss import batch_losses, patch_only_losses
from accessory.train.meters import Meters, StepMetrics
from accessory.train.optim import build_optimizers
from accessory.train.schedule import learning_rate
from SPHINX_V.errors import ConfigError, DataError, DivergedError
from SPHINX_V.model.sphinx_v import SphinxV


class Trainer:
    """Trains a model in place on a data set; knows nothing of files but where metrics go."""

    def __init__(self, options: RunOptions, model: SphinxV, dataset: RegionDataset, world: World) -> None:
        train = options.train
        self.options = options
        self.model = model
        self.world = world
        if train.mark_loss and model.config.llm.n_layers < 2:
            raise ConfigError(
                "train.mark_loss is taken one layer before the last; this model has one layer: set it to 0."
            )
        self.trained = freeze(model, train.freeze)
        self.optimizers = build_optimizers(model, train)
        self.bad = dataset.bad
        self.batches = MicroBatches(dataset, train.batch_size, train.accumulation, train.seed, world.rank, world.size)
        per_epoch = self.batches.steps_per_epoch
        self.total_steps = train.max_steps or max(1, round(train.epochs * per_epoch))
        self.warmup_steps = train.warmup_epochs * per_epoch

    def run(self, metrics_path: Path) -> None:
        """All steps of the run; writes one line per step to `metrics_path` on the main process."""
        with Meters(metrics_path if self.world.is_main else None, self.total_steps) as meters:
            clock = time.perf_counter()
            for step, micro_batches in enumerate(
                self.batches.steps(0, self.total_steps, self.options.data.workers), start=1
            ):
                measured = self.step(step - 1, [batch.to(self.world.device) for batch in micro_batches])
                now = time.perf_counter()
                meters.update(StepMetrics(step=step, step_time=now - clock, **measured))
                clock = now
        for place in self.world.gather(list(self.bad.places)):
            self.bad.add(place)

    def step(self, step: int, micro_batches: list[Batch]) -> dict[str, Any]:
        """One optimiser step; returns its numbers over all processes.

        The loss is the sum over target tokens divided by their number, both over all ranks and micro-batches; so are
        the mark and patch losses over marks. In the first `patch_steps` it is the patch loss. Raises DataError for an item that could not be read, unless
        `on_bad_sample` is skip, and DivergedError for a loss or gradient that is not finite.
        """
        train = self.options.train
        patches_only = step < train.patch_steps
        self._take_failed(micro_batches)
        device = self.world.device
        totals = torch.tensor(
            [
                sum(batch.target_count for batch in micro_batches),
                sum(int(batch.inputs.lengths.sum()) for batch in micro_batches),
                sum(batch.inputs.batch_size for batch in micro_batches),
                sum(batch.mark_count for batch in micro_batches),
                sum(batch.label_count for batch in micro_batches),
            ],
            device=device,
        )
        targets, tokens, samples, *extra = self.world.sum(totals).tolist()
        losses = torch.zeros(3, device=device)
        for batch in micro_batches:
            if batch.target_count:  # none where every item of a micro-batch was bad
                losses += self._backward(batch, [targets, *extra], patches_only)
        self.world.sum(losses)
        # Without a gradient the optimisers pass over a parameter: what the patch loss cannot reach stays as it is.
        trained = [
            parameter
            for name, parameter in self.model.named_parameters()
            if parameter.requires_grad and not (patches_only and name.startswith("llm.layers."))
        ]
        self.world.sum_gradients(trained)
        norm = torch.nn.utils.clip_grad_norm_(trained, train.clip_grad)
        if not torch.isfinite(torch.stack([losses.sum(), norm])).all():
            raise DivergedError(
                f"step {step + 1}: the loss is {losses[0].item():g} and the gradient norm {norm.item():g}; nothing was"
                f" changed by this step. Lower train.lr ({train.lr:g}) or train.clip_grad ({train.clip_grad:g})."
            )
        rate = learning_rate(step, self.total_steps, self.warmup_steps, train.lr, train.min_lr)
        self.optimizers.set_rate(rate / train.lr)
        self.optimizers.step()
        self.optimizers.zero_grad()
        loss = losses[2 if patches_only else 0].item()
        numbers = {"loss": loss, "grad_norm": norm.item(), "lr": rate, "tokens": tokens, "samples": samples}
        if train.mark_loss and not patches_only:
            numbers["mark_loss"] = losses[1].item()
        if train.patch_loss:
            numbers["patch_loss"] = losses[2].item()
        return numbers

    def _take_failed(self, micro_batches: list[Batch]) -> None:
        for place in (place for batch in micro_batches for place in batch.failed):
            if self.options.data.on_bad_sample == "refuse":
                raise DataError(place)
            self.bad.add(place)

    def _backward(self, batch: Batch, totals: list[int], patches_only: bool) -> Tensor:
        """Adds one micro-batch's gradients; returns its shares of the step's losses [3], of which `totals` are the
        denominators."""
        train = self.options.train
        if patches_only:
            sums = patch_only_losses(self.model, batch)
        else:
            sums = batch_losses(self.model, batch, marks=train.mark_loss > 0, patches=train.patch_loss > 0)
        shares = sums / sums.new_tensor([max(1, total) for total in totals])
        weighted = (shares * shares.new_tensor([1.0, train.mark_loss, train.patch_loss])).sum()
        if weighted.requires_grad:  # not without a mark in `patches_only`
            weighted.backward()
        return shares.detach()
