"""Marks in HTML: the badge of a mark's number, texts in which marks are named, and the tag of a marked picture."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from SPHINX_V.overlay import PALETTE, text_color
from SPHINX_V.prompts import Point, Prompt

# `<Region 2>` anywhere, and `Region 2:` at the beginning of a line, as some released files have it.
_TAG = re.compile(r"<(Region|Mark) (\d{1,9})>|^(Region|Mark) (\d{1,9})(?=:)", re.M)


@dataclass(frozen=True)
class PictureFile:
    """A picture beside the page: its address from the page, and its size in pixels."""

    address: str
    width: int
    height: int


def badge(number: int) -> str:
    """The number of a mark on a plate of its colour, as the overlay draws it."""
    colour = PALETTE[(number - 1) % len(PALETTE)]
    style = f"--plate:rgb{colour};--plate-ink:rgb{text_color(colour)}".replace(" ", "")
    return f'<span class="badge" style="{style}">{number}</span>'


def with_tags(text: str) -> str:
    """Escaped text in which `<Region 2>` and `<Mark 2>` stand with the badge of their mark."""
    parts, end = [], 0
    for match in _TAG.finditer(text):
        word, number = match[1] or match[3], match[2] or match[4]
        parts.append(escape(text[end : match.start()]))
        parts.append(f'<span class="tag">{word}&nbsp;{badge(int(number))}</span>')
        end = match.end()
    return "".join([*parts, escape(text[end:])]).replace("\n", "<br>")


def picture_tag(picture: PictureFile, prompts: Sequence[Prompt]) -> str:
    """The picture with what is marked on it in words, for those who cannot see it."""
    alt = escape(f"Picture with {in_words(prompts)}", quote=True)
    return (
        f'<img class="picture" src="{escape(picture.address, quote=True)}" alt="{alt}" width="{picture.width}" '
        f'height="{picture.height}" loading="lazy">'
    )


def in_words(prompts: Sequence[Prompt]) -> str:
    """ "2 numbered points", "1 numbered region", "no marks"."""
    if not prompts:
        return "no marks"
    points = all(isinstance(prompt, Point) for prompt in prompts)
    return f"{len(prompts)} numbered {'point' if points else 'region'}{'' if len(prompts) == 1 else 's'}"
