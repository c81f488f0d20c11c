"""Numbers that papers print, by suite and metric."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from pydantic import Field

from accessory.config import Options, load_options

OURS = "SPHINX-V 13B"


class Number(Options):
    """One number of a paper's table, on the paper's scale."""

    suite: str
    metric: str
    model: str
    value: float
    note: str = ""


class _File(Options):
    sources: str
    numbers: list[Number] = Field(min_length=1)


@dataclass(frozen=True)
class Published:
    """The table of published numbers."""

    sources: str
    numbers: tuple[Number, ...]

    def of(self, suite: str, metric: str) -> tuple[Number, ...]:
        """SPHINX-V's own number first, then the others, the best first; nothing for a suite without a name here."""
        found = [number for number in self.numbers if suite and (number.suite, number.metric) == (suite, metric)]
        return tuple(sorted(found, key=lambda number: (number.model != OURS, -number.value)))


def read_published() -> Published:
    path = Path(str(resources.files("accessory.eval"))) / "published.yaml"
    read = load_options(_File, path)
    return Published(read.sources, tuple(read.numbers))
