"""What every HTTP request passes first and last: host and key, a count by status, and an end that loses no answer."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from accessory.serve.errors import MEDIA_TYPE, ApiError, to_json
from accessory.serve.keys import is_local_name, is_loopback
from accessory.serve.metrics import Metrics
from accessory.serve.options import ServeOptions

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_OPEN = ("/health", "/ready")  # for who watches the server, and has no key
ROUTES = ("/v1/chat/completions", "/v1/models", "/health", "/ready", "/metrics", "/openapi.json")
_METHODS = ("GET", "POST", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS")
_SAFE = ((b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store"))


class Door:
    """ASGI middleware around the whole application."""

    def __init__(self, app: App, options: ServeOptions, metrics: Metrics) -> None:
        self._app, self._options, self._metrics = app, options, metrics
        # Without keys a page that a browser here shows must not reach us under a name of its own.
        self._local_names_only = not options.keys and is_loopback(options.host)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        exchange = _Exchange(receive, send, _has_body(headers), self._options.limits.linger_seconds)
        try:
            refusal = self._refusal(scope["path"], headers)
            if refusal is not None:
                await send_error(exchange.send, refusal)
            else:
                await self._app(scope, exchange.receive, exchange.send)
        finally:
            route = scope["path"] if scope["path"] in ROUTES else "other"
            method = scope["method"] if scope["method"] in _METHODS else "other"
            self._metrics.request(method, route, exchange.status or 499)  # 499: hung up before any answer

    def _refusal(self, path: str, headers: Mapping[bytes, bytes]) -> ApiError | None:
        if self._local_names_only and not is_local_name(headers.get(b"host")):
            return ApiError(
                "this server answers to localhost only; start it with --api_key_file to use another name.",
                403,
                code="wrong_host",
            )
        if path in _OPEN:
            return None
        try:
            self._options.keys.check(headers.get(b"authorization"))
        except ApiError as error:
            return error
        return None


class _Exchange:
    """One request and its response. A response that comes before the whole body has been read closes the connection,
    after the rest has been read for a moment: closing over unread bytes makes some clients lose the response."""

    def __init__(self, receive: Receive, send: Send, has_body: bool, linger: float) -> None:
        self._receive, self._send, self._linger = receive, send, linger
        self._unread = has_body
        self._closes = False
        self.status = 0

    async def receive(self) -> MutableMapping[str, Any]:
        message = await self._receive()
        if message["type"] != "http.request" or not message.get("more_body", False):
            self._unread = False
        return message

    async def send(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = [*message.get("headers", ()), *_SAFE, (b"x-request-id", uuid.uuid4().hex.encode())]
            self._closes = self._unread
            if self._closes and not any(name == b"connection" for name, _ in headers):
                headers.append((b"connection", b"close"))
            message = {**message, "headers": headers}
        elif self._closes and self._unread and not message.get("more_body", False):
            # All of the response, but for its end.
            await self._send({**message, "more_body": True})
            await self._drain()
            message = {"type": "http.response.body", "body": b"", "more_body": False}
        await self._send(message)

    async def _drain(self) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + self._linger
        while self._unread:
            try:
                await asyncio.wait_for(self.receive(), end - loop.time())
            except asyncio.TimeoutError:
                return


def _has_body(headers: Mapping[bytes, bytes]) -> bool:
    return b"transfer-encoding" in headers or headers.get(b"content-length", b"0").strip(b"0") != b""


async def send_error(send: Send, error: ApiError) -> None:
    """An error as a whole response."""
    body = to_json(error.body())
    headers = {"content-type": MEDIA_TYPE, "content-length": str(len(body)), **error.headers}
    pairs = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": error.status, "headers": pairs})
    await send({"type": "http.response.body", "body": body, "more_body": False})
