"""One trainer for all recipes: batches in, steps, metrics out."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from accessory.config import RunOptions
from accessory.data.collate import Batch
from accessory.data.dataset import RegionDataset
from accessory.data.loader import MicroBatches
from accessory.runtime.distributed import World
from accessory.train.meters import Meters, StepMetrics
from accessory.train.phases import Phases
from accessory.train.schedule import learning_rate, run_length
from accessory.train.step import LossModule, StepEngine, StepResult
from SPHINX_V.errors import ConfigError, DataError, DivergedError


@dataclass
class _Done:
    """A step that was done and not yet looked at."""

    step: int
    rate: float
    result: StepResult
    items: tuple[int, ...]
    seconds: float


class Trainer:
    """Trains a model in place on a data set; knows nothing of files but where metrics go."""

    def __init__(self, options: RunOptions, module: LossModule, dataset: RegionDataset, world: World) -> None:
        train = options.train
        self.options = options
        self.world = world
        if train.mark_loss and module.model.config.llm.n_layers < 2:
            raise ConfigError(
                "train.mark_loss is taken one layer before the last; this model has one layer: set it to 0."
            )
        self.dataset = dataset
        self.engine = StepEngine(module, train, options.parallel, world)
        self.batches = MicroBatches(
            dataset, train.batch_size, train.accumulation, train.seed, world.data_rank, world.data_size
        )
        per_epoch = self.batches.steps_per_epoch
        self.total_steps = run_length(train, per_epoch)
        self.warmup_steps = train.warmup_epochs * per_epoch
        self.phases = Phases(world.device)
        self.skipped_in_a_row = 0

    def rate(self, step: int) -> float:
        train = self.options.train
        return learning_rate(step, self.total_steps, self.warmup_steps, train.lr, train.min_lr)

    def run(self, metrics_path: Path) -> None:
        """All steps of the run; writes one line per step to `metrics_path` on the main process."""
        with Meters(metrics_path if self.world.is_main else None, self.total_steps) as meters:
            waiting: list[_Done] = []
            for done in self._steps(0):
                waiting.append(done)
                if done.step % self.options.train.log_every == 0 or done.step == self.total_steps:
                    self._look(waiting, meters)
                    waiting = []
        for place in self.world.gather(list(self.dataset.bad.places)):
            self.dataset.bad.add(place)

    def _steps(self, first: int) -> Iterator[_Done]:
        clock = time.perf_counter()
        batches = self.batches.steps(first, self.total_steps, self.options.data.workers)
        for step, micro_batches in enumerate(batches, start=first):
            self._take_failed(micro_batches)
            rate = self.rate(step)
            result = self.engine.run(micro_batches, rate, step < self.options.train.patch_steps, self.phases)
            now = time.perf_counter()
            items = tuple(index for batch in micro_batches for index in batch.indices)
            yield _Done(step + 1, rate, result, items, now - clock)
            clock = now

    def _look(self, waiting: Sequence[_Done], meters: Meters) -> None:
        """Takes the numbers of some steps from the device, at once; stops a run that has diverged."""
        train = self.options.train
        rows = torch.stack([_numbers(done.result) for done in waiting]).tolist()
        for done, (loss, mark, patch, norm, _, tokens, samples, good) in zip(waiting, rows):
            patches_only = done.step <= train.patch_steps
            self._count_skipped(done, bool(good), patch if patches_only else loss, norm)
            meters.update(
                StepMetrics(
                    step=done.step,
                    loss=patch if patches_only else loss,
                    grad_norm=norm,
                    lr=done.rate,
                    tokens=int(tokens),
                    samples=int(samples),
                    step_time=done.seconds,
                    mark_loss=mark if train.mark_loss and not patches_only else None,
                    patch_loss=patch if train.patch_loss else None,
                )
            )

    def _count_skipped(self, done: _Done, good: bool, loss: float, norm: float) -> None:
        train = self.options.train
        if good:
            self.skipped_in_a_row = 0
            return
        self.skipped_in_a_row += 1
        if self.skipped_in_a_row > train.max_skipped:
            raise DivergedError(
                f"step {done.step}: the loss is {loss:g} and the gradient norm {norm:g}; nothing was"
                f" changed by this step. Lower train.lr ({train.lr:g}) or train.clip_grad ({train.clip_grad:g})."
            )

    def _take_failed(self, micro_batches: Sequence[Batch]) -> None:
        for place in (place for batch in micro_batches for place in batch.failed):
            if self.options.data.on_bad_sample == "refuse":
                raise DataError(place)
            self.dataset.bad.add(place)


def _numbers(result: StepResult) -> Tensor:
    """A step's numbers as one row: three losses, norm, three counts, whether it counted."""
    return torch.cat(
        [result.losses.double(), result.norm.double().view(1), result.counts, result.good.double().view(1)]
    )
