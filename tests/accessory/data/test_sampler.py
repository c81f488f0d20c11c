"""The order of items: every one in every epoch, one kind a batch, computed from (seed, epoch) alone."""

import random
from collections import Counter, defaultdict

import numpy
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


def batches_by_lists(lengths, kinds, batch_size, seed, epoch, pool=16):
    """The same order in plain lists, as it was before data sets of millions; runs that have begun must go on by it."""
    generator = numpy.random.default_rng((seed, epoch))
    by_kind = defaultdict(list)
    for index in generator.permutation(len(kinds)).tolist():
        by_kind[kinds[index]].append(index)
    drawn = []
    for kind in sorted(by_kind):
        order = by_kind[kind]
        missing = -len(order) % batch_size
        order = order + [order[i % len(order)] for i in range(missing)]
        for start in range(0, len(order), pool * batch_size):
            near = sorted(order[start : start + pool * batch_size], key=lambda index: lengths[index])
            drawn += [near[i : i + batch_size] for i in range(0, len(near), batch_size)]
    return [drawn[i] for i in generator.permutation(len(drawn)).tolist()]


@pytest.mark.parametrize("longest", [3, 70_000], ids=["equal lengths", "lengths beyond 16 bits"])
@pytest.mark.parametrize("block", [1, 40, 1 << 20], ids=str)
def test_the_order_is_that_of_the_plain_algorithm(monkeypatch, block, longest):
    monkeypatch.setattr("accessory.data.sampler._BLOCK", block)
    chance = random.Random(longest)
    for _ in range(30):
        count = chance.randrange(1, 200)
        lengths = [chance.randrange(1, longest) for _ in range(count)]
        kinds = [chance.choice("abc") for _ in range(count)]
        key = (chance.randrange(1, 9), chance.randrange(3), chance.randrange(3), chance.choice([1, 2, 16]))
        assert epoch_batches(lengths, kinds, *key) == batches_by_lists(lengths, kinds, *key)
        assert batches_per_epoch(kinds, key[0]) == len(batches_by_lists(lengths, kinds, *key))


def test_an_order_takes_four_bytes_an_item():
    order = EpochBatches(numpy.zeros(1000, numpy.int32), numpy.zeros(1000, numpy.uint16), 10, 0, 0)
    assert (order[3].dtype, order[3].base.nbytes) == (numpy.int32, 4000)
