"""Where randomness comes from: every picture has a seed of its own, so no result depends on order or on workers."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Literal

import numpy as np

Split = Literal["train", "heldout"]
_SPLIT_KEYS: dict[Split, int] = {"train": 0, "heldout": 1}


def _hashed(entropy: int | Sequence[int], key: tuple[int, ...]) -> int:
    """128 bits that depend on all of `entropy` and `key`."""
    words = np.random.SeedSequence(entropy, spawn_key=key).generate_state(4)
    return int.from_bytes(words.astype("<u4").tobytes(), "little")


def picture_seed(seed: int, split: Split, index: int) -> int:
    """The seed of one picture: 128 bits hashed from the data set's seed, the split and the picture's number."""
    return _hashed(seed, (_SPLIT_KEYS[split], index))


def stream(seed: int | Sequence[int], *key: int) -> random.Random:
    """A generator for `seed` (non-negative integers); different `key`s give independent generators."""
    return random.Random(_hashed(seed, key))
