"""Reads a judge's reply: two grades in its first line, or the letter of a choice; what is unclear is None, not a guess.

Grades may stand as `8 7`, `8, 7`, `8/10 7/10`, `Score: 8 and 7`, `**8 7**`, `A: 8, B: 7.5` and the like.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

LOWEST, HIGHEST = 1.0, 10.0

# Local servers hand out the thoughts of reasoning models as part of the text; an open one is a reply without an end.
_THOUGHTS = re.compile(r"^\s*<(think|thinking|reasoning)>.*?</\1>", re.S)
_OPEN_THOUGHT = re.compile(r"^\s*<(?:think|thinking|reasoning)>")
# A line of its own above the grades: ``` or "Here are the grades:".
_HEADING = re.compile(r"^(?:[^\d]*:\W*|`{3,}\w*)$")
_DECORATION = re.compile(r"[*_`#>~\"'“”]+")

# Numbers that are no grades. Names of the two answers become A and B, so that their order can be checked.
_WHO = r"(?:assistant|answer|response|reply|model|candidate)s?"
_BOTH = re.compile(
    rf"\b(?:{_WHO}\s*1\s*(?:and|&|,|/)\s*(?:{_WHO}\s*)?2|A\s*(?:and|&|,|/|\|)\s*(?:{_WHO}\s*)?B)\b", re.I
)
_FIRST, _SECOND = (re.compile(rf"\b{_WHO}\s*[#(]?\s*{name}\b\)?", re.I) for name in (1, 2))
_ONE_TO_TEN = r"1\s*(?:to|-|–)\s*10\b"
_SCALE = re.compile(
    rf"\b(?:on\s+)?(?:a\s+)?scale\s+(?:of|from)\s+{_ONE_TO_TEN}|\(\s*{_ONE_TO_TEN}\s*\)"
    r"|(?:/|\bout\s+of\b)\s*(?:10(?:\.0+)?(?![\d.]*\d)|ten\b)",
    re.I,
)
_PLACE = re.compile(r"<?\b(?:region|mark|point|box|object)s?\s*#?\s*\d+\b>?", re.I)

_LIST = re.compile(r"^1[.)]\s+")  # the first of two lines, so there is one grade in it

_NAME = re.compile(r"\b([AB])\b\)?\s*[:=]")
# A minus after a digit or a letter stands between two things: "8-7" is 8 and 7, but "-1 -1" is below the scale.
_NUMBER = re.compile(r"(?<![\w.])[-−]?\d+(?:\.\d+)?(?!\w|\.\d|%)")
# Words that may stand between the two. Others say that the second number is something else: "8 (for detail 9)".
_BETWEEN = {
    "a", "b", "and", "vs", "versus", "to", "is", "are", "gets", "get", "receives", "has", "for", "of", "the", "with",
    "while", "whereas", "first", "second", "one", "other", "in", "points", "assistant", "answer", "response",
    "reply", "model", "candidate", "reference", "score", "scores", "grade", "grades", "rating",
}  # fmt: skip
# What may follow two grades that open a line, when it has numbers of its own: prose, but no word that adds a third.
_PROSE = re.compile(r"^[\s.;:,)\]}(—–-]*(?!(?:and|or|to|vs|out|plus)\b)[^\W\d]", re.I)


def parse_grades(text: str, *, cut: bool = False) -> tuple[float, float] | None:
    """The two grades, of A and of B, each in [1, 10]; None where the first line says anything else.

    `cut`: the reply ended at its longest length; where it has only this line, the last number may lack a digit.
    """
    line, is_last = _first_line(text)
    if cut and is_last:
        return None
    line = _BOTH.sub(" ", _PLACE.sub(" ", _SCALE.sub(" ", _LIST.sub("", line))))
    line = _SECOND.sub("B", _FIRST.sub("A", line))
    if _NAME.findall(line)[:1] == ["B"]:
        return None  # another order than asked for
    found = list(_NUMBER.finditer(line))
    if len(found) < 2 or (len(found) > 2 and not _opens_with_two(line, found)):
        return None
    if not _BETWEEN.issuperset(re.findall(r"[^\W\d]+", line[found[0].end() : found[1].start()].lower())):
        return None
    first, second = (float(match[0].replace("−", "-")) for match in found[:2])
    within = all(LOWEST <= grade <= HIGHEST for grade in (first, second))
    return (first, second) if within else None


def _opens_with_two(line: str, found: Sequence[re.Match[str]]) -> bool:
    """Do two grades open the line, and does prose follow?"""
    before, after = line[: found[0].start()], line[found[1].end() :]
    return re.search(r"\w", before) is None and _PROSE.match(after) is not None


def _first_line(text: str) -> tuple[str, bool]:
    """The line that answers, without decoration, and whether the reply ends with it.

    Thoughts, empty lines, code fences and a heading without numbers are passed over.
    """
    text = _THOUGHTS.sub("", text)
    if _OPEN_THOUGHT.match(text):
        return "", True
    lines = [line for line in text.splitlines() if line.strip()]
    for number, line in enumerate(lines, start=1):
        bare = _DECORATION.sub(" ", line).strip()
        if bare and not _HEADING.match(bare):
            return bare, number == len(lines)
    return "", True


_CHOICE = re.compile(
    r"^\W*(?:(?:the|my|best|correct|final|answer|choice|option|is)\b[\s:=]*)*"
    r"\(?(?P<letter>[A-Za-z])(?:\)|\b)(?:[.):,\s–-]+(?P<rest>.*))?$",
    re.I,
)


def parse_choice(text: str, choices: Sequence[str]) -> int | None:
    """The index of the choice that a reply's first line names, by its letter, its text or both; None for anything else.

    A letter with the text of another choice is a contradiction, so None.
    """
    line, _ = _first_line(text)
    wanted = [_plain(choice) for choice in choices]
    said = _plain(line)
    if said in wanted:
        return wanted.index(said)
    match = _CHOICE.match(line)
    if match is None:
        return None
    index = ord(match["letter"].upper()) - ord("A")
    rest = _plain(match["rest"] or "")
    if index >= len(choices) or not (wanted[index].startswith(rest) or rest.startswith(wanted[index])):
        return None
    return index


def _plain(text: str) -> str:
    """For comparing: lower case, single spaces, no full stop at the end, no decoration."""
    return " ".join(_DECORATION.sub(" ", text).lower().split()).rstrip(".")
