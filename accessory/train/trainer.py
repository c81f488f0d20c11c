"""One trainer for all recipes: batches in, steps, numbers and states out."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from accessory.config import RunOptions
from accessory.data.collate import Batch
from accessory.data.dataset import RegionDataset
from accessory.data.loader import MicroBatches
from accessory.runtime.distributed import World
from accessory.runtime.origin import origin
from accessory.runtime.randomness import random_states, restore_random_states
from accessory.runtime.signals import StopRequest
from accessory.train.checks import check_losses
from accessory.train.heldout import HeldOut, heldout_loss
from accessory.train.meters import Meters
from accessory.train.metrics import StepMetrics
from accessory.train.phases import Phases
from accessory.train.resume import check_identity, identity, state_tensors
from accessory.train.schedule import learning_rate, run_length
from accessory.train.states import StateStore
from accessory.train.step import LossModule, StepEngine, StepResult
from SPHINX_V.errors import DataError, DivergedError

SKIPPED = "skipped.jsonl"


@dataclass(frozen=True)
class _Done:
    """A step that was done and not yet looked at; `items` are those of this process."""

    step: int
    rate: float
    result: StepResult
    items: tuple[int, ...]


class Trainer:
    """Trains a model in place on a data set, in a folder where states and lists of skipped steps go."""

    def __init__(
        self,
        options: RunOptions,
        module: LossModule,
        dataset: RegionDataset,
        world: World,
        store: StateStore,
        heldout: HeldOut | None = None,
    ) -> None:
        train = options.train
        check_losses(options, module.model)
        self.options = options
        self.world = world
        self.dataset = dataset
        self.store = store
        self.heldout = heldout
        self.engine = StepEngine(module, train, options.parallel, world)
        self.batches = MicroBatches(
            dataset, train.batch_size, train.accumulation, train.seed, world.data_rank, world.data_size
        )
        per_epoch = self.batches.steps_per_epoch
        self.total_steps = run_length(train, per_epoch)
        self.warmup_steps = train.warmup_epochs * per_epoch
        self.phases = Phases(world.device)
        self.phases.watch(module.model.vision, "vision")
        self.first_step = 0
        self.skipped = 0
        self._in_a_row = 0
        self._gathered = 0  # of the bad items, which are noted in order: what all processes know
        self._identity = identity(options, self.batches.step_size, self.total_steps)

    def resume(self) -> int:
        """Goes on from the newest whole state of the run, if there is one; returns the steps that were done.

        Raises ConfigError where the states are of a run with other options.
        """
        restored = self.store.load(state_tensors(self.engine))
        if restored is None:
            return 0
        check_identity(restored.extra["run"], self._identity, self.store.folder.path)
        self.first_step = restored.step
        self.skipped, self._in_a_row = restored.extra["skipped"], restored.extra["skipped_in_a_row"]
        if restored.own is not None:
            restore_random_states(restored.own["random"])
            self.dataset.bad.extend(restored.own["bad"])
        return restored.step

    def save(self, step: int, wait: bool = False) -> None:
        """Saves the state after `step` steps."""
        with self.phases("checkpoint"):
            extra = {
                "run": self._identity,
                "origin": origin(self.world),
                "skipped": self.skipped,
                "skipped_in_a_row": self._in_a_row,
            }
            own = {"random": random_states(), "bad": list(self.dataset.bad.places)}
            self.store.save(step, state_tensors(self.engine), extra, own, wait=wait)

    def run(self, meters: Meters, stop: StopRequest) -> bool:
        """The steps that are left; False where the run was asked to stop, and has saved its state.

        Every `log_every` steps, and before a state is saved, the numbers of the steps are taken from the device. Raises
        DataError for an item that could not be read, unless `on_bad_sample` is skip, and DivergedError after too many
        skipped steps in a row, with the state saved.
        """
        train, every = self.options.train, self.options.save.every
        waiting: list[_Done] = []
        for done in self._steps():
            waiting.append(done)
            last, due = done.step == self.total_steps, every is not None and done.step % every == 0
            held = self.heldout is not None and (last or done.step % self.options.data.heldout_every == 0)
            if not (last or due or held or done.step % train.log_every == 0):
                continue
            self._look(waiting, meters, self._heldout_loss() if held else None)
            waiting = []
            stopping = not last and self.world.any(stop.is_set)
            if stopping or (due and not last):
                self.save(done.step, wait=stopping)
            if stopping:
                return False
        self.store.finish()
        return True

    def _heldout_loss(self) -> float:
        assert self.heldout is not None
        with self.phases("heldout"):
            return heldout_loss(self.engine.module, self.heldout, self.world)

    def gather_bad(self) -> None:
        """Makes the bad items that any process met known to all; raises DataError on all where they are too many."""
        if self.options.data.on_bad_sample == "skip":
            places = self.dataset.bad.places
            self.dataset.bad.extend(self.world.gather(list(islice(places, self._gathered, None))))
            self._gathered = len(places)

    def rate(self, step: int) -> float:
        """The learning rate of the step after `step` steps."""
        train = self.options.train
        return learning_rate(step, self.total_steps, self.warmup_steps, train.lr, train.min_lr)

    def _steps(self) -> Iterator[_Done]:
        batches = self.batches.steps(self.first_step, self.total_steps, self.options.data.workers)
        for step in range(self.first_step, self.total_steps):
            with self.phases("data"):
                micro_batches = next(batches)
            self._take_failed(micro_batches)
            rate = self.rate(step)
            result = self.engine.run(micro_batches, rate, step < self.options.train.patch_steps, self.phases)
            self.phases.step()
            yield _Done(step + 1, rate, result, tuple(i for batch in micro_batches for i in batch.indices))

    def _look(self, waiting: Sequence[_Done], meters: Meters, heldout: float | None) -> None:
        """Takes the numbers of some steps from the device, at once; stops a run that has diverged. `heldout` is the
        held-out loss after the last of them."""
        self.gather_bad()
        rows = torch.stack([_numbers(done.result) for done in waiting]).tolist()
        seconds = self.phases.look()
        metrics = [self._metrics(*line) for line in zip(waiting, rows, seconds)]
        metrics[-1] = replace(metrics[-1], heldout_loss=heldout)
        meters.update(*metrics)
        for done, line in zip(waiting, metrics):
            self._in_a_row = self._in_a_row + 1 if line.skipped else 0
            if line.skipped:
                self._note_skipped(done, line)
        if self._in_a_row > self.options.train.max_skipped:
            self.save(waiting[-1].step, wait=True)
            train, line = self.options.train, metrics[-1]
            raise DivergedError(
                f"step {line.step}: the loss is {line.loss:g} and the gradient norm {line.grad_norm:g}; nothing was"
                f" changed by this step, nor by the {self._in_a_row - 1} before it (train.max_skipped is"
                f" {train.max_skipped}). A lower train.lr ({train.lr:g}) or train.clip_grad ({train.clip_grad:g}) needs"
                " another output, as a run goes on with the options it has:"
                f" `python -m accessory.tools.export {self.options.output} --format folder --out DIR` makes a"
                " checkpoint of the saved state, or with --step of an earlier one, to start anew from as"
                f" model.checkpoint. The items of the steps are in {SKIPPED}."
            )

    def _metrics(self, done: _Done, row: list[float], seconds: float) -> StepMetrics:
        loss, mark, patch, norm, targets, tokens, samples, flops, good = row
        train = self.options.train
        patches_only = done.step <= train.patch_steps
        return StepMetrics(
            step=done.step,
            loss=patch if patches_only else loss,
            grad_norm=norm,
            lr=done.rate,
            tokens=int(tokens),
            samples=int(samples),
            step_time=seconds,
            mark_loss=mark if train.mark_loss and not patches_only else None,
            patch_loss=patch if train.patch_loss else None,
            targets=int(targets),
            flops=flops,
            skipped=None if good else True,
        )

    def _note_skipped(self, done: _Done, line: StepMetrics) -> None:
        """Appends what a skipped step was trained on, over all processes, to a file beside the states."""
        self.skipped += 1
        items = self.world.gather([self.dataset.entry(index).where for index in done.items])
        if self.world.is_main:
            values: dict[str, Any] = {"step": line.step, "loss": str(line.loss), "grad_norm": str(line.grad_norm)}
            with Path(self.options.output, SKIPPED).open("a", encoding="utf-8") as file:
                file.write(json.dumps(values | {"items": sorted(set(items))}, ensure_ascii=False) + "\n")

    def _take_failed(self, micro_batches: Sequence[Batch]) -> None:
        for place in (place for batch in micro_batches for place in batch.failed):
            if self.options.data.on_bad_sample == "refuse":
                raise DataError(place)
            self.dataset.bad.add(place)


def _numbers(result: StepResult) -> Tensor:
    """A step's numbers as one row: three losses, norm, four counts, whether it counted."""
    return torch.cat(
        [result.losses.double(), result.norm.double().view(1), result.counts, result.good.double().view(1)]
    )
