"""A lock that is given in the order of asking; a plain one starves those who wait beside a thread that loops on it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType


class FairLock:
    """First come, first served; not reentrant."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._next, self._serving = 0, 0
        self._given_up: set[int] = set()

    def __enter__(self) -> None:
        with self._changed:
            ticket, self._next = self._next, self._next + 1
            try:
                self._changed.wait_for(lambda: self._serving == ticket)
            except BaseException:  # an interrupt while waiting: the others must not wait for this ticket
                if self._serving == ticket:
                    self._pass_on()
                else:
                    self._given_up.add(ticket)
                raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changed:
            self._pass_on()

    @contextmanager
    def if_free(self) -> Iterator[bool]:
        """The lock, where nobody has it or waits for it, else nothing; says which. Never waits, so a finalizer may use
        it, which Python may run at any place of any thread."""
        free = self._changed.acquire(blocking=False)
        if free:
            free = self._serving == self._next
            self._next += free
            self._changed.release()
        try:
            yield free
        finally:
            if free:
                with self._changed:
                    self._pass_on()

    def _pass_on(self) -> None:
        self._serving += 1
        while self._serving in self._given_up:
            self._given_up.remove(self._serving)
            self._serving += 1
        self._changed.notify_all()
