"""Servers as tests start them: real ones, on loopback, in a thread."""

from __future__ import annotations

import base64
import io
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from accessory.serve.options import ServeOptions
from accessory.serve.server import listen, make_server
from SPHINX_V import EngineOptions, SPHINX_V_Model
from SPHINX_V.processing.tokenizer import Tokenizer
from tests.generation.chain_model import chain_model
from tests.golden_model import GOLDEN

# Whoever imports this is skipped without them.
httpx = pytest.importorskip("httpx", reason='needs the server and a client: pip install -e ".[test]"')
for name in ("fastapi", "uvicorn"):
    pytest.importorskip(name, reason='needs the server and a client: pip install -e ".[test]"')

PICTURE = GOLDEN / "image.png"


class Running:
    """A server, its model, and a client whose paths begin after the port."""

    def __init__(self, model: SPHINX_V_Model, server: Any, port: int, thread: threading.Thread) -> None:
        self.model, self.server, self.port, self.thread = model, server, port, thread
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def ask(self, *parts: Any, **fields: Any) -> httpx.Response:
        """One message of the user with these parts; texts may be given as they are."""
        return self.post({"messages": [user(*parts)], **fields})

    def post(self, body: Any, **headers: str) -> httpx.Response:
        return self.http.post("/v1/chat/completions", json=body, headers=headers)

    def events(self, *parts: Any, **fields: Any) -> list[Any]:
        """The events of a stream, the last one as it is: `[DONE]`."""
        response = self.ask(*parts, stream=True, **fields)
        assert response.headers["content-type"] == "text/event-stream; charset=utf-8", response.text
        found = [line.removeprefix("data: ") for line in response.text.split("\n\n") if line.startswith("data: ")]
        return [*(json.loads(event) for event in found[:-1]), found[-1]]

    def metric(self, name: str) -> float:
        lines = self.http.get("/metrics").text.splitlines()
        return float(next(line for line in lines if line.startswith(f"sphinx_v_{name} ")).split()[-1])

    def connect(self, content: bytes = b"") -> socket.socket:
        """A plain connection that has sent this."""
        sock = socket.create_connection(("127.0.0.1", self.port), 60)
        sock.sendall(content)
        return sock

    def idle(self) -> bool:
        stats = self.model.engine.stats()
        return not (stats.running or stats.waiting)


@contextmanager
def running(
    model: SPHINX_V_Model, options: ServeOptions | None = None, engine: EngineOptions | None = None, buffer: int = 0
) -> Iterator[Running]:
    """A server for as long as the block lasts. `buffer`: bytes that the system may hold of what it sends."""
    model.make_engine(engine)
    server = make_server(model, options or ServeOptions(), "warning")
    model.engine.start()
    sock = listen("127.0.0.1", 0)
    if buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]})
    thread.start()
    until(lambda: server.started or not thread.is_alive())
    found = Running(model, server, sock.getsockname()[1], thread)
    try:
        yield found
    finally:
        found.http.close()
        server.should_exit = True
        thread.join()
        model.engine.stop()


def until(condition: Any) -> None:
    """Waits for something that must come; a machine that is busy may take its time."""
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.01)


def endless_model() -> SPHINX_V_Model:
    """A model whose greedy answers go on for 20,000 tokens: it says the last one of the prompt again and again."""
    tokenizer = Tokenizer.from_file(GOLDEN / "tokenizer.model")
    return SPHINX_V_Model(chain_model(tokenizer, max_seq_len=20_000), tokenizer)


def request_bytes(body: Any) -> bytes:
    """A question as it goes over the wire."""
    content = json.dumps(body).encode()
    head = "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    return f"{head}content-length: {len(content)}\r\n\r\n".encode() + content


def read_all(sock: socket.socket) -> tuple[int, bytes]:
    """Status and body of what comes until the server hangs up."""
    with sock, sock.makefile("rb") as file:
        head, _, body = file.read().partition(b"\r\n\r\n")
    return int(head.split()[1]), body


def user(*parts: Any) -> dict[str, Any]:
    content = [{"type": "text", "text": part} if isinstance(part, str) else part for part in parts]
    return {"role": "user", "content": content}


def data_uri(picture: Image.Image | bytes | Path, kind: str = "png") -> str:
    if isinstance(picture, Path):
        picture = picture.read_bytes()
    if isinstance(picture, Image.Image):
        file = io.BytesIO()
        picture.save(file, kind)
        picture = file.getvalue()
    return f"data:image/{kind};base64,{base64.b64encode(picture).decode()}"


def image(picture: Image.Image | bytes | Path | str = PICTURE, kind: str = "png") -> dict[str, Any]:
    url = picture if isinstance(picture, str) else data_uri(picture, kind)
    return {"type": "image_url", "image_url": {"url": url}}


def mark(kind: str, *coords: Any, **fields: Any) -> dict[str, Any]:
    return {"type": "visual_prompt", "visual_prompt": {"kind": kind, "coords": list(coords), **fields}}


def text_of(response: httpx.Response, choice: int = 0) -> str:
    assert response.status_code == 200, response.text
    return response.json()["choices"][choice]["message"]["content"]


def refusal(response: httpx.Response, status: int = 400) -> dict[str, Any]:
    """The error of a response, which must have OpenAI's shape and say something."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"message", "type", "param", "code"}
    assert len(body["error"]["message"]) > 10
    assert "Traceback" not in response.text
    return body["error"]
