"""A small judge for the tests: speaks the chat-completions protocol over real HTTP on loopback, and writes down all."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Headers = dict[str, str]


@dataclass(frozen=True)
class Answer:
    """What the server sends: a status, a body and further headers; `silent` holds the line and says nothing."""

    status: int = 200
    body: bytes = b""
    headers: Headers = field(default_factory=dict)
    silent: bool = False


def completion(
    text: str | None, *, model: str = "judge-2026-01-01", finish_reason: str = "stop", **extra: Any
) -> Answer:
    values = {
        "id": "x",
        "object": "chat.completion",
        "created": 1,
        "model": model,
        "choices": [
            {"index": 0, "finish_reason": finish_reason, "message": {"role": "assistant", "content": text, **extra}}
        ],
        "usage": {"prompt_tokens": 1000, "completion_tokens": 50, "total_tokens": 1050},
    }
    return Answer(body=json.dumps(values).encode())


def problem(status: int, message: str = "no", headers: Headers | None = None, **fields: str) -> Answer:
    return Answer(status, json.dumps({"error": {"message": message, **fields}}).encode(), headers or {})


class JudgeServer:
    """Answers as `answers(request)` says. `requests` are the bodies it got, `times` when, `most` how many at once."""

    def __init__(self, answers: Callable[[dict[str, Any]], Answer]) -> None:
        self.answers = answers
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.times: list[float] = []
        self.most = 0
        self._now = 0
        self._guard = threading.Lock()
        self.closing = threading.Event()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.server.daemon_threads = True

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}/v1"

    def enter(self, request: dict[str, Any], key: str | None) -> None:
        with self._guard:
            self.requests.append(request)
            self.keys.append(key)
            self.times.append(time.monotonic())
            self._now += 1
            self.most = max(self.most, self._now)

    def leave(self) -> None:
        with self._guard:
            self._now -= 1

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                request = json.loads(self.rfile.read(int(self.headers["content-length"])))
                server.enter(request, self.headers.get("authorization"))
                try:
                    answer = server.answers(request) if self.path == "/v1/chat/completions" else problem(404)
                finally:
                    server.leave()
                if answer.silent:
                    server.closing.wait()
                    return
                self.send_response(answer.status)
                headers = {
                    "content-type": "application/json",
                    "content-length": str(len(answer.body)),
                    **answer.headers,
                }
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answer.body)

            def log_message(self, *_: Any) -> None:
                """Quiet."""

        return Handler


@contextmanager
def judge_server(answers: Callable[[dict[str, Any]], Answer]) -> Iterator[JudgeServer]:
    """A server that runs inside the block and is gone after it."""
    judge = JudgeServer(answers)
    thread = threading.Thread(target=judge.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield judge
    finally:
        judge.closing.set()
        judge.server.shutdown()
        judge.server.server_close()
        thread.join()


def prompt_of(request: dict[str, Any]) -> str:
    """The text of the user's message."""
    content = request["messages"][-1]["content"]
    return content if isinstance(content, str) else content[0]["text"]


def picture_of(request: dict[str, Any]) -> str | None:
    """The data URL of the picture that came with the user's message."""
    content = request["messages"][-1]["content"]
    return None if isinstance(content, str) else content[1]["image_url"]["url"]
