"""One parser of region answers for all suites: a model's text → one answer per mark, and what is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

_NAME = r"(?:<[ \t]*(?:Region|Mark)[ \t]*(?P<tag>\d{1,4})[ \t]*>|(?:Region|Mark)[ \t]*(?P<word>\d{1,4}))"
_BOLD = r"(?:\*\*|__)?"
# At the beginning of a line, with or without a bullet or bold type around it.
_HEAD = re.compile(rf"^[ \t]*(?:[-*•][ \t]+)?{_BOLD}{_NAME}{_BOLD}[ \t]*[:：]{_BOLD}[ \t]*", re.M | re.I)
# Within a line: a name in angle brackets, or one after a separator. "The sign on Region 2: 'exit'" is neither.
_INLINE = re.compile(rf"(?:(?<=[\s,;|.])(?=<)|(?<=[,;|.])[ \t]+){_NAME}[ \t]*[:：][ \t]*", re.I)
_LISTED = re.compile(r"^[ \t]*(?:\*\*)?(?:\((?P<tag>\d{1,3})\)|(?P<word>\d{1,3})[.):])(?:\*\*)?[ \t]+(?=\S)", re.M)


@dataclass(frozen=True)
class RegionAnswers:
    """What an answer says of each mark.

    `answers`: mark number → text, one line. `missing`: expected marks without an answer; `repeated`: marks named again
    after they had an answer (the first counts); `invented`: numbers named that no mark has. `extra`: all that was said
    and is not in `answers`, line by line. `readable` is False for a text in which no line says which mark it is about.
    """

    answers: dict[int, str]
    missing: tuple[int, ...]
    repeated: tuple[int, ...]
    invented: tuple[int, ...]
    extra: str
    readable: bool


def parse_regions(text: str, marks: Collection[int] | None = None) -> RegionAnswers:
    """The answers in `text` to a question about `marks` (numbers from 1); None takes every number, as for a truth.

    Read as the beginning of an answer: `Region 1: …`, `<Region 1>: …`, `<Mark 1>: …` in any case, with bullets or bold
    type; further ones in a line, as in `Region 1: dog, Region 2: cat`; and where there is none of these and more than
    one mark, a numbered list (`1. …`, `1) …`, `(1) …`). An answer goes on over lines, up to an empty one. A text
    without any of these is the answer where there is one mark only. Never raises.
    """
    text = "\n".join(text.splitlines())
    single = marks is not None and len(marks) == 1
    heads = _heads(text, lists=not single)
    if not heads and single and text.strip():
        return RegionAnswers({number: _one_line(text) for number in marks or ()}, (), (), (), "", True)
    answers: dict[int, str] = {}
    repeated: dict[int, None] = {}
    invented: dict[int, None] = {}
    extra = [text[: heads[0][1]] if heads else text]
    for (number, start, end), (_, following, _) in zip(heads, [*heads[1:], (0, len(text), 0)]):
        said, rest = _first_paragraph(text[end:following])
        if following < len(text) and not text[:following].endswith("\n"):
            said = said.rstrip(" \t,;|")  # what separates it from the next one in the line
        if marks is not None and number not in marks:
            invented[number] = None
        elif number in answers:
            repeated[number] = None
        elif said:
            answers[number] = said
            said = ""
        if said:
            extra.append(f"{text[start:end].strip()} {said}")
        extra.append(rest)
    missing = tuple(number for number in sorted(marks or ()) if number not in answers)
    lines = [line.strip() for part in extra for line in part.split("\n")]
    return RegionAnswers(
        answers, missing, tuple(repeated), tuple(invented), "\n".join(filter(None, lines)), bool(heads)
    )


def _heads(text: str, lists: bool) -> list[tuple[int, int, int]]:
    """(mark number, start, end) of everything that opens an answer, in the order of the text."""
    found = {match.end(): match for match in _HEAD.finditer(text)}
    if found:
        first = min(match.start() for match in found.values())
        found |= {m.end(): m for m in _INLINE.finditer(text) if m.start() > first and m.end() not in found}
    elif lists:
        found = {match.end(): match for match in _LISTED.finditer(text)}
    return [(_number(match), match.start(), match.end()) for _, match in sorted(found.items())]


def _number(match: re.Match[str]) -> int:
    return int(match["tag"] or match["word"])


def _first_paragraph(text: str) -> tuple[str, str]:
    """The text up to the first empty line, as one line; and what comes after it. Empty lines in front do not count."""
    lines = text.split("\n")
    start = next((n for n, line in enumerate(lines) if line.strip()), len(lines))
    end = next((n for n in range(start, len(lines)) if not lines[n].strip()), len(lines))
    return " ".join(line.strip() for line in lines[start:end]), "\n".join(lines[end:])


def _one_line(text: str) -> str:
    return " ".join(line.strip() for line in text.split("\n") if line.strip())


def truth_by_mark(truth: str, marks: int) -> dict[int, str]:
    """The true answer of each mark: by its number where the truth names marks, else the whole truth for a single mark.

    Empty where the truth is about all marks together.
    """
    expected = parse_regions(truth).answers
    return expected or ({1: _one_line(truth)} if marks == 1 and truth.strip() else {})
