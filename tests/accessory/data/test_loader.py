"""Batches of a run: complete, disjoint between ranks, the same for any way of sharing, and found without replay."""

import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from accessory.config import DataOptions
from accessory.data.dataset import RegionDataset
from accessory.data.loader import MicroBatches, Reader
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


def same(batch, other):
    """Every tensor and every item of two batches."""
    assert (batch.indices, batch.failed) == (other.indices, other.failed)
    pairs = [(batch.labels, other.labels), (batch.slot_pieces, other.slot_pieces)]
    pairs += [(batch.inputs.token_ids, other.inputs.token_ids), (batch.label_pieces, other.label_pieces)]
    assert (batch.inputs.pixels is None) == (other.inputs.pixels is None)
    if batch.inputs.pixels is not None:
        pairs += [(batch.inputs.pixels, other.inputs.pixels), (batch.inputs.slots.coords, other.inputs.slots.coords)]
    assert all(one.equal(two) for one, two in pairs)


@pytest.mark.parametrize("workers", [0, 2])
def test_steps_from_the_middle_equal_those_of_a_whole_run(dataset, workers):
    whole = list(MicroBatches(dataset, 2, 2, 7, 0, 1).steps(0, 7, 0))
    assert len(whole) == 7
    rest = list(MicroBatches(dataset, 2, 2, 7, 0, 1).steps(4, 7, workers))
    assert len(rest) == 3
    for step, reference in zip(rest, whole[4:]):
        assert len(step) == 2
        for batch, other in zip(step, reference):
            same(batch, other)


def test_starting_in_the_middle_reads_nothing_of_before(golden_processor, tmp_path):
    items = [{**MIXED[0], "image": f"{number}.png"} for number in range(12)]
    config = write_data(tmp_path, items)
    for number in range(12):
        Image.new("RGB", (643, 361), (number, 0, 0)).save(tmp_path / f"{number}.png")
    options = DataOptions(config=str(config), max_words=2048)
    batches = MicroBatches(RegionDataset(options, golden_processor, 0, BadItems()), 2, 1, 0, 0, 1)
    later = {index for number in range(3, 6) for index in batches.indices(number)[1]}
    assert len(later) == 6
    for number in set(range(12)) - later:
        (tmp_path / f"{number}.png").unlink()
    assert [batch.failed for (batch,) in batches.steps(3, 6, 0)] == [()] * 3
    assert all(batch.failed for (batch,) in batches.steps(0, 3, 0))


def test_batches_leave_the_random_state_of_the_process_alone(dataset):
    before = torch.get_rng_state()
    list(MicroBatches(dataset, 2, 2, 7, 0, 1).steps(0, 1, 0))
    assert torch.get_rng_state().equal(before)


def test_spawned_processes_read_what_this_one_reads(golden_processor, tmp_path):
    config = write_data(tmp_path, MIXED[:2], MIXED[6:])
    options = DataOptions(config=str(config), max_words=2048)
    batches = MicroBatches(RegionDataset(options, golden_processor, 0, BadItems()), 2, 1, 0, 0, 1)
    chosen = [batches.indices(number) for number in range(2)]
    expected = [batches[number] for number in range(2)]
    assert len(batches.dataset) == 4
    spawned = DataLoader(
        Reader(batches.dataset), batch_size=None, sampler=chosen, num_workers=1, multiprocessing_context="spawn"
    )
    for batch, other in zip(spawned, expected, strict=True):
        same(batch, other)


def test_an_item_that_fails_is_told_and_the_others_stay(golden_processor, tmp_path):
    config = write_data(tmp_path, MIXED[:2])
    options = DataOptions(config=str(config), max_words=2048)
    batches = MicroBatches(RegionDataset(options, golden_processor, 0, BadItems()), 2, 1, 0, 0, 1)
    batches.dataset.entry(1).picture.write_bytes(b"no picture any more")
    batch = batches[0]
    assert batch.inputs.batch_size == 0, "both items are about that picture"
    assert len(batch.failed) == 2
    assert all("not a picture" in place and ", item " in place for place in batch.failed)
