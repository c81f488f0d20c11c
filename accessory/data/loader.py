"""Batches of a run, step by step: what step s trains on is computed from (seed, s) alone."""

from __future__ import annotations

from collections.abc import Iterator

from torch.utils.data import DataLoader, Dataset

from accessory.data.collate import Batch, collate
from accessory.data.dataset import RegionDataset
from accessory.data.sampler import epoch_batches


class MicroBatches(Dataset[Batch]):
    """Micro-batch m of step s for one rank, as item s · accumulation + m of a map-style data set."""

    def __init__(
        self, dataset: RegionDataset, batch_size: int, accumulation: int, seed: int, rank: int, world_size: int
    ) -> None:
        self.dataset = dataset
        self.batch_size = batch_size
        self.per_step = accumulation * world_size
        self.accumulation = accumulation
        self.seed = seed
        self.rank = rank
        self._epoch: tuple[int, list[list[int]]] | None = None

    @property
    def steps_per_epoch(self) -> int:
        """Steps until every item was seen; an epoch smaller than a step is one step."""
        return max(1, len(self._batches(0)) // self.per_step)

    def _batches(self, epoch: int) -> list[list[int]]:
        if self._epoch is None or self._epoch[0] != epoch:
            dataset = self.dataset
            self._epoch = (epoch, epoch_batches(dataset.lengths, dataset.kinds, self.batch_size, self.seed, epoch))
        return self._epoch[1]

    def __getitem__(self, number: int) -> Batch:
        step, micro = divmod(number, self.accumulation)
        epoch, step = divmod(step, self.steps_per_epoch)
        batches = self._batches(epoch)
        chosen = batches[(step * self.per_step + micro * (self.per_step // self.accumulation) + self.rank) % len(batches)]
        slots = self.dataset.processor.config.prompts.num_slots
        return collate([self.dataset[epoch, index] for index in chosen], slots)

    def steps(self, first: int, last: int, workers: int) -> Iterator[list[Batch]]:
        """The micro-batches of steps first … last - 1, one list a step."""
        numbers = range(first * self.accumulation, last * self.accumulation)
        loader = DataLoader(self, batch_size=None, sampler=numbers, num_workers=workers)
        batches = iter(loader)
        for _ in range(first, last):
            yield [next(batches) for _ in range(self.accumulation)]
