"""The order of items: every one in every epoch, one kind a batch, computed from (seed, epoch) alone."""

from collections import Counter

import pytest

from accessory.data.sampler import EpochBatches, batches_per_epoch

KINDS = ["picture"] * 23 + ["text"] * 9
LENGTHS = [(number * 37) % 101 for number in range(len(KINDS))]


def epoch_batches(*given, **options):
    return [batch.tolist() for batch in EpochBatches(*given, **options)]


def batches(epoch=0, seed=0, size=4):
    return epoch_batches(LENGTHS, KINDS, size, seed, epoch)


@pytest.mark.parametrize("epoch", range(3))
def test_every_item_is_seen(epoch):
    seen = Counter(index for batch in batches(epoch) for index in batch)
    assert set(seen) == set(range(len(KINDS)))
    # 23 and 9 items in batches of 4: one and three places are filled up.
    assert sum(seen.values()) == 24 + 12


def test_a_batch_holds_one_kind():
    assert all(len({KINDS[index] for index in batch}) == 1 for batch in batches())


@pytest.mark.parametrize("size", [1, 3, 4, 32])
def test_every_batch_is_full(size):
    assert {len(batch) for batch in batches(size=size)} == {size}


def test_a_kind_smaller_than_a_batch_fills_one():
    assert sorted(epoch_batches([5, 6], ["a", "a"], 5, 0, 0)[0]) in ([0, 0, 0, 1, 1], [0, 0, 1, 1, 1])


def test_the_order_is_a_function_of_seed_and_epoch():
    assert batches(3) == batches(3)
    assert batches(3) != batches(4)
    assert batches(3, seed=0) != batches(3, seed=1)


def test_items_of_a_batch_are_of_similar_length():
    """200 items of lengths 0 … 199: sixteen batches are sorted together, so a batch of 4 spans a few lengths."""
    drawn = epoch_batches(range(200), ["a"] * 200, 4, 0, 0)
    spans = [max(batch) - min(batch) for batch in drawn]
    assert sum(spans) / len(spans) < 25, "at random it would be 120"


def test_batches_do_not_come_by_length():
    firsts = [batch[0] for batch in epoch_batches(range(200), ["a"] * 200, 4, 0, 0)]
    assert firsts != sorted(firsts)


def test_a_pool_of_one_batch_mixes_lengths():
    spread = [max(batch) - min(batch) for batch in epoch_batches(range(200), ["a"] * 200, 4, 0, 0, pool=1)]
    assert sum(spread) / len(spread) > 80
