"""The lock is given in the order of asking."""

import threading

import pytest

from SPHINX_V.generation.turns import FairLock


def test_those_who_wait_are_served_before_the_holder_comes_again():
    lock, order, waiting = FairLock(), [], threading.Event()

    def other():
        waiting.set()
        with lock:
            order.append("other")

    thread = threading.Thread(target=other)
    with lock:
        thread.start()
        waiting.wait()
        while lock._next < 2:  # until the other has its ticket
            threading.Event().wait(0.001)
    with lock:
        order.append("holder")
    thread.join()
    assert order == ["other", "holder"]


def test_one_who_gives_up_waiting_is_not_waited_for(monkeypatch):
    lock = FairLock()

    def interrupted(condition):
        raise KeyboardInterrupt

    with lock:
        with monkeypatch.context() as patched:
            patched.setattr(lock._changed, "wait_for", interrupted)
            with pytest.raises(KeyboardInterrupt), lock:
                pass
    with lock:  # would wait for ever
        pass


def test_who_only_tries_never_waits_and_takes_no_turn():
    lock = FairLock()
    with lock:
        with lock.if_free() as is_free:  # also where this very thread has it
            assert not is_free
    with lock.if_free() as is_free:
        assert is_free
        with lock.if_free() as again:
            assert not again
    with lock:  # would wait for ever, had one of them kept a turn
        pass
