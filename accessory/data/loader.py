"""Batches of a run, step by step: what step s trains on is computed from (seed, s) alone."""

from __future__ import annotations

from collections.abc import Iterator

from torch.utils.data import DataLoader, Dataset

from accessory.data.collate import Batch, collate
from accessory.data.dataset import RegionDataset
from accessory.data.sampler import epoch_batches
from SPHINX_V.errors import DataError


class MicroBatches(Dataset[Batch]):
    """Micro-batch m of step s for one rank, as item s · accumulation + m of a map-style data set.

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
        self._epoch: tuple[int, list[list[int]]] | None = None
        self.steps_per_epoch = len(self._steps_of(0))  # of any epoch: only the order differs

    @property
    def step_size(self) -> int:
        """Items of one optimiser step, over all processes."""
        return self.batch_size * self.accumulation * self.world_size

    def _steps_of(self, epoch: int) -> list[list[int]]:
        if self._epoch is None or self._epoch[0] != epoch:
            dataset = self.dataset
            self._epoch = (
                epoch,
                epoch_batches(
                    dataset.lengths, dataset.kinds, self.step_size, self.seed, epoch, dataset.options.length_pool
                ),
            )
        return self._epoch[1]

    def indices(self, number: int) -> tuple[int, list[int]]:
        """The epoch and the items of micro-batch `number`."""
        step, micro = divmod(number, self.accumulation)
        epoch, step = divmod(step, self.steps_per_epoch)
        # Neighbours in a step are of similar length; the ranks take neighbouring shares, so that none waits for long.
        start = (micro * self.world_size + self.rank) * self.batch_size
        return epoch, self._steps_of(epoch)[step][start : start + self.batch_size]

    def __getitem__(self, number: int) -> Batch:
        epoch, chosen = self.indices(number)
        samples, failed = [], []
        for index in chosen:
            try:
                samples.append(self.dataset[epoch, index])
            except DataError as error:
                # Told to the trainer, which knows what to do: from a worker process an exception comes mangled.
                failed.append(str(error))
        return collate(samples, self.dataset.processor.config.prompts.num_slots, failed)

    def steps(self, first: int, last: int, workers: int) -> Iterator[list[Batch]]:
        """The micro-batches of steps first … last - 1, one list a step."""
        numbers = range(first * self.accumulation, last * self.accumulation)
        loader = DataLoader(self, batch_size=None, sampler=numbers, num_workers=workers)
        batches = iter(loader)
        for _ in range(first, last):
            yield [next(batches) for _ in range(self.accumulation)]
