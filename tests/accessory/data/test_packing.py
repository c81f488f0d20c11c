"""Samples in rows: every one once, never too many tokens, and few rows."""

import itertools
import random

import pytest

from accessory.data.packing import pack_rows


def test_a_small_case_by_hand():
    # Longest first: 7 | 5, then 4 beside 5 (the fuller row has no room), 3 beside 7, 1 beside 5 and 4 fills it.
    assert pack_rows([3, 7, 4, 1, 5], 10) == [[0, 1], [2, 3, 4]]


def test_equal_lengths_keep_their_order():
    assert pack_rows([5] * 5, 10) == [[0, 1], [2, 3], [4]]
    assert pack_rows([], 10) == []
    assert pack_rows([10], 10) == [[0]]


@pytest.mark.parametrize("seed", range(5))
def test_every_sample_once_and_no_row_too_full(seed):
    chance = random.Random(seed)
    lengths = [chance.randrange(1, 65) for _ in range(200)]
    rows = pack_rows(lengths, 64)
    assert sorted(itertools.chain(*rows)) == list(range(200))
    assert all(sum(lengths[place] for place in row) <= 64 for row in rows)
    fewest = -(-sum(lengths) // 64)
    assert len(rows) <= 11 / 9 * fewest + 1


def test_a_sample_longer_than_a_row_is_refused():
    with pytest.raises(ValueError, match="sample 1 has 11 tokens, a row holds 10"):
        pack_rows([1, 11], 10)
