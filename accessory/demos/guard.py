"""What stands before the demo's web server: limits on what is sent to it, and a policy that keeps the page local."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from accessory.serve.keys import is_local_name

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
App = Callable[[Any, Receive, Send], Awaitable[None]]

MOST_BODY = 24 * 2**20  # a picture of the largest size in base64, and its question
# The browser itself refuses whatever the page, or Gradio below it, might want from elsewhere.
_POLICY = (
    "default-src 'self' data: blob:; connect-src 'self' data: blob:; img-src 'self' data: blob:; font-src 'self' data:;"
    " style-src 'self' 'unsafe-inline'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; object-src 'none';"
    " frame-ancestors 'self'; base-uri 'self'; form-action 'self'"
)
_HEADERS = (
    (b"content-security-policy", _POLICY.encode()),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
)
_UPLOAD = "/gradio_api/upload"  # which writes files; our page sends pictures in its own calls


class Guard:
    """An ASGI middleware. `local`: the server is this machine's alone, and called by its names only. That keeps out
    pages elsewhere whose name was made to point here (DNS rebinding), and those that send their visitors' browsers."""

    def __init__(self, app: App, local: bool = False, most_body: int = MOST_BODY) -> None:
        self._app, self._local, self._most = app, local, most_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        if self._local and not is_local_name(headers.get(b"host")):
            await _refuse(send, 421, "This address is not one of this server's; open the one that it printed.")
            return
        if self._local and b"origin" in headers and not is_local_name(_authority(headers[b"origin"])):
            await _refuse(send, 403, "Another page may not ask in its visitor's name.")
            return
        if scope["path"].rstrip("/") == _UPLOAD:
            await _refuse(send, 404, "Files are not taken here; open the picture on the page.")
            return
        declared = headers.get(b"content-length", b"0")
        if not declared.isdigit() or int(declared) > self._most:
            await _refuse(send, 413, f"The request is larger than {self._most} bytes; send a smaller picture.")
            return
        await self._app(scope, self._bounded(receive), _with_headers(send))

    def _bounded(self, receive: Receive) -> Receive:
        """For bodies that come in chunks without saying how long they are."""
        taken = 0

        async def bounded() -> dict[str, Any]:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            return {"type": "http.disconnect"} if taken > self._most else message

        return bounded


def _with_headers(send: Send) -> Send:
    async def sending(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), *_HEADERS]}
        await send(message)

    return sending


def _authority(origin: bytes) -> bytes:
    """Host and port of an Origin header, which is `null` for pages that want to hide theirs."""
    return origin.rpartition(b"//")[2]


async def _refuse(send: Send, status: int, sentence: str) -> None:
    body = sentence.encode()
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
