"""Requests that wait for a row: bounded, first come, first served; and what changes between two rounds."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

from SPHINX_V.errors import QueueFullError, UsageError
from SPHINX_V.generation.job import Events, Job
from SPHINX_V.generation.link import Link
from SPHINX_V.generation.options import Finish


class Queue:
    """Filled from any thread, emptied by rounds. A request that comes during a round is seen by the next one: so all
    processes that share a model have the same requests in the same round.

    `news` guards the queue, pieces and ends, and tells of them; it is never held while something is computed.
    """

    def __init__(self, limit: int) -> None:
        self.news = threading.Condition()
        self.closing = False
        # For who waits for many answers without a thread each: called whenever there is news, by whose thread it is. It
        # must not raise: the requests that are there then fail with its error, and it is called no more.
        self.on_news: Callable[[], None] | None = None
        self._limit = limit
        self._cut = math.inf  # when a stop ends what is still there
        self._arrived: deque[Job] = deque()  # since the last round began
        self._waiting: deque[Job] = deque()

    def __len__(self) -> int:
        return len(self._arrived) + len(self._waiting)

    def check_room(self) -> None:
        """Raises UsageError while the engine stops and QueueFullError where `limit` wait already."""
        with self.news:
            if self.closing:
                raise UsageError("the engine has been stopped; start it again to ask.")
            if len(self) >= self._limit:
                raise QueueFullError(
                    f"{len(self)} requests wait already, the limit is max_waiting {self._limit};"
                    " ask again when some have been answered."
                )

    def put(self, job: Job) -> None:
        """Raises as `check_room`."""
        with self.news:
            self.check_room()
            self._arrived.append(job)
            self.news.notify_all()

    def place_of(self, job: Job) -> int | None:
        """Its place from 1 on; None where it is not there."""
        with self.news:
            jobs = [*self._waiting, *self._arrived]
        return jobs.index(job) + 1 if job in jobs else None

    def tell(self) -> None:
        """There is news for those who wait for it."""
        with self.news:
            self.news.notify_all()
        call = self.on_news  # once, because who set it may take it back meanwhile
        if call is None:
            return
        try:
            call()
        except BaseException:
            self.on_news = None  # or it would raise once more when the engine tells that it has failed
            raise

    def close(self, drain: float) -> None:
        """Takes no more; after `drain` seconds the next round ends all that are there then."""
        with self.news:
            self.closing, self._cut = True, time.monotonic() + drain
            self.news.notify_all()

    def open(self) -> None:
        """Takes requests again."""
        with self.news:
            self.closing, self._cut = False, math.inf

    # What rounds ask

    def changes(self, running: Sequence[Job], timeouts: bool = True, link: Link | None = None) -> Events:
        """Who came since the last round, and who was cancelled or has no time left. With `link` all processes ask, and
        the first one's clock counts."""
        now = time.monotonic()
        with self.news:
            arrived, cut = list(self._arrived), now >= self._cut
            jobs = [*self._waiting, *arrived, *running]
        late = [timeouts and job.deadline is not None and now >= job.deadline for job in jobs]
        if link is not None and timeouts and any(job.deadline is not None for job in jobs):
            late = link.of_first(late)
        ends: list[tuple[Job, Finish]] = []
        for job, is_late in zip(jobs, late, strict=True):
            if job.cancelled or cut:
                ends.append((job, "cancelled"))
            elif is_late:
                ends.append((job, "timeout"))
        return Events(arrived, ends)

    def admit(self, jobs: Sequence[Job]) -> None:
        """Those that came are seen now, and wait for a row."""
        with self.news:
            for job in jobs:
                if self._arrived and self._arrived[0] is job:
                    self._arrived.popleft()
                self._waiting.append(job)

    def take(self, count: int) -> list[Job]:
        """The next ones, `count` of them at most."""
        with self.news:
            return [self._waiting.popleft() for _ in range(min(count, len(self._waiting)))]

    def remove(self, job: Job) -> None:
        """A request waits no more, where it did."""
        with self.news:
            if job in self._waiting:
                self._waiting.remove(job)

    def clear(self) -> list[Job]:
        """Empties the queue; what was in it."""
        with self.news:
            jobs = [*self._waiting, *self._arrived]
            self._waiting.clear()
            self._arrived.clear()
            return jobs

    def unsee(self) -> None:
        """Those that wait count as come just now, because processes that have not seen them will follow."""
        with self.news:
            self._arrived.extendleft(reversed(self._waiting))
            self._waiting.clear()
