"""uvicorn's HTTP protocol with bounds that it lacks, on heads, unread answers and connections, and with our errors.

uvicorn drops idle connections, but neither one that sends its head a byte at a time nor one that does not read what it
is sent; and what it cannot parse, or has no room for, it answers in plain text.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from accessory.serve.errors import MEDIA_TYPE, ApiError, to_json
from accessory.serve.options import Limits

_PHRASES = {400: "Bad Request", 408: "Request Timeout", 503: "Service Unavailable"}


def protocol_class(limits: Limits) -> type[asyncio.Protocol]:
    """The protocol that uvicorn's `http=` takes."""
    import h11
    from uvicorn.protocols.http.h11_impl import H11Protocol

    class Protocol(H11Protocol):
        """One connection."""

        _head_timer: asyncio.TimerHandle | None = None
        _read_timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            # asyncio does so for sockets that it has made itself. Otherwise each small piece of an answer waits for the
            # client to acknowledge the one before, which takes a client up to 40 ms.
            transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if len(self.connections) > limits.connections:
                self._refuse(
                    ApiError(
                        f"{limits.connections} connections are open, which is the limit; ask again later.",
                        503,
                        code="too_many_connections",
                    )
                )
                return
            self._watch_head()

        def data_received(self, data: bytes) -> None:
            if self.transport.is_closing():
                return
            super().data_received(data)
            self._watch_head()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            self._watch_head()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_head_timer()
            self._stop_read_timer()
            super().connection_lost(exc)

        def pause_writing(self) -> None:
            super().pause_writing()
            # The buffer is full: whoever is to read it has this long to read some of it.
            self._read_timer = self.loop.call_later(limits.write_seconds, self.transport.abort)

        def resume_writing(self) -> None:
            self._stop_read_timer()
            super().resume_writing()

        def send_400_response(self, msg: str) -> None:
            self._refuse(ApiError("what was sent is no HTTP/1.1 request; see RFC 9112.", 400, code="invalid_http"))

        def _watch_head(self) -> None:
            """Starts the clock with the connection's first byte of a head, and stops it with the last."""
            waiting = self.conn.their_state is h11.IDLE and not self.transport.is_closing()
            begun = self.cycle is None or bool(self.conn.trailing_data[0])
            if not waiting:
                self._stop_head_timer()
            elif begun and self._head_timer is None:
                self._head_timer = self.loop.call_later(limits.header_seconds, self._head_overdue)

        def _head_overdue(self) -> None:
            self._head_timer = None
            if self.conn.their_state is h11.IDLE and not self.transport.is_closing():
                self._refuse(
                    ApiError(
                        f"the head of a request did not come within {limits.header_seconds:g} s; send it faster.",
                        408,
                        code="head_timeout",
                    )
                )

        def _stop_head_timer(self) -> None:
            if self._head_timer is not None:
                self._head_timer.cancel()
                self._head_timer = None

        def _stop_read_timer(self) -> None:
            if self._read_timer is not None:
                self._read_timer.cancel()
                self._read_timer = None

        def _refuse(self, error: ApiError) -> None:
            """Writes an error past h11, whose state may allow none any more, and closes."""
            if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
                body = to_json(error.body())
                head = f"HTTP/1.1 {error.status} {_PHRASES[error.status]}\r\ncontent-type: {MEDIA_TYPE}\r\n"
                head += f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
                self.transport.write(head.encode("ascii") + body)
            self.transport.close()

    return Protocol
