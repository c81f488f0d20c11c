"""What a question looks like on the wire: OpenAI's chat completions, with marks as one more kind of content part."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, WithJsonSchema, model_validator

from accessory.serve.errors import ApiError
from SPHINX_V.generation.options import MOST_LOGPROBS
from SPHINX_V.generation.request import Request

MOST_CHOICES = 8
MOST_MESSAGES = 256
MOST_PARTS = 64
MOST_STOPS = 4
MOST_STOP_CHARACTERS = 256
_SHOWN = 60

# Parameters that change no answer: taken and left at that.
IGNORED = (
    "user",
    "metadata",
    "store",
    "service_tier",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "parallel_tool_calls",
)
# Parameters that would change the answer and that this server does not have, with the values that say "without it".
REFUSED: dict[str, tuple[Any, ...]] = {
    "audio": (),
    "best_of": (1,),
    "frequency_penalty": (0,),
    "function_call": ("none", "auto"),
    "functions": ([],),
    "logit_bias": ({},),
    "min_p": (0,),
    "modalities": (["text"],),
    "prediction": (),
    "presence_penalty": (0,),
    "reasoning_effort": ("none",),
    "response_format": ({"type": "text"},),
    "tool_choice": ("none", "auto"),
    "tools": ([],),
    "verbosity": ("medium",),
    "web_search_options": (),
}

MARK_SCHEMA: dict[str, Any] = {
    "type": "object",
    "title": "Mark",
    "description": "A place in the picture before it: [x, y] of a point, [x0, y0, x1, y1] of a box, [[x, y], …] along a"
    " scribble or around a mask; pixels of the picture as displayed, or fractions of its width and height.",
    "properties": {
        "kind": {"enum": ["point", "box", "scribble", "mask"]},
        "coords": {"type": "array"},
        "units": {"enum": ["px", "norm"], "default": "px"},
        "id": {"type": "integer", "minimum": 1, "description": "its number among all marks: 1, 2, … in order"},
    },
    "required": ["kind", "coords"],
    "additionalProperties": False,
}
# Checked with the picture at hand, by marks.parse_marks.
Mark = Annotated[Any, WithJsonSchema(MARK_SCHEMA)]


class _Strict(BaseModel):
    """Types as JSON has them, no unknown fields; a field that is null is a field left out."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, value: Any) -> Any:
        return {k: v for k, v in value.items() if v is not None} if isinstance(value, dict) else value


class TextPart(_Strict):
    type: Literal["text"]
    text: str


class ImageUrl(_Strict):
    url: str = Field(description="data:image/png;base64,… (also jpeg, webp), or an address that the server may fetch")
    detail: Literal["auto", "low", "high"] | None = Field(None, description="without effect: there is one resolution")


class ImagePart(_Strict):
    type: Literal["image_url"]
    image_url: ImageUrl


class MarkPart(_Strict):
    type: Literal["visual_prompt"]
    visual_prompt: Mark


Part = Annotated[TextPart | ImagePart | MarkPart, Field(discriminator="type")]


class Message(_Strict):
    role: Literal["system", "developer", "user", "assistant"]
    content: str | Annotated[list[Part], Field(min_length=1, max_length=MOST_PARTS)]
    name: str | None = Field(None, description="without effect")

    @model_validator(mode="before")
    @classmethod
    def _as_it_was_answered(cls, value: Any) -> Any:
        """An answer's message may be sent back as it came, with its fields that hold nothing."""
        if not isinstance(value, dict):
            return value
        empty = ("refusal", "annotations", "audio", "function_call", "tool_calls", "reasoning_content")
        return {k: v for k, v in value.items() if not (k in empty and v in (None, [], ""))}


class StreamOptions(_Strict):
    include_usage: bool = False
    include_obfuscation: bool = Field(False, description="without effect")


class ChatRequest(_Strict):
    """A question about one picture, or about none. Defaults are those of the model's other doors."""

    model: str | None = Field(None, max_length=256, description="the name that /v1/models gives")
    messages: list[Message] = Field(min_length=1, max_length=MOST_MESSAGES)
    visual_prompts: list[Mark] | None = Field(None, description="all marks, instead of parts of type visual_prompt")
    max_tokens: int | None = Field(None, ge=1, description="longest answer; default 512")
    max_completion_tokens: int | None = Field(None, ge=1, description="another name of max_tokens")
    temperature: float = Field(Request.temperature, ge=0, le=2)
    top_p: float = Field(Request.top_p, ge=0, le=1)
    top_k: int = Field(Request.top_k, ge=0, le=2**31 - 1, description="0: all tokens")
    repetition_penalty: float = Field(Request.repetition_penalty, ge=0.1, le=10)
    seed: int = Field(Request.seed, ge=0, le=2**63 - 1, description="choice i is drawn with seed + i")
    n: int = Field(1, ge=1, le=MOST_CHOICES)
    stop: (
        Annotated[str, Field(min_length=1, max_length=MOST_STOP_CHARACTERS)]
        | Annotated[
            list[Annotated[str, Field(min_length=1, max_length=MOST_STOP_CHARACTERS)]], Field(max_length=MOST_STOPS)
        ]
        | None
    ) = None
    stream: bool = False
    stream_options: StreamOptions | None = None
    logprobs: bool = False
    top_logprobs: int | None = Field(None, ge=0, le=MOST_LOGPROBS)

    @property
    def longest(self) -> int:
        """The longest answer in tokens."""
        return self.max_completion_tokens or self.max_tokens or Request.max_gen_len

    @property
    def stops(self) -> list[str]:
        return [self.stop] if isinstance(self.stop, str) else list(self.stop or ())


def read_request(value: Mapping[str, Any]) -> ChatRequest:
    """The question in a parsed body. Raises ApiError with the field's name in `param`."""
    known = {name: found for name, found in value.items() if name not in IGNORED}
    for name in [name for name in known if name in REFUSED]:
        found = known.pop(name)
        if found is not None and not any(type(found) is type(free) and found == free for free in _free(name)):
            raise ApiError(
                f"{name} is {_short(found)}, which this server does not have and would change the answer;"
                f" leave {name} out.",
                param=name,
                code="unsupported_parameter",
            )
    for name in known:
        if name not in ChatRequest.model_fields:
            near = difflib.get_close_matches(name[:64], ChatRequest.model_fields, 1)
            hint = f"did you mean {near[0]}?" if near else "leave it out."
            raise ApiError(f"{_short(name)} is no parameter; {hint}", param=name[:64], code="unknown_parameter")
    try:
        asked = ChatRequest.model_validate(known)
    except ValidationError as error:
        raise _first_of(error) from None
    if asked.top_logprobs is not None and not asked.logprobs:
        raise ApiError("top_logprobs needs logprobs: true; add it, or leave top_logprobs out.", param="top_logprobs")
    if asked.stream_options is not None and not asked.stream:
        raise ApiError("stream_options needs stream: true; add it, or leave it out.", param="stream_options")
    if asked.max_tokens and asked.max_completion_tokens and asked.max_tokens != asked.max_completion_tokens:
        raise ApiError("max_tokens and max_completion_tokens differ; give one of them.", param="max_tokens")
    return asked


def _free(name: str) -> list[Any]:
    return [free for value in REFUSED[name] for free in ((value, float(value)) if value == 0 else (value,))]


def _first_of(error: ValidationError) -> ApiError:
    """The complaint that lies deepest: of a choice of forms, it is about the one that was meant."""
    found = max(error.errors(include_url=False, include_context=False), key=lambda one: len(one["loc"]))
    names = [part for part, before in zip(found["loc"], (None, *found["loc"])) if not _is_a_form(part, before)]
    where = "".join(f"[{part}]" if isinstance(part, int) else f".{str(part)[:64]}" for part in names).lstrip(".")
    message = found["msg"][:300]
    return ApiError(f"{where}: {message}; got {_short(found['input'])}.", param=where or None, code="invalid_value")


def _is_a_form(part: int | str, before: int | str | None) -> bool:
    """pydantic names the form that it tried between the fields: `list[…]` or, after a part's number, its type."""
    if isinstance(part, int):
        return False
    if part in ("text", "image_url", "visual_prompt"):
        return isinstance(before, int)
    return part in ("str", "constrained-str") or "[" in part


def _short(value: Any) -> str:
    """A value as an error shows it, of bounded length and cost."""
    if isinstance(value, (list, dict)):
        return f"{'a list' if isinstance(value, list) else 'an object'} of {len(value)}"
    if isinstance(value, int) and not -(10**18) < value < 10**18:
        return "a number of many digits"
    text = repr(value[:_SHOWN] if isinstance(value, str) else value)
    return text if len(text) <= _SHOWN + 2 else f"{text[:_SHOWN]}…"
