"""The flags --box and --point of command lines that ask about marks, and the question where none is given."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from SPHINX_V.errors import UsageError
from SPHINX_V.prompts import Prompt, as_prompt, is_point

_FORMS = {"--box": ("x,y,w,h", 4), "--point": ("x,y", 2)}


class _Mark(argparse.Action):
    """Boxes and points join one list, in the order of the command line: that order is their number."""

    def __call__(self, parser: Any, namespace: argparse.Namespace, value: Any, option: str | None = None) -> None:
        form, size = _FORMS[str(option)]
        try:
            numbers = [float(part) for part in str(value).split(",")]
        except ValueError:
            numbers = []
        if len(numbers) != size:
            raise UsageError(f"{option} {value}: write {form} in pixels of the picture, with commas and no spaces.")
        namespace.prompts = [*namespace.prompts, as_prompt(numbers, f"{option} {value}")]


def add_mark_flags(parser: argparse.ArgumentParser) -> None:
    """The flags; their marks are `prompts` of the parsed options. Parsing raises UsageError for one that is wrong."""
    for flag, (form, _) in _FORMS.items():
        what = f"mark a {flag[2:]}, in pixels; may be repeated"
        parser.add_argument(flag, action=_Mark, dest="prompts", default=[], metavar=form.upper(), help=what)


def with_signs(argv: Sequence[str]) -> list[str]:
    """`--box -5,0,20,20` → `--box=-5,0,20,20`: argparse would take the value for an option."""
    joined: list[str] = []
    for word in argv:
        if joined and joined[-1] in _FORMS and word[:1] == "-" and word[1:2] in "0123456789.":
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined


def default_question(prompts: Sequence[Prompt]) -> str:
    """Asks for the labels of all marks, in the wording of the training data. Raises UsageError without marks."""
    if not prompts:
        raise UsageError("nothing is asked: give --question, or mark places with --box or --point.")
    word = "point" if is_point(prompts[0]) else "region"
    return f"Please identify the labels of each marked {word} in the image."
