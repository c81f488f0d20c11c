"""Two short texts compared: exact match, edit distance, the word overlap called semantic IoU."""

from __future__ import annotations

import re


def same_text(one: str, other: str) -> bool:
    """Equal up to case, outer space and a final full stop."""
    return one.strip().rstrip(".").lower() == other.strip().rstrip(".").lower()


def edit_distance(one: str, other: str) -> int:
    """Fewest insertions, deletions and replacements of a character (Levenshtein 1966)."""
    if len(one) < len(other):
        one, other = other, one
    row = list(range(len(other) + 1))
    for number, character in enumerate(one, start=1):
        diagonal, row[0] = row[0], number
        for place, against in enumerate(other, start=1):
            diagonal, row[place] = (
                row[place],
                min(row[place] + 1, row[place - 1] + 1, diagonal + (character != against)),
            )
    return row[-1]


def normalised_distance(one: str, other: str) -> float:
    """The edit distance over the longer length: 0 for equal texts, 1 for texts with nothing in common."""
    longer = max(len(one), len(other))
    return edit_distance(one, other) / longer if longer else 0.0


def semantic_iou(one: str, other: str) -> float:
    """|common words| / |all words| of two lower-cased texts, as sets of what white space separates.

    The measure of Osprey (arXiv 2312.10032) and of the papers after it. 0 where both are empty.
    """
    left, right = set(one.lower().split()), set(other.lower().split())
    return len(left & right) / len(left | right) if left | right else 0.0


def plain_label(text: str) -> str:
    """A true label as the papers read it: `_` and `:` are spaces (`baseball_base`, `car_(automobile)`)."""
    return text.replace("_", " ").replace(":", " ")


_IN_PARENTHESES = re.compile(r"^\S.*?\s*\((?P<text>.+)\)$")


def spotted_text(answer: str) -> str:
    """The text of an OCR answer: of `word (EXIT)` what stands in the parentheses, else the whole answer."""
    match = _IN_PARENTHESES.match(answer.strip())
    return match["text"].strip() if match else answer.strip()
