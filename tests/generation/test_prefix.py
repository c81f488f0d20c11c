"""What is kept of earlier requests: by content, bounded, the least recently used goes first."""

import random

import pytest
import torch

from SPHINX_V.generation.prefix import Kept, PrefixStore, PromptKey


def key(*ids, picture="p", marks="m"):
    return PromptKey(ids, picture, marks, image_length=5, marks_length=2)


def copy_out(start, end):
    """States that say which position they are of; 8 bytes each."""
    places = torch.arange(start, end, dtype=torch.float32)
    return places.view(1, 1, 1, -1, 1).repeat(1, 2, 1, 1, 1)


def positions(found):
    """(length, the positions that are put together) of what `find` gave."""
    length, pieces = found
    ends = [start for start, _ in pieces[1:]] + [length]
    return length, [int(v) for (start, states), end in zip(pieces, ends) for v in states[0, 0, 0, : end - start, 0]]


def test_prompts_share_what_they_begin_with():
    a = key(1, 10, 11, 12)
    assert len(a) == 11
    assert a.shared(a) == 11
    assert a.shared(key(1, 10, 99)) == 9
    assert a.shared(key(1, 10)) == 9
    assert a.shared(key(1, 10, 11, 12, marks="other")) == 6
    assert a.shared(key(1, 10, 11, 12, picture="other")) == 1
    assert a.shared(PromptKey((1, 10, 11, 12))) == 1
    assert PromptKey((1, 2, 3)).shared(PromptKey((1, 2, 4))) == 2


def test_the_longest_beginning_is_found_and_never_the_last_position():
    store = PrefixStore(10_000)
    store.keep(key(1, 10, 11), copy_out)
    store.keep(key(1, 20), copy_out)
    assert positions(store.find(key(1, 10, 12))) == (9, list(range(9)))
    assert positions(store.find(key(1, 10, 11))) == (9, list(range(9)))
    assert positions(store.find(key(1, 20, 21))) == (9, list(range(9)))
    assert positions(store.find(key(1, 30, marks="other"))) == (6, list(range(6)))
    assert store.find(key(2, 10)) == (0, [])
    assert store.find(key(1, 10, picture="other")) == (0, [])


def test_what_prompts_share_is_kept_once():
    store = PrefixStore(10_000)
    store.keep(key(1, 10), copy_out)  # 9 positions
    store.keep(key(1, 10, 11, 12), copy_out)  # 2 more
    store.keep(key(1, 20), copy_out)  # 1 more, after the 8 of picture and marks
    store.keep(key(1, 10, 11, 13), copy_out)  # 1 more, after 10
    store.keep(key(1, 10, marks="other"), copy_out)  # 3 more, after BOS and picture
    assert store.bytes == 8 * (9 + 2 + 1 + 1 + 3)
    store.keep(key(1, 10, 11), copy_out)  # kept already
    assert store.bytes == 8 * 16
    assert positions(store.find(key(1, 10, 11, 13, 14))) == (11, list(range(11)))
    assert positions(store.find(key(1, 10, 30, marks="other"))) == (9, list(range(9)))


def test_what_others_begin_with_stays():
    store = PrefixStore(8 * 12)
    store.keep(key(1, 10), copy_out)  # 9 positions
    store.keep(key(1, 20), copy_out)
    store.keep(key(1, 30), copy_out)
    store.keep(key(1, 40), copy_out)
    assert store.bytes == 8 * 12
    assert store.find(key(1, 20, 21))[0] == 9  # used, so 30 is the next to go
    store.keep(key(1, 50), copy_out)
    assert [store.find(key(1, n, 0))[0] for n in (10, 20, 30, 40, 50)] == [9, 9, 8, 9, 9]
    store.keep(key(1, 60, picture="other"), copy_out)  # 9 positions: all of the first picture must go for it
    assert store.bytes == 8 * 9
    assert store.find(key(1, 10, 0)) == (0, [])


def test_what_does_not_fit_is_not_kept():
    store = PrefixStore(8 * 10)
    store.keep(key(1, 10), copy_out)
    store.keep(key(1, 10, 11, 12, 13), copy_out)  # three more, one of which has room, and it goes on from the first
    assert store.bytes == 8 * 9
    store.keep(key(*range(1, 20), picture="other"), copy_out)  # larger than all there may be: nothing makes room for it
    assert store.bytes == 8 * 9
    assert store.find(key(1, 10, 0))[0] == 9
    store.keep(key(*range(1, 20), picture="other"), lambda start, end: pytest.fail("a copy for nothing"))
    nothing = PrefixStore(0)
    nothing.keep(key(1, 10), copy_out)
    assert nothing.bytes == 0


def test_whatever_was_kept_and_dropped_the_longest_beginning_is_found():
    """Against a search through all prompts."""
    draw, store, kept = random.Random(5), PrefixStore(10**9), {}

    def any_key():
        ids = tuple(draw.choices((10, 11), k=draw.randint(0, 7)))
        if draw.random() < 0.5:
            return PromptKey((1, *ids))
        return key(1, *ids, picture=draw.choice("pq"), marks=draw.choice("mn"))

    for _ in range(400):
        one = any_key()
        most = max((one.shared(other) for other in kept), default=0)
        length = min(most, len(one) - 1)
        length = 0 if length <= 1 else length
        assert positions(store.find(one)) == (length, list(range(length)))
        store.keep(one, copy_out)
        kept[one] = None
        if draw.random() < 0.1:
            gone = draw.choice(list(kept))
            store.drop(gone)
            kept = {
                other: None
                for other in kept
                if store.find(PromptKey((*other.ids, 99), *_parts(other)))[0] == len(other)
            }
    store.clear()
    assert (store.bytes, store.find(key(1, 10))) == (0, (0, []))


def _parts(one):
    return one.picture, one.marks, one.image_length, one.marks_length


class Interrupting:
    """States whose size is asked for `left` times before someone presses Ctrl-C."""

    def __init__(self, left):
        self.left = left

    @property
    def nbytes(self):
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return 8


@pytest.mark.parametrize("left", range(4))
def test_an_interrupt_leaves_nothing_by_half(left):
    store = PrefixStore(1000)
    store.keep(key(1, 10), copy_out)
    with pytest.raises(KeyboardInterrupt):
        store.keep(key(1, 20), lambda start, end: Interrupting(left))
    store.keep(key(1, 20), copy_out)
    assert store.find(key(1, 20, 21))[0] == 9
    assert store.bytes == sum(piece.states.nbytes for piece in store._pieces)


def test_finding_looks_at_few_however_many_are_kept(monkeypatch):
    store, looked, shared = PrefixStore(10**9), [], PromptKey.shared
    for number in range(2000):
        store.keep(PromptKey((1, 2, 3, number, number)), copy_out)
        store.keep(key(1, number, picture=str(number % 7)), copy_out)
    monkeypatch.setattr(PromptKey, "shared", lambda one, other: looked.append(1) or shared(one, other))
    assert store.find(PromptKey((1, 2, 3, 1234, 9)))[0] == 4
    assert store.find(key(1, 1234, 9, picture=str(1234 % 7)))[0] == 9
    assert len(looked) <= 6


def test_a_prompt_is_dropped_with_what_goes_on_from_it():
    store = PrefixStore(10_000)
    store.keep(key(1, 10), copy_out)
    store.keep(key(1, 10, 11), copy_out)
    store.keep(key(1, 10, 11, 12), copy_out)
    store.drop(key(1, 10, 11))
    assert store.find(key(1, 10, 11, 12))[0] == 9
    assert store.bytes == 8 * 9
    store.keep(key(1, 10, 11, 12), copy_out)
    assert positions(store.find(key(1, 10, 11, 12, 13))) == (11, list(range(11)))
    store.drop(key(1, 99))
    store.clear()
    assert (store.bytes, store.find(key(1, 10, 11))) == (0, (0, []))


def test_the_least_recently_used_goes_first():
    kept = Kept(24)
    for name in ("a", "b", "c"):
        kept.put(name, torch.zeros(2))
    assert kept.get("a") is not None
    kept.put("d", torch.zeros(2))
    assert [name for name in "abcd" if kept.get(name) is not None] == ["a", "c", "d"]
    assert kept.bytes == 24
    kept.put("too large", torch.zeros(7))
    assert [name for name in "abcd" if kept.get(name) is not None] == ["a", "c", "d"]
    kept.clear()
    assert (kept.bytes, kept.get("a")) == (0, None)
