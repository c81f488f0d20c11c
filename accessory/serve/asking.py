"""A question as it came → requests of the engine: pictures decoded, marks in pixels, one request for each choice."""

from __future__ import annotations

from PIL import Image

from accessory.serve.errors import ApiError
from accessory.serve.marks import parse_marks
from accessory.serve.messages import Conversation
from accessory.serve.pictures import picture_from_bytes, picture_from_data_uri
from accessory.serve.schema import ChatRequest
from SPHINX_V.errors import SphinxVError
from SPHINX_V.generation.engine import Engine
from SPHINX_V.generation.job import AnswerStream
from SPHINX_V.generation.request import Request
from SPHINX_V.processing.conversation import STOP
from SPHINX_V.prompts import Box, Prompt


def is_address(picture: str | None) -> bool:
    """Must the picture be fetched?"""
    return picture is not None and picture[:5].lower() != "data:"


def requests_of(
    asked: ChatRequest, conversation: Conversation, fetched: bytes | None, slots: int, seconds: float
) -> list[Request]:
    """The requests of a question's choices; `fetched` are the bytes of a picture that came as an address.

    Without marks, a picture with transparent places is a picture with one region: where alpha is above 0, as the server
    of the Describe Anything Model has it. With marks, its alpha does not count.
    Raises UsageError and DataError.
    """
    picture, prompts = _picture_and_prompts(conversation, fetched, slots)
    return [
        Request(
            conversation.turns,
            prompts,
            picture,
            max_gen_len=asked.longest,
            temperature=asked.temperature,
            top_p=asked.top_p,
            seed=asked.seed + choice,
            stops=(*asked.stops, STOP),
            top_k=asked.top_k,
            repetition_penalty=asked.repetition_penalty,
            logprobs=(asked.top_logprobs or 0) if asked.logprobs else None,
            timeout=seconds,
        )
        for choice in range(asked.n)
    ]


def _picture_and_prompts(
    conversation: Conversation, fetched: bytes | None, slots: int
) -> tuple[Image.Image | None, tuple[Prompt, ...]]:
    if conversation.picture is None:
        return None, ()
    try:
        if fetched is None:
            picture = picture_from_data_uri(conversation.picture)
        else:
            picture = picture_from_bytes(fetched)
    except SphinxVError as error:
        raise ApiError(str(error), param="messages", code="invalid_picture") from None
    try:
        if conversation.marks:
            prompts = parse_marks(conversation.marks, picture.size, slots)
        else:
            prompts = _region_of_alpha(picture)
    except SphinxVError as error:
        raise ApiError(str(error), param="visual_prompts", code="invalid_mark") from None
    return picture.convert("RGB"), prompts


def _region_of_alpha(picture: Image.Image) -> tuple[Prompt, ...]:
    if picture.mode != "RGBA":
        return ()
    alpha = picture.getchannel("A")
    if alpha.getextrema()[0] != 0:  # the whole picture, as of one that has no alpha
        return ()
    around = alpha.getbbox()
    if around is None:
        raise ApiError("the picture's alpha is 0 everywhere, so it marks no region; mark one, or send it as RGB.")
    return (Box(*map(float, around)),)


def submit_all(engine: Engine, requests: list[Request]) -> list[AnswerStream]:
    """The streams of all requests, or of none. Blocks while the picture is made ready. Raises as `Engine.submit`."""
    streams: list[AnswerStream] = []
    try:
        for request in requests:
            streams.append(engine.submit(request))
    except SphinxVError:
        for stream in streams:
            stream.cancel()
        raise
    return streams
