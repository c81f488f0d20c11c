"""What is kept of earlier requests: by content, bounded, the least recently used goes first."""

import torch

from SPHINX_V.generation.prefix import Kept, PrefixStore, PromptKey


def key(*ids, picture="p", marks="m"):
    return PromptKey(ids, picture, marks, image_length=5, marks_length=2)


def states(length):
    return torch.zeros(1, 2, 1, length, 1)  # 8 bytes a position


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
    store.keep(key(1, 10, 11), states(10))
    store.keep(key(1, 20), states(9))
    assert store.find(key(1, 10, 12))[0] == 9
    assert store.find(key(1, 10, 11))[0] == 9
    assert store.find(key(1, 20, 21))[0] == 9
    assert store.find(key(1, 30, marks="other"))[0] == 6
    assert store.find(key(2, 10)) == (0, None)


def test_a_prompt_that_another_goes_on_from_has_no_place_of_its_own():
    store = PrefixStore(10_000)
    store.keep(key(1, 10), states(9))
    store.keep(key(1, 10, 11), states(10))
    assert store.bytes == 80
    assert store.holds(key(1, 10))
    assert not store.holds(key(1, 10, 12))


def test_the_least_recently_used_goes_first():
    kept = Kept(24)
    for name in ("a", "b", "c"):
        kept.put(name, torch.zeros(2))
    assert kept.get("a") is not None
    kept.put("d", torch.zeros(2))
    assert kept.names() == ["c", "a", "d"]
    assert kept.bytes == 24
    kept.put("too large", torch.zeros(7))
    assert kept.names() == ["c", "a", "d"]
    kept.clear()
    assert (kept.bytes, kept.get("a")) == (0, None)
