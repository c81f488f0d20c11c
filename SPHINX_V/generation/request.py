"""One question as users write it: conversation, marks, picture and how to answer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from SPHINX_V.generation.options import Options
from SPHINX_V.generation.sampling import Sampling
from SPHINX_V.processing.conversation import STOP, as_turns
from SPHINX_V.prompts import as_prompts


@dataclass(frozen=True)
class Request:
    """One question; `turns`, `prompts` and `image` mean what `SPHINX_V_Model.generate_response` says, the rest what
    `Options` and `Sampling` say.

    Raises UsageError for fields that are wrong whatever the model and the picture.
    """

    turns: Iterable[Any]
    prompts: Iterable[Any] | None = None
    image: Any = None
    max_gen_len: int = 512
    temperature: float = 0.1
    top_p: float = 0.5
    seed: int = 0
    stops: Sequence[str] = (STOP,)
    top_k: int = 0
    repetition_penalty: float = 1.0
    logprobs: int | None = None
    timeout: float | None = None
    overflow: str = "refuse"

    def __post_init__(self) -> None:
        for name in ("turns", "prompts", "stops"):
            if isinstance(getattr(self, name), Iterator):  # which can be read once only
                object.__setattr__(self, name, list(getattr(self, name)))
        as_turns(self.turns)
        as_prompts(self.prompts)
        self.options()

    def options(self) -> Options:
        """How it is to be answered."""
        sampling = Sampling(self.temperature, self.top_p, self.seed, self.top_k, self.repetition_penalty)
        return Options(self.max_gen_len, sampling, self.stops, self.logprobs, self.timeout, self.overflow)
