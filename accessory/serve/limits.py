"""Bodies: read within bytes and seconds, and parsed without more depth or more values than a question needs."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NoReturn

from accessory.serve.errors import ApiError, ClientGone
from accessory.serve.options import Limits

Receive = Callable[[], Awaitable[Mapping[str, Any]]]

_ESCAPE = re.compile(rb"\\.", re.S)
_STRING = re.compile(rb'"[^"]*"?')
_NOT_STRUCTURE = bytes(c for c in range(256) if c not in b'"[]{},')


class InFlight:
    """Bytes of all bodies that are held at a time. For the event loop's thread only."""

    def __init__(self, limit: int) -> None:
        self.limit, self.bytes = limit, 0

    @contextmanager
    def share(self) -> Iterator[Callable[[int], None]]:
        """`grow(n)` inside takes n bytes more, and raises ApiError (429) where there are none; all are given back."""
        taken = 0

        def grow(count: int) -> None:
            nonlocal taken
            if self.bytes + count > self.limit:
                raise ApiError(
                    f"questions of {self.bytes} bytes are being read, the limit is {self.limit}; ask again soon.",
                    429,
                    code="busy",
                    headers={"Retry-After": "1"},
                )
            self.bytes += count
            taken += count

        try:
            yield grow
        finally:
            self.bytes -= taken


async def read_body(receive: Receive, declared: int | None, limits: Limits, grow: Callable[[int], None]) -> bytes:
    """The whole body. Raises ApiError where it is longer than allowed (413), at once where the header says so, or does
    not come in time (408); ClientGone where the client hangs up."""
    if declared is not None:
        _check_size(declared, limits)
    loop = asyncio.get_running_loop()
    end, body = loop.time() + limits.body_seconds, bytearray()
    while True:
        try:
            message = await asyncio.wait_for(receive(), max(0.0, end - loop.time()))
        except asyncio.TimeoutError:
            raise ApiError(
                f"the body did not come within {limits.body_seconds:g} s ({len(body)} bytes did); send it faster, or"
                " make the picture smaller.",
                408,
                code="body_timeout",
            ) from None
        if message["type"] == "http.disconnect":
            raise ClientGone("the client hung up before its body was complete")
        chunk = message.get("body", b"")
        _check_size(len(body) + len(chunk), limits)
        grow(len(chunk))
        body += chunk
        if not message.get("more_body", False):
            return bytes(body)


def _check_size(size: int, limits: Limits) -> None:
    if size > limits.body_bytes:
        raise ApiError(
            f"the body has {size} bytes or more, the limit is {limits.body_bytes}; make the picture smaller.",
            413,
            code="body_too_large",
        )


def parse_json(body: bytes, limits: Limits) -> dict[str, Any]:
    """The object in a body. Raises ApiError for what is not JSON, for NaN and infinities, which JSON does not have, and
    for more nesting or more values than the limits."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ApiError(f"the body is not UTF-8 ({error.reason} at byte {error.start}); send JSON as UTF-8.") from None
    _check_structure(body, limits)
    try:
        value = json.loads(text, parse_constant=_refuse_constant, parse_float=_finite)
    except ApiError:
        raise
    except RecursionError:  # the depth is checked already; a last resort
        raise ApiError("the body is nested too deeply; send the documented form.") from None
    except ValueError as error:  # wrong JSON, or an integer of thousands of digits
        raise ApiError(f"the body is not JSON ({error}); send one object.", code="invalid_json") from None
    if not isinstance(value, dict):
        raise ApiError(f"the body is a JSON {type(value).__name__}; send one object.", code="invalid_json")
    return value


def _check_structure(body: bytes, limits: Limits) -> None:
    """Counts brackets and commas outside strings, before any object is made of them. Each step is one pass in C: what
    remains of a picture in base64 after the second one is nothing."""
    rest = _ESCAPE.sub(b"", body) if b"\\" in body else body
    rest = rest.translate(None, _NOT_STRUCTURE)
    rest = _STRING.sub(b"", rest)
    values = rest.count(b",") + rest.count(b"[") + rest.count(b"{")
    if values > limits.values:
        raise ApiError(
            f"the body holds {values} values, the limit is {limits.values}; send fewer marks and messages.",
            code="too_many_values",
        )
    depth = deepest = 0
    for letter in rest.translate(None, b","):
        depth += 1 if letter in b"[{" else -1
        deepest = max(deepest, depth)
    if deepest > limits.depth:
        raise ApiError(
            f"the body is nested {deepest} deep, the limit is {limits.depth}; send the documented form.",
            code="too_deep",
        )


def _refuse_constant(name: str) -> NoReturn:
    raise ApiError(f"the body holds {name}, which JSON does not have; send finite numbers.", code="invalid_json")


def _finite(digits: str) -> float:
    number = float(digits)
    if number in (float("inf"), float("-inf")):
        raise ApiError(f"the body holds {digits[:40]}, which is infinite; send finite numbers.", code="invalid_json")
    return number
