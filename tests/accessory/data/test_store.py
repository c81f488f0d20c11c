"""Arrays on disk: whole or absent, mapped and not read, and found again by another process."""

import multiprocessing

import numpy
import pytest
from safetensors.numpy import load_file

from accessory.data.store import open_arrays, save_arrays
from SPHINX_V.errors import DataError

ARRAYS = {
    "few": numpy.arange(3, dtype=numpy.uint8),
    "long": numpy.array([[-1, 2**40]]),
    "none": numpy.empty(0, numpy.int32),
    "some": numpy.arange(5, dtype=numpy.uint32),
}
FACTS = {"version": 1, "who": "a “name”", "rate": 0.1, "nothing": None}


@pytest.fixture
def path(tmp_path):
    save_arrays(tmp_path / "made" / "a.safetensors", ARRAYS, FACTS)
    return tmp_path / "made" / "a.safetensors"


def test_arrays_and_facts_come_back_as_maps_of_the_file(path):
    stored = open_arrays(path)
    assert stored.facts == FACTS
    assert set(stored.arrays) == set(ARRAYS)
    for name, array in ARRAYS.items():
        found = stored.arrays[name]
        assert (found.dtype, found.tolist()) == (array.dtype, array.tolist())
        assert not found.flags.owndata
        assert not found.flags.writeable
    assert list(path.parent.iterdir()) == [path], "nothing temporary is left"


def test_everybody_may_read_the_file_whom_the_system_lets(path):
    (path.parent / "other").write_text("", encoding="utf-8")
    assert path.stat().st_mode == (path.parent / "other").stat().st_mode


def test_the_file_is_of_a_known_form(path):
    assert {name: array.tolist() for name, array in load_file(path).items()} == {
        name: array.tolist() for name, array in ARRAYS.items()
    }


def test_a_file_that_is_absent_cut_or_of_another_kind_is_none(path):
    content = path.read_bytes()
    assert open_arrays(path.with_name("no")) is None
    for damaged in (b"", content[:7], content[:40], content[:-1], content + b"\0", b"text", b"\2\0\0\0\0\0\0\0[]"):
        path.write_bytes(damaged)
        assert open_arrays(path) is None
    for old, new in ((b'"U32"', b'"F32"'), (b'"shape": [5]', b'"shape": [6]'), (b"facts", b"other")):
        assert content.count(old) == 1
        path.write_bytes(content.replace(old, new))
        assert open_arrays(path) is None


def test_a_reader_keeps_what_it_has_opened_when_the_file_is_replaced(path):
    stored = open_arrays(path)
    save_arrays(path, {"some": numpy.zeros(2, numpy.uint32)}, {})
    assert stored.arrays["some"].tolist() == [0, 1, 2, 3, 4]
    assert open_arrays(path).arrays["some"].tolist() == [0, 0]


def test_a_write_that_fails_leaves_the_old_file(path):
    with pytest.raises(TypeError):
        save_arrays(path, ARRAYS, {"odd": object()})
    assert open_arrays(path).facts == FACTS
    assert list(path.parent.iterdir()) == [path]


def sent(stored):
    """`stored` as it arrives at another process."""
    here, there = multiprocessing.Pipe()
    with here, there:
        here.send(stored)
        return there.recv()


def test_what_is_sent_to_another_process_maps_the_file_again(path):
    stored = open_arrays(path)
    arrived = sent(stored)
    assert arrived.arrays["long"].tolist() == [[-1, 2**40]]
    assert not arrived.arrays["long"].flags.owndata
    save_arrays(path, ARRAYS, {**FACTS, "version": 2})
    with pytest.raises(DataError, match=rf"{path}: was replaced while it was in use"):
        sent(stored)
