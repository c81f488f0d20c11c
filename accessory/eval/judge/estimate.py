"""What a run would ask and cost, before anything is sent, and what it has cost afterwards."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from accessory.eval.judge.options import JudgeOptions
from accessory.eval.judge.request import JudgeRequest, Reply
from accessory.eval.judge.store import ReplyStore

_CHARACTERS_PER_TOKEN = 4  # English, within a fifth or so; other languages take more tokens
_REPLY_TOKENS = 250  # two grades and a paragraph of reasons


@dataclass(frozen=True)
class Estimate:
    """Requests that would be sent and those that are known already; tokens of the former."""

    requests: int
    known: int
    repeated: int  # equal to another request of this run
    pictures: int
    text_tokens: int
    picture_tokens: int
    reply_tokens: int
    sample: JudgeRequest | None  # the first that would be sent, else the first of all

    def cost(self, options: JudgeOptions) -> float | None:
        """In the unit of the prices; None where they are not given."""
        return _cost(self.text_tokens + self.picture_tokens, self.reply_tokens, options)

    def report(self, options: JudgeOptions) -> str:
        cost = self.cost(options)
        lines = [
            f"requests to send: {self.requests} ({self.pictures} with a picture);"
            f" known already: {self.known}; equal to another: {self.repeated}",
            f"tokens to send, about: {self.text_tokens + self.picture_tokens:,}"
            f" ({self.text_tokens:,} of text, {self.picture_tokens:,} of pictures)",
            f"tokens to receive, about: {self.reply_tokens:,}",
            "cost: give --price_in and --price_out (per million tokens)"
            if cost is None
            else f"cost, about: {cost:.2f}",
        ]
        return "".join(line + "\n" for line in lines)


def estimate(requests: Sequence[JudgeRequest], store: ReplyStore, options: JudgeOptions) -> Estimate:
    """Counts what `requests` would take. Text: four characters a token. Pictures: as `picture_tokens` says.

    Raises DataError for a picture that cannot be read and for a mark outside its picture.
    """
    keys = {request.key: request for request in requests}
    new = [request for key, request in keys.items() if store.get(key) is None]
    pictures = [request.picture for request in new if request.picture is not None]
    for picture in pictures:
        picture.check()
    sample = next(iter(new or requests), None)
    return Estimate(
        requests=len(new),
        known=len(keys) - len(new),
        repeated=len(requests) - len(keys),
        pictures=len(pictures),
        text_tokens=sum(math.ceil((len(one.system) + len(one.text)) / _CHARACTERS_PER_TOKEN) for one in new),
        picture_tokens=sum(picture_tokens(*picture.size()) for picture in pictures),
        reply_tokens=len(new) * _REPLY_TOKENS,
        sample=sample,
    )


def picture_tokens(width: int, height: int) -> int:
    """Tokens of a picture by OpenAI's published rule for GPT-4o at high detail; other judges differ, some twofold.

    The picture is fitted into 2048×2048, then its shorter side to at most 768; 85 tokens and 170 per tile of 512×512.
    """
    scale = min(1.0, 2048 / max(width, height))
    scale = min(scale, 768 / min(width, height))
    return 85 + 170 * math.ceil(width * scale / 512) * math.ceil(height * scale / 512)


def spent(replies: Sequence[Reply], options: JudgeOptions) -> str:
    """What this run has paid for, by the endpoint's own counts."""
    counted = [one for one in replies if one.input_tokens is not None and one.output_tokens is not None]
    sent, received = sum(one.input_tokens or 0 for one in counted), sum(one.output_tokens or 0 for one in counted)
    text = f"asked {len(replies)} times"
    if counted:
        text += f"; {sent:,} tokens sent, {received:,} received"
    if len(counted) < len(replies):
        text += f"; {len(replies) - len(counted)} replies came without counts"
    cost = _cost(sent, received, options)
    return text + ("" if cost is None or not counted else f"; cost {cost:.2f}")


def _cost(sent: int, received: int, options: JudgeOptions) -> float | None:
    if options.price_in is None or options.price_out is None:
        return None
    return (sent * options.price_in + received * options.price_out) / 1e6
