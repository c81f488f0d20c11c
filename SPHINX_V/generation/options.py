"""What a request may ask of the engine, what it gets back, and the engine's own limits; all checked when made."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from SPHINX_V.errors import UsageError
from SPHINX_V.generation.sampling import Sampling, number, whole_number
from SPHINX_V.processing.conversation import STOP

Finish = Literal["stop", "eos", "length", "cancelled", "timeout"]
MOST_LOGPROBS = 20


@dataclass(frozen=True)
class Options:
    """How one request is answered: at most `max_gen_len` new tokens, ended sooner by EOS or by one of `stops`.

    An answer also ends where the model's context is full, and `timeout` seconds after it was asked for. `logprobs` n:
    with each token go its log-probability and the n likeliest tokens. `overflow` says what becomes of a conversation
    that does not fit into the context: "refuse" it, or "drop_turns", the oldest ones, until the rest fits.
    Raises UsageError for what is outside these limits.
    """

    max_gen_len: int = 512
    sampling: Sampling = field(default_factory=Sampling)
    stops: Sequence[str] = (STOP,)
    logprobs: int | None = None
    timeout: float | None = None
    overflow: str = "refuse"

    def __post_init__(self) -> None:
        object.__setattr__(self, "max_gen_len", whole_number(self.max_gen_len, "max_gen_len"))
        if self.max_gen_len < 1:
            raise UsageError(f"max_gen_len is {self.max_gen_len}; give at least 1 token.")
        # A text is a sequence of texts, too: each of its letters would end the answer.
        if isinstance(self.stops, str) or not isinstance(self.stops, Iterable):
            raise UsageError(f"stops is {self.stops!r}; give a list of texts, also for a single one: [{STOP!r}].")
        object.__setattr__(self, "stops", tuple(self.stops))
        for stop in self.stops:
            if not isinstance(stop, str) or not stop:
                raise UsageError(f"a stop string is {stop!r}; give a text of at least 1 character, or leave it out.")
        if self.logprobs is not None and not 0 <= whole_number(self.logprobs, "logprobs") <= MOST_LOGPROBS:
            raise UsageError(f"logprobs is {self.logprobs}; give 0 to {MOST_LOGPROBS} tokens, or None for none.")
        if self.timeout is not None:
            object.__setattr__(self, "timeout", number(self.timeout, "timeout"))
            if not (math.isfinite(self.timeout) and self.timeout > 0):
                raise UsageError(f"timeout is {self.timeout}; give seconds above 0, or None.")
        if self.overflow not in ("refuse", "drop_turns"):
            raise UsageError(f"overflow is {self.overflow!r}; give 'refuse' or 'drop_turns'.")


@dataclass(frozen=True)
class TokenLogprob:
    """A token of an answer with its natural log-probability, before temperature and top-p, and the likeliest tokens at
    its place as (id, text, log-probability), the likeliest first."""

    id: int
    text: str
    logprob: float
    top: tuple[tuple[int, str, float], ...] = ()


@dataclass(frozen=True)
class Answer:
    """The text of one request, its token ids (with those of the stop string or EOS) and why it ended.

    `prompt_tokens` counts picture, marks and text; `cached_tokens` of them were computed for an earlier request.
    `warnings` say what in the question is probably not meant.
    """

    text: str
    ids: tuple[int, ...]
    finish: Finish
    prompt_tokens: int = 0
    cached_tokens: int = 0
    logprobs: tuple[TokenLogprob, ...] | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class EngineOptions:
    """Limits of an engine. `max_rows` requests run at a time, fewer where memory is short; `max_len` positions each
    (default and most: the model's context); `max_waiting` more may wait. `prefix_bytes` and `picture_bytes` bound what
    is kept of prompts and encoded pictures (default of prompts: an eighth of the memory that an engine may take of a
    GPU, where one picture of the 13B is 1.2 GB; one conversation on a CPU, at least 512 MiB). The host looks at new
    tokens every `tokens_per_look` steps (default: 1 on a CPU, 8 on a GPU), so that it is not waited for in between;
    `cuda_graphs` False launches the parts of a step one by one on a GPU, as everywhere else. Raises UsageError for
    impossible ones.
    """

    max_rows: int = 64
    max_len: int | None = None
    max_waiting: int = 1024
    prefix_bytes: int | None = None
    picture_bytes: int = 128 * 2**20
    tokens_per_look: int | None = None
    cuda_graphs: bool = True

    def __post_init__(self) -> None:
        if self.tokens_per_look is not None and whole_number(self.tokens_per_look, "tokens_per_look") < 1:
            raise UsageError(f"tokens_per_look is {self.tokens_per_look}; give at least 1.")
        if self.prefix_bytes is not None and whole_number(self.prefix_bytes, "prefix_bytes") < 0:
            raise UsageError(f"prefix_bytes is {self.prefix_bytes}; give at least 0.")
        for name, least in (("max_rows", 1), ("max_waiting", 1), ("picture_bytes", 0)):
            if whole_number(getattr(self, name), name) < least:
                raise UsageError(f"{name} is {getattr(self, name)}; give at least {least}.")
        if self.max_len is not None and whole_number(self.max_len, "max_len") < 2:
            raise UsageError(f"max_len is {self.max_len}; give at least 2 positions.")


@dataclass(frozen=True)
class EngineStats:
    """Counts since an engine was made, and what it holds now."""

    rows: int
    running: int
    waiting: int
    finished: int
    failed: int
    tokens: int
    cache_bytes: int
    prefix_bytes: int
    prefix_hit_tokens: int
    picture_hits: int
    picture_misses: int
