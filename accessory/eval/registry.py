"""The registry of suites: YAML that says where a benchmark's file and pictures lie, how it is asked and scored."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from accessory.config import Options, load_options
from accessory.eval.items import OnBadItem
from SPHINX_V.errors import ConfigError, DataError

Kind = Literal["labels", "ocr", "captions", "judged", "choices", "yes_no", "exact_regions", "exact_answer"]
Protocol = Literal["mdvp", "osprey80", "ferret", "dlc"]
Form = Literal["regions", "osprey", "pope", "vcr", "dlc"]


class SuiteEntry(Options):
    """One suite of a registry file."""

    kind: Kind = Field(description="how answers are scored: a class of accessory.eval.suites")
    file: str = Field(description="the benchmark's file, under the data root")
    images: str = Field(default=".", description="folder of its pictures, under the image root or the data root")
    max_new_tokens: int = Field(default=256, gt=0, description="longest answer in tokens")
    form: Form = Field(default="regions", description="form of the file: ours, or as its authors publish it")
    answers: str | None = Field(default=None, description="file of reference answers, where they stand apart")
    questions: str | None = Field(default=None, description="file of a judge's own questions (DLC-Bench)")
    names: str | None = Field(default=None, description="file of class names for a judge (DLC-Bench)")
    protocol: Protocol | None = Field(default=None, description="how a judge is asked; needed by kind judged")
    prompt: str = Field(default="{question}", description="how a question is put to the model")
    published: str = Field(default="", description="name in the table of published numbers")
    items: int | None = Field(default=None, gt=0, description="how many items the whole benchmark has")
    on_bad_item: OnBadItem = Field(
        default="refuse",
        description="an item that cannot be asked (a mark without area, a damaged picture): refuse, or count it as"
        " unanswered and name it in the report",
    )

    @model_validator(mode="after")
    def _judged_by_a_protocol(self) -> SuiteEntry:
        if (self.kind == "judged") != (self.protocol is not None):
            raise ValueError("kind judged needs a protocol, and no other kind has one")
        if self.protocol == "dlc" and (self.questions is None or self.names is None):
            raise ValueError("protocol dlc needs the judge's files: questions and names")
        return self

    @field_validator("prompt")
    @classmethod
    def _has_the_question(cls, value: str) -> str:
        if value.count("{question}") != 1:
            raise ValueError("prompt must hold {question} once")
        return value


class RegistryFile(Options):
    """A registry file: suites by name, and groups that stand for several of them."""

    suites: dict[str, SuiteEntry] = Field(min_length=1)
    groups: dict[str, list[str]] = Field(default_factory=dict)

    @field_validator("suites")
    @classmethod
    def _names_are_file_names(cls, value: dict[str, SuiteEntry]) -> dict[str, SuiteEntry]:
        for name in value:
            if not name.replace("_", "").replace("-", "").isalnum() or not name.isascii():
                raise ValueError(f"suite name {name!r} becomes a file name; use letters, digits, - and _")
        return value


@dataclass(frozen=True)
class Registry:
    """Suites and groups by name, with the file that each suite was read from."""

    suites: dict[str, SuiteEntry]
    groups: dict[str, list[str]]
    origins: dict[str, Path]

    def chosen(self, names: Sequence[str]) -> list[str]:
        """Names of suites and groups → names of suites, each once. Raises ConfigError with the nearest known name."""
        found: dict[str, None] = {}
        for name in names:
            if name not in self.suites and name not in self.groups:
                close = difflib.get_close_matches(name, [*self.suites, *self.groups], n=3, cutoff=0.4)
                hint = f"did you mean {' or '.join(close)}?" if close else f"known: {', '.join(sorted(self.suites))}."
                raise ConfigError(f"there is no suite {name}; {hint}")
            found |= dict.fromkeys(self.groups.get(name, [name]))
        return list(found)


def read_registry(extra: Sequence[Path] = ()) -> Registry:
    """Our own suites and those of further registry files; a later file may redefine a suite of an earlier one.

    Raises ConfigError for a wrong file and for a group that names an unknown suite.
    """
    folder = Path(str(resources.files("accessory"))) / "configs" / "eval"
    registry = Registry({}, {}, {})
    for path in (*sorted(folder.glob("*.yaml")), *extra):
        read = load_options(RegistryFile, path)
        registry.suites.update(read.suites)
        registry.groups.update(read.groups)
        registry.origins.update(dict.fromkeys(read.suites, path))
        for group, members in read.groups.items():
            unknown = [member for member in members if member not in registry.suites]
            if unknown or group in registry.suites:
                what = f"unknown suites {', '.join(unknown)}" if unknown else "the name of a suite"
                raise ConfigError(f"{path}: group {group} has {what}.")
    return registry


@dataclass(frozen=True)
class Roots:
    """Where files and pictures of the suites lie."""

    data: Path
    images: Path

    def has(self, name: str) -> bool:
        return self._find(name) is not None

    def file(self, name: str) -> Path:
        """`name` under the data root, or lying in it without its folders. Raises DataError naming both places."""
        found = self._find(name)
        if found is None:
            raise DataError(
                f"data root {self.data}: has neither {name} nor {Path(name).name}; give the folder that has it"
                " (--data_root)."
            )
        return found

    def _find(self, name: str) -> Path | None:
        return next((path for path in (self.data / name, self.data / Path(name).name) if path.is_file()), None)

    def folder(self, name: str) -> Path:
        """The folder `name` under the image root or the data root, or where there is none the image root itself."""
        if not self.images.is_dir():
            raise DataError(f"image root {self.images}: no such folder; give --image_root.")
        found = (path for path in (self.images / name, self.data / name) if path.is_dir())
        return next(found, self.images)
