"""From the engine's thread to the event loop: one call a round wakes exactly those answers that have news."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from SPHINX_V.generation.engine import Engine
from SPHINX_V.generation.job import AnswerStream


class Watch:
    """The answers to one question (`n` choices), as the event loop sees them."""

    def __init__(self, streams: Sequence[AnswerStream]) -> None:
        self.streams = list(streams)
        self.news = asyncio.Event()
        self._open = set(range(len(self.streams)))

    @property
    def ready(self) -> bool:
        return any(self.streams[index].ready for index in self._open)

    @property
    def ended(self) -> bool:
        """Has everything of every choice been read?"""
        return not self._open

    def read(self) -> list[tuple[int, str]]:
        """What there is, without waiting: (choice, text); a choice that ends now comes with the text "".

        Raises the error of a choice that failed, an AnswerError.
        """
        found: list[tuple[int, str]] = []
        for index in sorted(self._open):
            stream, pieces = self.streams[index], []
            while stream.ready:
                piece = next(stream, None)
                if piece is None:
                    self._open.remove(index)
                    break
                pieces.append(piece)
            if pieces:
                found.append((index, "".join(pieces)))
            if index not in self._open:
                found.append((index, ""))
        return found

    def cancel(self) -> None:
        """Ends what has not ended; its rows are free before the next round."""
        for index in self._open:
            self.streams[index].cancel()


class Bridge:
    """Wakes watches. Its methods belong to the event loop's thread, but for `_from_engine`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._watches: set[Watch] = set()
        self._called = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self.stopped = asyncio.Event()  # set when the engine's thread has ended

    def open(self) -> None:
        """From now on the running event loop is woken."""
        self._loop = asyncio.get_running_loop()
        self._engine.queue.on_news = self._from_engine

    def close(self) -> None:
        self._engine.queue.on_news = None
        self._loop = None

    def add(self, watch: Watch) -> None:
        self._watches.add(watch)
        watch.news.set()  # there may be news from before

    def remove(self, watch: Watch) -> None:
        self._watches.discard(watch)

    def cancel_all(self) -> None:
        for watch in self._watches:
            watch.cancel()

    def __len__(self) -> int:
        return len(self._watches)

    def _from_engine(self) -> None:
        loop = self._loop
        # One call at a time: between two runs of the loop the engine may make many rounds.
        if loop is not None and not self._called:
            self._called = True
            loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        self._called = False  # before looking, so that what comes meanwhile calls again
        if not self._engine.started:
            self.stopped.set()
        for watch in self._watches:
            if watch.ready:
                watch.news.set()
