"""What the server is told at its start: where it listens, who may ask, and how much of anything it takes."""

from __future__ import annotations

from dataclasses import dataclass, field

from accessory.serve.keys import Keys
from accessory.serve.urls import UrlRules


@dataclass(frozen=True)
class Limits:
    """Bounds on what clients send and on how long they may take for it; seconds and bytes."""

    body_bytes: int = 24 * 2**20
    body_seconds: float = 60.0  # until the last byte of a body
    header_bytes: int = 32 * 1024
    header_seconds: float = 10.0  # until the last byte of a head
    write_seconds: float = 60.0  # that a client may leave its answer unread
    keep_alive_seconds: int = 15
    linger_seconds: float = 2.0  # for the rest of a body that was refused
    in_flight_bytes: int = 256 * 2**20  # of all bodies that are being read
    connections: int = 2048
    depth: int = 16  # of nested lists and objects
    values: int = 200_000  # in a body, so that a small text does not become gigabytes of objects
    text_characters: int = 65_536  # in all messages together
    answer_seconds: float = 600.0  # waiting in the queue included
    comment_seconds: float = 15.0  # of silence in a stream, after which a comment shows that it is alive


@dataclass(frozen=True)
class ServeOptions:
    """The server's options; the engine's own ones are in its EngineOptions."""

    host: str = "127.0.0.1"
    port: int = 8000
    model_name: str = "sphinx-v"
    keys: Keys = field(default_factory=Keys)
    urls: UrlRules = field(default_factory=UrlRules)
    limits: Limits = field(default_factory=Limits)
    drain_seconds: float = 30.0
    workers: int = 2  # threads that decode pictures and prepare questions
