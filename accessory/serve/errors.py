"""Errors as they leave the server: OpenAI's shape, a status, and the sentence of ours."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from SPHINX_V.errors import AnswerError, QueueFullError, SphinxVError, UsageError

_KINDS = {401: "authentication_error", 429: "rate_limit_error", 500: "server_error", 503: "server_error"}
MEDIA_TYPE = "application/json"


class ApiError(UsageError):
    """What a client is told: `status`, the field `param` that is wrong, a `code` for programs, further headers."""

    def __init__(
        self,
        message: str,
        status: int = 400,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.param, self.code = status, param, code
        self.headers = dict(headers or {})

    def body(self) -> dict[str, Any]:
        """OpenAI's shape."""
        kind = _KINDS.get(self.status, "invalid_request_error")
        return {"error": {"message": str(self), "type": kind, "param": self.param, "code": self.code}}


class ClientGone(SphinxVError):
    """The client has closed its connection: nobody is there to be told anything."""


def as_api_error(error: SphinxVError, retry_after: int = 1) -> ApiError:
    """One of our errors as a client is told it."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, QueueFullError):
        return ApiError(str(error), 429, code="queue_full", headers={"Retry-After": str(retry_after)})
    if isinstance(error, AnswerError):
        return ApiError(f"this question could not be answered: {error}", 500, code="answer_failed")
    return ApiError(str(error))


def closing_error() -> ApiError:
    """For who asks, or still waits, while the server ends."""
    return ApiError(
        "the server is shutting down and takes no more questions; ask again when it is back.",
        503,
        code="shutting_down",
        headers={"Retry-After": "5", "Connection": "close"},
    )


def to_json(value: Any) -> bytes:
    """JSON as UTF-8. Halves of surrogate pairs, which a client may have sent us, become escapes: UTF-8 has none."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.encode("utf-8", "backslashreplace")
