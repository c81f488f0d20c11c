"""Batches of a run, step by step: what step s trains on is computed from (seed, s) alone."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch.utils.data import DataLoader, Dataset

from accessory.data.collate import Batch, collate
from accessory.data.dataset import RegionDataset
from accessory.data.sampler import EpochBatches, batches_per_epoch
from accessory.runtime.signals import leave_stopping_to_parent
from SPHINX_V.errors import DataError

Chosen = tuple[int, list[int]]
"""The epoch and the items of a micro-batch."""


def _begin_worker(_: int) -> None:
    leave_stopping_to_parent()


class Reader(Dataset[Batch]):
    """Reads the items that were chosen elsewhere, as worker processes do: they need no order of items."""

    def __init__(self, dataset: RegionDataset) -> None:
        self.dataset = dataset

    def __getitem__(self, chosen: Chosen) -> Batch:
        epoch, items = chosen
        samples, failed = [], []
        for index in items:
            try:
                samples.append(self.dataset[epoch, index])
            except DataError as error:
                # Told to the trainer, which knows what to do: from a worker process an exception comes mangled.
                failed.append(str(error))
        slots = self.dataset.processor.config.prompts.num_slots
        return collate(samples, slots, failed, self.dataset.options.text_multiple)


class MicroBatches:
    """Micro-batch m of step s for one rank, as item s · accumulation + m.

    A step's items depend on their number only, not on how processes and accumulation share them; `steps_per_epoch` is
    the number of steps until every item was seen.
    """

    def __init__(
        self, dataset: RegionDataset, batch_size: int, accumulation: int, seed: int, rank: int, world_size: int
    ) -> None:
        self.dataset = dataset
        self.batch_size = batch_size
        self.accumulation = accumulation
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self._reader = Reader(dataset)
        self._epoch: tuple[int, EpochBatches] | None = None
        self.steps_per_epoch = batches_per_epoch(dataset.kinds, self.step_size)  # of any epoch: only the order differs

    @property
    def step_size(self) -> int:
        """Items of one optimiser step, over all processes."""
        return self.batch_size * self.accumulation * self.world_size

    def _steps_of(self, epoch: int) -> EpochBatches:
        if self._epoch is None or self._epoch[0] != epoch:
            dataset = self.dataset
            self._epoch = None  # the order of another epoch makes room first
            order = EpochBatches(
                dataset.lengths, dataset.kinds, self.step_size, self.seed, epoch, dataset.options.length_pool
            )
            self._epoch = (epoch, order)
        return self._epoch[1]

    def indices(self, number: int) -> Chosen:
        """The epoch and the items of micro-batch `number`."""
        step, micro = divmod(number, self.accumulation)
        epoch, step = divmod(step, self.steps_per_epoch)
        # Neighbours in a step are of similar length; the ranks take neighbouring shares, so that none waits for long.
        start = (micro * self.world_size + self.rank) * self.batch_size
        return epoch, self._steps_of(epoch)[step][start : start + self.batch_size].tolist()

    def __getitem__(self, number: int) -> Batch:
        return self._reader[self.indices(number)]

    def steps(self, first: int, last: int, workers: int) -> Iterator[list[Batch]]:
        """The micro-batches of steps first … last - 1, one list a step; nothing before `first` is read."""
        chosen = map(self.indices, range(first * self.accumulation, last * self.accumulation))
        # A generator of its own: the loader draws a number, which would move the process's random state.
        generator = torch.Generator().manual_seed(self.seed)
        loader = DataLoader(
            self._reader,
            batch_size=None,
            sampler=chosen,
            num_workers=workers,
            generator=generator,
            worker_init_fn=_begin_worker,
        )
        batches = iter(loader)
        for _ in range(first, last):
            yield [next(batches) for _ in range(self.accumulation)]
