"""Messages → a conversation as the model knows it: turns, one picture, marks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from accessory.serve.errors import ApiError
from accessory.serve.schema import ChatRequest, ImagePart, MarkPart, Message, TextPart

Turn = tuple[str, str | None]


@dataclass(frozen=True)
class Conversation:
    """`turns` end with the open one; `picture` is an address as it was sent; `marks` are not looked at yet."""

    turns: tuple[Turn, ...]
    picture: str | None
    marks: tuple[Any, ...]


def read_messages(asked: ChatRequest, most_characters: int) -> Conversation:
    """The conversation in a question's messages.

    The model's template has a system text of its own, which it was trained with; what a client sends as system or
    developer message stands in front of the first question instead, on lines of its own. Messages of the user that
    follow each other are one question. The picture may stand in any of the user's messages, and is seen in all turns.
    Raises ApiError for a second picture, marks before the picture, and turns that do not alternate.
    """
    characters = sum(len(text) for message in asked.messages for text in _texts(message))
    if characters > most_characters:
        raise ApiError(
            f"the messages have {characters} characters, the limit is {most_characters}; ask a shorter question.",
            param="messages",
            code="text_too_long",
        )
    picture, marks = _picture_and_marks(asked)
    return Conversation(_turns(asked.messages), picture, marks)


def _texts(message: Message) -> list[str]:
    if isinstance(message.content, str):
        return [message.content]
    return [part.text for part in message.content if isinstance(part, TextPart)]


def _turns(messages: list[Message]) -> tuple[Turn, ...]:
    turns: list[Turn] = []
    before: list[str] = []  # texts that the next question begins with
    question: list[str] | None = None
    for number, message in enumerate(messages):
        text = "\n".join(_texts(message))
        if message.role in ("system", "developer"):
            if turns or question is not None:
                raise _wrong(number, f"a {message.role} message comes after a question; put it first")
            before += [text] if text.strip() else []
        elif message.role == "user":
            question = [*(before if question is None else question), *([text] if text else [])]
            before = []
        elif question is None:
            raise _wrong(number, "an answer without a question before it; begin with the user's message")
        else:
            turns.append(("\n".join(question), text))
            question = None
    if question is None:
        raise _wrong(len(messages) - 1, "the last message is not the user's; end with the question to be answered")
    return (*turns, ("\n".join(question), None))


def _picture_and_marks(asked: ChatRequest) -> tuple[str | None, tuple[Any, ...]]:
    picture: str | None = None
    marks: list[Any] = []
    for number, message in enumerate(asked.messages):
        for part in () if isinstance(message.content, str) else message.content:
            if isinstance(part, TextPart):
                continue
            if message.role != "user":
                raise _wrong(number, f"a picture or mark in a message of the {message.role}; put it into the user's")
            if isinstance(part, ImagePart):
                if picture is not None:
                    raise _wrong(
                        number,
                        "a second picture; the model sees one picture in a conversation, so ask about the other one in"
                        " a conversation of its own",
                        code="too_many_pictures",
                    )
                picture = part.image_url.url
            elif isinstance(part, MarkPart):
                if picture is None:
                    raise _wrong(number, "a mark before the picture; a mark belongs to the picture before it")
                marks.append(part.visual_prompt)
    if asked.visual_prompts is None:
        return picture, tuple(marks)
    if marks:
        raise ApiError(
            f"{len(marks)} marks are in the messages and {len(asked.visual_prompts)} in visual_prompts; give all"
            " of them in one place.",
            param="visual_prompts",
        )
    if picture is None and asked.visual_prompts:
        raise ApiError(
            "visual_prompts mark places in a picture, and the messages have none; add a part of type image_url.",
            param="visual_prompts",
        )
    return picture, tuple(asked.visual_prompts)


def _wrong(number: int, what: str, code: str | None = None) -> ApiError:
    return ApiError(f"message {number + 1}: {what}.", param=f"messages[{number}]", code=code)
