"""Answers as OpenAI's clients expect them: whole completions, and the chunks of a stream."""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from accessory.serve.errors import to_json
from SPHINX_V.generation.options import Answer, TokenLogprob

DONE = b"data: [DONE]\n\n"
_LEAST_LOGPROB = -9999.0  # OpenAI's word for "next to impossible"; JSON has no infinity
# "length" also where the server's time for an answer was over.
_REASONS = {"stop": "stop", "eos": "stop", "length": "length", "timeout": "length", "cancelled": "length"}


class Reply:
    """The fixed part of all that is said about one question. `warnings` are known before its answer is, so of a stream
    they stand in the first chunk; where there are none, so that nobody who knows OpenAI's form alone sees another one,
    there is no such field."""

    def __init__(self, model: str, with_logprobs: bool, with_usage: bool = False, warnings: Sequence[str] = ()) -> None:
        self.id = f"chatcmpl-{uuid.uuid4().hex}"
        self._head = {"id": self.id, "created": int(time.time()), "model": model}
        self._with_logprobs, self._with_usage = with_logprobs, with_usage
        self._warnings = {"warnings": list(warnings)} if warnings else {}

    def completion(self, answers: Sequence[Answer]) -> dict[str, Any]:
        choices = [
            {
                "index": index,
                "message": {"role": "assistant", "content": answer.text, "refusal": None},
                "logprobs": self._logprobs(answer.logprobs or ()),
                "finish_reason": _REASONS[answer.finish],
            }
            for index, answer in enumerate(answers)
        ]
        body = {**self._head, "object": "chat.completion", "choices": choices, "usage": usage(answers)}
        return {**body, **self._warnings}

    def first(self, choice: int) -> bytes:
        more = self._warnings if choice == 0 else {}
        return self._chunk(choice, {"role": "assistant", "content": ""}, more=more)

    def piece(self, choice: int, text: str, tokens: Sequence[TokenLogprob] = ()) -> bytes:
        return self._chunk(choice, {"content": text}, tokens)

    def last(self, choice: int, answer: Answer, tokens: Sequence[TokenLogprob] = ()) -> bytes:
        """`tokens` are those that no piece has shown."""
        return self._chunk(choice, {}, tokens, _REASONS[answer.finish])

    def total(self, answers: Sequence[Answer]) -> bytes:
        """The chunk with the usage, where it was asked for."""
        return self._event({"choices": [], "usage": usage(answers)}) if self._with_usage else b""

    def _chunk(
        self,
        choice: int,
        delta: dict[str, str],
        tokens: Sequence[TokenLogprob] = (),
        reason: str | None = None,
        more: Mapping[str, Any] | None = None,
    ) -> bytes:
        logprobs = self._logprobs(tokens) if tokens else None
        body = {"index": choice, "delta": delta, "logprobs": logprobs, "finish_reason": reason}
        return self._event({"choices": [body], **({"usage": None} if self._with_usage else {}), **(more or {})})

    def _event(self, body: dict[str, Any]) -> bytes:
        return b"data: %s\n\n" % to_json({**self._head, "object": "chat.completion.chunk", **body})

    def _logprobs(self, tokens: Sequence[TokenLogprob]) -> dict[str, Any] | None:
        if not self._with_logprobs:
            return None
        content = [
            {**_token(one.text, one.logprob), "top_logprobs": [_token(text, value) for _, text, value in one.top]}
            for one in tokens
        ]
        return {"content": content, "refusal": None}


def _token(text: str, logprob: float) -> dict[str, Any]:
    value = logprob if math.isfinite(logprob) else _LEAST_LOGPROB
    return {"token": text, "logprob": max(value, _LEAST_LOGPROB), "bytes": list(text.encode("utf-8", "replace"))}


def usage(answers: Sequence[Answer]) -> dict[str, Any]:
    """Tokens of a question, counted once, and of all its answers. The picture and its marks count as what they take up
    in the model's context."""
    prompt = answers[0].prompt_tokens
    completion = sum(len(answer.ids) for answer in answers)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": answers[0].cached_tokens},
    }
