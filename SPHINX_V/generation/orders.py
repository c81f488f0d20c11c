"""What the process that leads tells those that follow: typed orders, as bytes and back."""

from __future__ import annotations

import io
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeAlias

import torch

from SPHINX_V.generation.options import Finish, Options
from SPHINX_V.generation.prefix import PromptKey
from SPHINX_V.generation.prompt import PreparedPrompt
from SPHINX_V.generation.sampling import Sampling
from SPHINX_V.generation.weighing import Weighing
from SPHINX_V.inputs import PromptSlots


@dataclass(frozen=True)
class Round:
    """A round: which requests join the queue before it, with their numbers, and which end, and why."""

    arrived: tuple[tuple[int, PreparedPrompt, Options], ...] = ()
    ended: tuple[tuple[int, Finish], ...] = ()


@dataclass(frozen=True)
class Weigh:
    """Weigh texts in a spare row."""

    weighing: Weighing


@dataclass(frozen=True)
class Forget:
    """Drop what is kept of prompts and pictures."""


@dataclass(frozen=True)
class Idle:
    """There is nothing to do."""


@dataclass(frozen=True)
class Stop:
    """The lead ends."""


@dataclass(frozen=True)
class GiveUp:
    """The lead has failed."""

    reason: str


Order: TypeAlias = Round | Weigh | Forget | Idle | Stop | GiveUp


def to_bytes(order: Order) -> bytes:
    """A round in which nothing comes or goes, which is most of them, is no bytes."""
    if order == Round():
        return b""
    plain: dict[str, Any] = {"order": type(order).__name__}
    if isinstance(order, Round):
        plain["arrived"] = [(number, _prompt(prompt), _options(o)) for number, prompt, o in order.arrived]
        plain["ended"] = list(order.ended)
    elif isinstance(order, Weigh):
        plain |= {"common": _prompt(order.weighing.common), "texts": list(order.weighing.texts)}
    elif isinstance(order, GiveUp):
        plain["reason"] = order.reason
    buffer = io.BytesIO()
    torch.save(plain, buffer)
    return buffer.getvalue()


def from_bytes(message: bytes) -> Order:
    """The order that `to_bytes` was given."""
    if not message:
        return Round()
    plain = torch.load(io.BytesIO(message), weights_only=True)
    match plain["order"]:
        case "Round":
            arrived = tuple((number, _to_prompt(p), _to_options(o)) for number, p, o in plain["arrived"])
            return Round(arrived, tuple(plain["ended"]))
        case "Weigh":
            return Weigh(Weighing(_to_prompt(plain["common"]), tuple(plain["texts"])))
        case "Forget":
            return Forget()
        case "Idle":
            return Idle()
        case "GiveUp":
            return GiveUp(plain["reason"])
    return Stop()


def _prompt(prompt: PreparedPrompt) -> dict[str, Any]:
    slots = prompt.slots
    return {
        "key": asdict(prompt.key),
        "square": prompt.square,
        "slots": None if slots is None else (slots.coords, slots.is_point, slots.valid),
    }


def _to_prompt(plain: dict[str, Any]) -> PreparedPrompt:
    slots = None if plain["slots"] is None else PromptSlots(*plain["slots"])
    return PreparedPrompt(PromptKey(**plain["key"]), plain["square"], slots)


def _options(options: Options) -> dict[str, Any]:
    # Only who reads an answer needs its log-probabilities, and the clock is the leader's.
    return asdict(replace(options, logprobs=None, timeout=None))


def _to_options(plain: dict[str, Any]) -> Options:
    return Options(**{**plain, "sampling": Sampling(**plain["sampling"])})
