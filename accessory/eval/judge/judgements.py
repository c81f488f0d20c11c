"""Judgements: one JSON line per judged case, with who judged it, by which prompt, and what was replied."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

from accessory.eval.judge.request import Reply
from accessory.eval.judge.store import as_reply
from SPHINX_V.errors import DataError, UsageError


class Identity(NamedTuple):
    """Grades mean something only beside grades of the same identity."""

    judge: str
    protocol: str
    prompt_hash: str

    def __str__(self) -> str:
        return f"{self.judge} (protocol {self.protocol}, prompt {self.prompt_hash[:12]})"


@dataclass(frozen=True)
class Judgement:
    """One case, judged. `scores` is None where there is no score: `failure` then says why no reply came, and is None
    where replies came and could not be read."""

    question_id: int | str
    image_name: str
    dataset: str
    domain: str | None
    protocol: str
    judge: str
    prompt_hash: str
    scores: dict[str, float] | None
    unparsable: int
    failure: str | None
    replies: tuple[Reply, ...]

    @property
    def identity(self) -> Identity:
        return Identity(self.judge, self.protocol, self.prompt_hash)

    def line(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False) + "\n"


_FIELDS = {field.name for field in fields(Judgement)}


def read_judgements(path: Path) -> list[Judgement]:
    """The judgements of a file; half a line at its end, which a kill can leave, is no judgement.

    Raises DataError that names file and line for anything else that is not a judgement.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: the judgements cannot be read ({error}).") from None
    lines = text.split("\n")[:-1]
    return [_judgement(line, f"{path}, line {number}") for number, line in enumerate(lines, start=1)]


def _judgement(line: str, where: str) -> Judgement:
    try:
        value: Any = json.loads(line)
    except json.JSONDecodeError:
        value = None
    if not isinstance(value, dict) or set(value) != _FIELDS or not isinstance(value["replies"], list):
        raise DataError(f"{where}: is no judgement of ours; name another file.")
    replies = tuple(as_reply(reply, where) for reply in value["replies"])
    return Judgement(**{**value, "replies": replies})


def check_one_judge(identities: Iterable[Identity]) -> None:
    """Raises UsageError that names both where two judges, prompts or protocols meet."""
    different = list(dict.fromkeys(identities))
    if len(different) > 1:
        raise UsageError(
            f"judgements of {different[0]} and of {different[1]} do not mix: grades mean something only beside grades"
            " of the same judge and prompt. Give each a file of its own."
        )


def check_each_once(questions: Iterable[tuple[str, int | str]]) -> None:
    """Raises UsageError for a (dataset, question_id) that stands twice: it would count twice."""
    seen: set[tuple[str, str]] = set()
    for dataset, question_id in questions:
        key = (dataset, str(question_id))
        if key in seen:
            raise UsageError(f"question {question_id} of {dataset} is there twice; name each file once.")
        seen.add(key)
