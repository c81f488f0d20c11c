"""Many requests through one engine, answered in their order, with its rows full as long as there are some."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from SPHINX_V.generation.job import AnswerStream
from SPHINX_V.generation.options import Answer
from SPHINX_V.generation.request import Request

if TYPE_CHECKING:
    from SPHINX_V.generation.engine import Engine


def in_order(engine: Engine, requests: Iterable[Request], most: int) -> Iterator[Answer]:
    """The answers to requests, of which at most `most` have not ended at a time. One that takes long keeps others back
    only from being given. Dropping the iterator cancels the rest."""
    streams: deque[AnswerStream] = deque()
    going: list[AnswerStream] = []

    def has_room() -> bool:
        going[:] = (stream for stream in going if not stream.ended)
        return len(going) < most

    try:
        for request in requests:
            engine.wait_until(has_room)
            while streams and streams[0].ended:
                yield streams[0].answer()
                streams.popleft()
            streams.append(engine.submit(request))
            going.append(streams[-1])
        while streams:
            yield streams[0].answer()
            streams.popleft()
    finally:
        for stream in streams:
            stream.cancel()
