"""Processes that are started again meet each other, and not those before them, in a store that has outlived them."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from torch.distributed import TCPStore

from accessory.runtime.rendezvous import own_part


@pytest.fixture
def connect():
    """A new connection to one store, as every process has."""
    server = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    return lambda: TCPStore("127.0.0.1", server.port, is_master=False)


def start(connect, size, late=()):
    """A start of `size` processes: the parts of the store that they come to. Those in `late` come when the others have
    had time to look at what is there."""

    def one(rank):
        if rank in late:
            time.sleep(0.2)
        part = own_part(connect(), rank, size)
        part.set(f"address/{rank}", f"{rank}")
        return part

    with ThreadPoolExecutor(size) as pool:
        return list(pool.map(one, range(size)))


def test_processes_of_one_start_see_each_other(connect):
    parts = start(connect, 3)
    for part in parts:
        assert part.multi_get([f"address/{rank}" for rank in range(3)]) == [b"0", b"1", b"2"]


@pytest.mark.parametrize("late", [(), (0,), (1, 2)])
def test_a_later_start_finds_nothing_of_the_one_before(connect, late):
    before = start(connect, 3)
    before[0].set("left", "behind")
    parts = start(connect, 3, late)
    assert not any(part.check(["left"]) for part in parts)
    parts[1].set("new", "one")
    assert [part.check(["new"]) for part in parts] == [True, True, True]


def test_nobody_goes_on_with_a_process_of_the_start_before(connect):
    start(connect, 2)
    came = threading.Event()
    thread = threading.Thread(target=lambda: (own_part(connect(), 0, 2), came.set()))
    thread.start()
    assert not came.wait(0.5), "rank 1 has left its token, but has not come again"
    own_part(connect(), 1, 2)
    assert came.wait(30)
    thread.join()
