"""The held-out loss: on items that are never trained on, the same number with any number of processes."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import groupby

import torch
from torch.utils.data import DataLoader, Dataset

from accessory.config import DataOptions
from accessory.data.collate import Batch, collate
from accessory.data.dataset import RegionDataset
from accessory.data.sources import BadItems
from accessory.runtime.distributed import World
from accessory.train.places import Places
from accessory.train.step import LossModule
from SPHINX_V.processing.processor import Processor

_SEED = 0  # the same items in every run and on every machine


class HeldOut(Dataset[Batch]):
    """Micro-batches of the held-out items, each of one kind and of similar lengths, the same every time.

    They are put together without regard to processes, which then share whole ones: what a batch's loss is never depends
    on how many there are.
    """

    def __init__(self, dataset: RegionDataset, batch_size: int, items: int | None = None) -> None:
        self.dataset = dataset
        count = len(dataset)
        self.items = sorted(random.Random(_SEED).sample(range(count), min(items or count, count)))
        kinds, lengths = dataset.kinds, dataset.lengths
        order = sorted(self.items, key=lambda index: (kinds[index], lengths[index]))
        self.batches: list[list[int]] = []
        for index in order:
            if not self.batches or len(self.batches[-1]) == batch_size or kinds[self.batches[-1][0]] != kinds[index]:
                self.batches.append([])
            self.batches[-1].append(index)

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, number: int) -> Batch:
        """Raises DataError that names file and item for a picture that cannot be read."""
        samples = [self.dataset[0, index] for index in self.batches[number]]
        return collate(samples, self.dataset.processor.config.prompts.num_slots)

    def share(self, world: World) -> Iterator[tuple[int, bool, Batch]]:
        """This data rank's batches, with their numbers and whether this rank counts them.

        All ranks get equally many, in each turn of one kind: FSDP has them gather the parts that they compute with
        together. Where a kind's batches do not go round, the last is computed on several ranks, and counted on one.
        """
        turns: list[tuple[int, bool]] = []
        for _, same in groupby(range(len(self)), key=lambda number: self.dataset.kinds[self.batches[number][0]]):
            numbers = list(same)
            for place in range(world.data_rank, -(-len(numbers) // world.data_size) * world.data_size, world.data_size):
                turns.append((numbers[min(place, len(numbers) - 1)], place < len(numbers)))
        # A generator of its own: the loader draws a number, which would move the process's random state.
        loader = DataLoader(
            self,
            batch_size=None,
            sampler=[number for number, _ in turns],
            num_workers=self.dataset.options.workers,
            generator=torch.Generator().manual_seed(_SEED),
        )
        for (number, counts), batch in zip(turns, loader):
            yield number, counts, batch


def open_held_out(
    options: DataOptions, processor: Processor, batch_size: int, world: World | None = None
) -> HeldOut | None:
    """The items of `data.heldout`, as they are: no jitter, and none is left out. None where the options name no file.

    Raises ConfigError and DataError as a RegionDataset that refuses bad items.
    """
    if options.heldout is None:
        return None
    changed = options.model_copy(
        update={"config": options.heldout, "box_jitter": False, "on_bad_sample": "refuse", "check_pictures": True}
    )
    shared = () if world is None else (world.is_main, world.barrier)
    return HeldOut(RegionDataset(changed, processor, _SEED, BadItems(), *shared), batch_size, options.heldout_items)


@torch.no_grad()
def heldout_loss(module: LossModule, heldout: HeldOut, world: World) -> float:
    """Cross entropy summed over target tokens, divided by their number, both over all ranks.

    Every rank calls it, at the same step, and gets the same number, to the last bit whatever the number of data ranks;
    tensor ranks add up in another order.
    """
    table = torch.zeros(2, len(heldout), dtype=torch.float64, device=world.device)
    for number, counts, batch in heldout.share(world):
        places = Places.of(batch, module.model.config).to(world.device)
        loss = module(batch.to(world.device), places, False)[0]
        if counts:
            # Each place is filled by one rank alone, so that adding up over ranks rounds nothing.
            table[0, number] = loss
            table[1, number] = batch.target_count
    losses, targets = world.sum(table).sum(dim=1).tolist()
    return losses / targets
