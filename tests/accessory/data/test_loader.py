"""Batches of a run: complete, disjoint between ranks, the same for any way of sharing, and found without replay."""

import pytest

from accessory.config import DataOptions
from accessory.data.dataset import RegionDataset
from accessory.data.loader import MicroBatches
from accessory.data.sources import BadItems
from tests.accessory.runs import MIXED, write_data


@pytest.fixture(scope="module")
def dataset(golden_processor, tmp_path_factory):
    config = write_data(tmp_path_factory.mktemp("loader"), MIXED * 2)
    return RegionDataset(
        DataOptions(config=str(config), max_words=2048, cache_pictures=True), golden_processor, 0, BadItems()
    )


def shares(dataset, batch_size, accumulation, world_size, steps):
    """Items of every step, rank by rank."""
    ranks = [MicroBatches(dataset, batch_size, accumulation, 7, rank, world_size) for rank in range(world_size)]
    taken = []
    for step in range(steps):
        numbers = range(step * accumulation, (step + 1) * accumulation)
        taken.append([[index for number in numbers for index in rank.indices(number)[1]] for rank in ranks])
    return taken


def test_every_item_is_seen_in_an_epoch_and_ranks_share_nothing(dataset):
    per_epoch = MicroBatches(dataset, 1, 1, 7, 0, 2).steps_per_epoch
    assert per_epoch == 8, "12 with a picture and 4 without, 2 a step"
    seen = [index for step in shares(dataset, 1, 1, 2, per_epoch) for rank in step for index in rank]
    assert sorted(seen) == list(range(16))


def test_an_epoch_that_does_not_divide_loses_no_item(dataset):
    batches = MicroBatches(dataset, 5, 1, 7, 0, 1)
    assert batches.steps_per_epoch == 4, "12 and 4 in steps of 5"
    seen = {index for number in range(4) for index in batches.indices(number)[1]}
    assert seen == set(range(16))


@pytest.mark.parametrize("sharing", [(4, 1, 1), (2, 2, 1), (1, 4, 1), (2, 1, 2), (1, 2, 2), (1, 1, 4)])
def test_a_step_holds_the_same_items_however_it_is_shared(dataset, sharing):
    reference = [sorted(step[0]) for step in shares(dataset, 4, 1, 1, 9)]
    shared = shares(dataset, *sharing, 9)
    assert [sorted(index for rank in step for index in rank) for step in shared] == reference


def test_a_position_is_found_without_what_came_before(dataset):
    replayed = MicroBatches(dataset, 2, 2, 7, 0, 1)
    walked = [replayed.indices(number) for number in range(40)]
    for number in (39, 0, 17, 16, 3):
        assert MicroBatches(dataset, 2, 2, 7, 0, 1).indices(number) == walked[number]
    assert {epoch for epoch, _ in walked} == {0, 1, 2, 3, 4}


def test_epochs_differ(dataset):
    batches = MicroBatches(dataset, 4, 1, 7, 0, 1)
    assert [batches.indices(n)[1] for n in range(4)] != [batches.indices(n)[1] for n in range(4, 8)]


def test_steps_from_the_middle_equal_those_of_a_whole_run(dataset):
    def items(first, workers):
        batches = MicroBatches(dataset, 2, 2, 7, 0, 1)
        return [[batch.indices for batch in step] for step in batches.steps(first, 6, workers)]

    assert items(4, 0) == items(0, 0)[4:]
    assert len(items(0, 0)) == 6
    assert items(0, 1) == items(0, 0), "a worker process changes nothing"


def test_an_item_that_fails_is_told_and_the_others_stay(golden_processor, tmp_path):
    config = write_data(tmp_path, MIXED[:2])
    options = DataOptions(config=str(config), max_words=2048)
    batches = MicroBatches(RegionDataset(options, golden_processor, 0, BadItems()), 2, 1, 0, 0, 1)
    batches.dataset.entry(1).picture.write_bytes(b"no picture any more")
    batch = batches[0]
    assert batch.inputs.batch_size == 0, "both items are about that picture"
    assert len(batch.failed) == 2
    assert all("not a picture" in place and ", item " in place for place in batch.failed)
