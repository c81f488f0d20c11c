"""What a judge is asked and what it replies, each with the key that makes equal questions equal."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from accessory.eval.judge.painting import PaintedPicture


def digest_of(value: Any) -> str:
    """SHA-256 of plain values, the same for the same values in every run and on every machine."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


@dataclass(frozen=True)
class JudgeRequest:
    """One question to a judge: two texts, perhaps a picture, and further fields such as the temperature.

    The address is no part of it: a reply of a judge is the same reply wherever the judge runs.
    """

    judge: str
    system: str
    text: str
    picture: PaintedPicture | None
    fields: Mapping[str, Any]

    @functools.cached_property
    def key(self) -> str:
        """Equal for requests that a judge could not tell apart; raises DataError where the picture cannot be read."""
        picture = None if self.picture is None else self.picture.digest
        return digest_of([self.judge, dict(self.fields), self.system, self.text, picture])

    def messages(self) -> list[dict[str, Any]]:
        """The messages of the chat-completions protocol; the picture, if any, is painted and encoded here."""
        content: list[dict[str, Any]] = [{"type": "text", "text": self.text}]
        if self.picture is not None:
            # "high": endpoints that know the field look at the picture in tiles, without it numbers blur.
            content.append({"type": "image_url", "image_url": {"url": self.picture.data_url(), "detail": "high"}})
        return [
            {"role": "system", "content": self.system},
            # Some local servers take a list of parts only where there is a picture.
            {"role": "user", "content": content if self.picture is not None else self.text},
        ]


@dataclass(frozen=True)
class Reply:
    """What came back for the request of this key. Token counts are the endpoint's own, None where it gives none."""

    key: str
    text: str
    finish_reason: str | None
    served_by: str  # the judge's full name as the endpoint says it, such as a dated version
    input_tokens: int | None
    output_tokens: int | None

    @property
    def cut(self) -> bool:
        """Did the reply end because it had reached its longest length?"""
        return self.finish_reason == "length"
