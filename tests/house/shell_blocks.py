"""The commands in a Markdown file: its fenced bash blocks, cut into words."""

from __future__ import annotations

import re
import shlex
from typing import NamedTuple

FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w*)[^\n]*\n(?P<body>.*?)^(?P=indent)```", re.M | re.S)
HERE_DOCUMENT = re.compile(r"<<-?\s*(['\"]?)(\w+)\1")
ASSIGNMENT = re.compile(r"^[A-Za-z_]\w*=")
BETWEEN = {"&&", "||", ";", "|", "&", ";;"}
REDIRECT = {">", ">>", "<", "2>", "&>", ">&", "<<<"}


class Command(NamedTuple):
    """One simple command, without the assignments before it and the redirections after."""

    words: tuple[str, ...]
    line: int


def blocks(markdown: str, *languages: str) -> list[tuple[str, int]]:
    """The bodies of the fenced blocks in these languages, each with the line it starts on."""
    return [
        (match["body"], markdown.count("\n", 0, match.start("body")) + 1)
        for match in FENCE.finditer(markdown)
        if match["language"] in languages
    ]


def _logical_lines(body: str, first: int) -> list[tuple[str, int]]:
    """Lines with their continuations joined and the bodies of here-documents left out."""
    lines, joined, start, waiting_for = [], "", first, ""
    for number, line in enumerate(body.splitlines(), first):
        if waiting_for:
            waiting_for = "" if line.strip() == waiting_for else waiting_for
            continue
        start = start if joined else number
        joined += line
        if joined.endswith("\\"):
            joined = joined[:-1] + " "
            continue
        opened = HERE_DOCUMENT.search(joined)
        if opened:
            waiting_for, joined = opened[2], joined[: opened.start()]
        lines.append((joined, start))
        joined = ""
    return [*lines, (joined, start)] if joined.strip() else lines


def commands(markdown: str) -> list[Command]:
    """Every command of every bash block, in order.

    Raises ValueError with the line for what a shell could not read either (an open quote).
    """
    found: list[Command] = []
    for body, first in blocks(markdown, "bash", "sh", "shell"):
        for text, line in _logical_lines(body, first):
            lexer = shlex.shlex(text, posix=True, punctuation_chars=True)
            lexer.whitespace_split = True
            try:
                words = list(lexer)
            except ValueError as error:
                raise ValueError(f"line {line}: {error}: {text}") from error
            current: list[str] = []
            for word in [*words, ";"]:
                if word not in BETWEEN:
                    current.append(word)
                    continue
                simple = _without_shell_words(current)
                if simple:
                    found.append(Command(tuple(simple), line))
                current = []
    return found


def _without_shell_words(words: list[str]) -> list[str]:
    """Drops `A=1` in front and redirections with their files."""
    while words and ASSIGNMENT.match(words[0]):
        words = words[1:]
    kept: list[str] = []
    skip = False
    for word in words:
        if word in REDIRECT:
            skip = True
        elif skip:
            skip = False
        else:
            kept.append(word)
    return kept
