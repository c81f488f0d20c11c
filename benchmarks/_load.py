"""Load for servers: clients that ask, hang up or send nonsense, and what became of each of their questions."""

from __future__ import annotations

import base64
import http.client
import io
import json
import queue
import random
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy
from PIL import Image

Fate = Literal["answered", "cancelled", "refused", "lost"]
_SIZES = ((320, 240), (640, 480), (480, 960), (1600, 1200))
_TIMEOUT = 900.0
_TRIES = 100
MALFORMED: tuple[bytes, ...] = (
    b"",
    b"[" * 5000,
    b'{"messages": [{"role": "user", "content": "Why?"}], "n": 10000}',
    b'{"messages": [{"role": "user", "content": "Why?"}], "temperature": NaN}',
    b'{"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}]}]}',
)


@dataclass(frozen=True)
class Task:
    """One thing that a client does. `question`: which of the questions; None for a malformed body."""

    body: bytes
    question: int | None
    hangs_up: bool = False


@dataclass(frozen=True)
class Outcome:
    """What became of it; seconds from its first byte, refusals for a full queue included."""

    task: Task
    fate: Fate
    text: str = ""
    tokens: int = 0
    first: float = 0.0
    total: float = 0.0
    came_again: int = 0


def questions(count: int, new_tokens: int, seed: int = 0) -> list[dict[str, Any]]:
    """Bodies of distinct questions: pictures of several sizes and forms with boxes and points, and none."""
    noise, draw = numpy.random.default_rng(seed), random.Random(seed)
    seen = []
    for number, (width, height) in enumerate(_SIZES * 2):
        small = noise.integers(0, 256, (height // 16, width // 16, 3), dtype=numpy.uint8)
        picture = Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)
        kind = ("png", "jpeg", "webp")[number % 3]
        file = io.BytesIO()
        picture.save(file, kind)
        seen.append((width, height, f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"))
    found = []
    for number in range(count):
        text = f"Question {number}: what is it, and why? " * (1 + number % 4)
        parts: list[dict[str, Any]] = [{"type": "text", "text": text}]
        if number % 5 != 4:
            width, height, url = seen[draw.randrange(len(seen))]
            marks = [_mark(draw, width, height) for _ in range(draw.randrange(4))]
            parts = [{"type": "image_url", "image_url": {"url": url}}, *marks, *parts]
        sampled = {"temperature": 0.7, "top_p": 0.9, "seed": number} if number % 2 else {"temperature": 0}
        found.append({"messages": [{"role": "user", "content": parts}], "max_tokens": new_tokens, **sampled})
    return found


def _mark(draw: random.Random, width: int, height: int) -> dict[str, Any]:
    x, y = draw.randrange(width // 2), draw.randrange(height // 2)
    mark: dict[str, Any] = {"kind": "point", "coords": [x, y]}
    if draw.random() < 0.5:
        mark = {"kind": "box", "coords": [x, y, x + width // 3, y + height // 3]}
    return {"type": "visual_prompt", "visual_prompt": mark}


def tasks(asked: Sequence[dict[str, Any]], count: int, cancelled: float, malformed: float, seed: int = 0) -> list[Task]:
    """`count` tasks in a mixed order; of these shares the client hangs up after the first text, or sends nonsense."""
    draw = random.Random(seed)
    streamed = {"stream": True, "stream_options": {"include_usage": True}}
    bodies = [json.dumps({**one, **streamed}).encode() for one in asked]
    hanging, wrong = round(count * cancelled), round(count * malformed)
    found = [Task(MALFORMED[number % len(MALFORMED)], None) for number in range(wrong)]
    for number in range(count - wrong):
        question = draw.randrange(len(bodies))
        found.append(Task(bodies[question], question, hangs_up=number < hanging))
    draw.shuffle(found)
    return found


def run_load(port: int, work: Sequence[Task], clients: int) -> list[Outcome]:
    """All tasks done by `clients` at a time, each with a connection of its own for each task."""
    waiting: queue.SimpleQueue[Task] = queue.SimpleQueue()
    for task in work:
        waiting.put(task)
    done: list[Outcome] = []

    def client() -> None:
        while True:
            try:
                task = waiting.get_nowait()
            except queue.Empty:
                return
            done.append(_do(port, task))

    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return done


def _do(port: int, task: Task) -> Outcome:
    begun = time.perf_counter()
    for tried in range(_TRIES):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT)
        try:
            connection.request("POST", "/v1/chat/completions", task.body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            if response.status == 429:
                response.read()
                time.sleep(int(response.headers["Retry-After"]))
                continue
            if response.status != 200:
                refused = 400 <= response.status < 500 and b'"message"' in response.read()
                return Outcome(task, "refused" if refused else "lost", came_again=tried)
            return _read(response, task, begun, tried)
        except (OSError, http.client.HTTPException, ValueError):
            return Outcome(task, "lost", came_again=tried)
        finally:
            connection.close()
    return Outcome(task, "lost", came_again=_TRIES)


def _read(response: http.client.HTTPResponse, task: Task, begun: float, tried: int) -> Outcome:
    text, tokens, first = "", 0, 0.0
    for line in response:
        if line == b"data: [DONE]\n":
            total = time.perf_counter() - begun
            return Outcome(task, "answered", text, tokens, first or total, total, tried)
        if not line.startswith(b"data: {"):
            continue
        event = json.loads(line.removeprefix(b"data: "))
        tokens = (event.get("usage") or {}).get("completion_tokens", tokens)
        piece = event["choices"][0]["delta"].get("content", "") if event["choices"] else ""
        if piece:
            first = first or time.perf_counter() - begun
            if task.hangs_up:
                return Outcome(task, "cancelled", came_again=tried)
        text += piece
    return Outcome(task, "lost", came_again=tried)
