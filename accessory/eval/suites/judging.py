"""What suites ask of a judge: the seam to accessory.eval.judge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from SPHINX_V.prompts import Prompt


@dataclass(frozen=True)
class RatingRequest:
    """A question with two answers to be rated from 1 to 10, about marks (pixels) on a picture."""

    key: str
    picture: Path
    prompts: tuple[Prompt, ...]
    domain: str
    question: str
    reference: str
    answer: str


@dataclass(frozen=True)
class Rating:
    """Ratings of the reference and of the model's answer; None, with the reason, where the judge gave none."""

    reference: float | None
    answer: float | None
    fault: str = ""


@dataclass(frozen=True)
class ChoiceRequest:
    """A multiple-choice question about a description, without a picture."""

    key: str
    description: str
    question: str
    choices: tuple[str, ...]


class Judge(Protocol):
    """A judge, known by its name and by a hash of how it is asked: scores of different judges are never compared."""

    @property
    def name(self) -> str: ...

    @property
    def prompt_hash(self) -> str: ...

    def rate(self, requests: Sequence[RatingRequest]) -> list[Rating]: ...

    def choose(self, requests: Sequence[ChoiceRequest]) -> list[int | None]:
        """The place of the chosen answer of each question, None where the reply chooses none."""
        ...
