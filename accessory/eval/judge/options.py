"""Options of a judge, the same on the command line and in a run's YAML."""

from __future__ import annotations

import json
from typing import Any

from pydantic import Field, field_validator

from accessory.config import Options


class JudgeOptions(Options):
    """Who judges answers, how it is asked, and what it may cost."""

    model: str = Field(min_length=1, description="name of the judge, as its endpoint knows it")
    base_url: str = Field(
        default="https://api.openai.com/v1", description="address of an OpenAI-compatible endpoint, hosted or local"
    )
    key_env: str = Field(
        default="OPENAI_API_KEY",
        description="environment variable that holds the key; for a local server without keys it may hold any word",
    )
    request: dict[str, Any] = Field(
        default={"temperature": 0, "max_tokens": 1024},
        description="further fields of each request; they are part of the cache's key and of the prompt hash",
    )
    concurrency: int = Field(default=8, gt=0, le=256, description="requests under way at once")
    timeout: float = Field(default=120.0, gt=0, description="seconds of silence after which a request is given up")
    retries: int = Field(default=6, ge=0, description="further tries after 429, 5xx, a time-out or a broken connection")
    first_wait: float = Field(
        default=1.0, gt=0, description="seconds before the second try; doubles from try to try, with jitter"
    )
    longest_wait: float = Field(
        default=120.0, gt=0, description="most seconds between two tries; an endpoint that asks for more is given up"
    )
    max_side: int = Field(default=1536, ge=64, le=8192, description="pixels of the longer side of a picture sent")
    picture: bool = Field(default=True, description="show the judge the picture with its marks")
    cache: str | None = Field(
        default=None, description="file of all replies so far (default: judge_cache.jsonl beside the judgements)"
    )
    price_in: float | None = Field(default=None, ge=0, description="price of a million tokens sent")
    price_out: float | None = Field(default=None, ge=0, description="price of a million tokens received")

    @field_validator("base_url")
    @classmethod
    def _is_an_address(cls, value: str) -> str:
        if not value.startswith(("http://", "https://")):
            raise ValueError("an endpoint's address begins with http:// or https://, such as http://127.0.0.1:8000/v1")
        return value

    @field_validator("request")
    @classmethod
    def _is_ours_to_say(cls, value: dict[str, Any]) -> dict[str, Any]:
        fixed = sorted({"model", "messages", "stream", "n"} & set(value))
        if fixed:
            raise ValueError(f"{', '.join(fixed)} cannot be set: the protocol decides")
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ValueError(f"a field cannot be sent as JSON ({error})") from None
        return value
