"""A question as the page sends it → the engine's request, and the answer as the page is shown it, piece by piece."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Mapping
from typing import Any

from accessory.demos.session import Session
from accessory.serve.marks import parse_marks
from SPHINX_V.errors import AnswerError, SphinxVError, UsageError
from SPHINX_V.generation.engine import Engine
from SPHINX_V.generation.job import AnswerStream
from SPHINX_V.generation.request import Request

MOST_CHARACTERS = 200_000  # of a conversation, which no model's context holds
SETTINGS = ("temperature", "top_p", "top_k", "repetition_penalty", "max_gen_len", "seed")
_LOOK = 0.25  # seconds between two looks at the place in the queue
_FRAME = 0.04  # seconds between two states, which no eye needs to be shorter

State = dict[str, Any]


def read_request(value: Any, session: Session, slots: int) -> Request:
    """`{"turns": [[question, answer], …, [question, null]], "picture": name or null, "marks": […], "settings": {…}}`.

    Raises UsageError for another form, LostError where the picture is not the one that the session has.
    """
    if not isinstance(value, Mapping):
        raise UsageError("the question is no object; reload the page.")
    turns, settings = value.get("turns"), value.get("settings")
    if not isinstance(turns, list) or not isinstance(settings, Mapping):
        raise UsageError("the question lacks turns or settings; reload the page.")
    characters = sum(len(str(text)) for turn in turns if isinstance(turn, list) for text in turn)
    if characters > MOST_CHARACTERS:
        raise UsageError(f"the conversation has {characters} characters, the limit is {MOST_CHARACTERS}; start anew.")
    unknown = [name for name in settings if name not in SETTINGS]
    if unknown:
        raise UsageError(f"there is no setting {str(unknown[0])[:40]!r}; there are {', '.join(SETTINGS)}.")
    picture, prompts = None, None
    if value.get("picture") is not None:
        picture = session.picture_of(value["picture"])
        prompts = parse_marks(value.get("marks"), picture.size, slots)
    elif value.get("marks"):
        raise UsageError("marks without a picture; open the picture again.")
    return Request(turns, prompts, picture, **settings)


async def answer_states(engine: Engine, request: Request, session: Session) -> AsyncIterator[State]:
    """What the page is shown, each state complete in itself: `{"place": n}` while the question waits, `{"text": …}` so
    far, at last `{"text", "done": true, "finish", "tokens"}`. Each has `"warnings"`: what in the question is probably
    not meant, a sentence each. Leaving it early ends the answer.

    Raises errors of our family. One answer is written per session: an earlier one ends.
    """
    session.stop()
    stream = await asyncio.to_thread(engine.submit, request)
    session.stream = stream
    pieces: asyncio.Queue[str | SphinxVError | None] = asyncio.Queue()
    # A thread of its own: many may wait, and what they wait in must not be the pool that everything else runs in.
    reader = threading.Thread(target=_read, args=(stream, asyncio.get_running_loop(), pieces), daemon=True)
    reader.start()
    text, place = "", None
    told = {"warnings": list(stream.warnings)}
    try:
        yield {"text": "", **told}
        while True:
            try:
                piece = await asyncio.wait_for(pieces.get(), _LOOK)
            except asyncio.TimeoutError:
                if stream.place != place:
                    place = stream.place
                    yield {"text": text, **told} if place is None else {"place": place, **told}
                continue
            while isinstance(piece, str):  # all that is there in one state
                text += piece
                piece = pieces.get_nowait() if not pieces.empty() else ""
                if piece == "":
                    break
            if isinstance(piece, SphinxVError):
                raise piece
            if piece is None:
                break
            yield {"text": text, **told}
            await asyncio.sleep(_FRAME)
        answer = stream.answer()
        yield {"text": answer.text, "done": True, "finish": answer.finish, "tokens": len(answer.ids), **told}
    finally:
        stream.cancel()
        if session.stream is stream:
            session.stream = None


def _read(
    stream: AnswerStream, loop: asyncio.AbstractEventLoop, pieces: asyncio.Queue[str | SphinxVError | None]
) -> None:
    end: SphinxVError | None = AnswerError("the engine failed while this was answered; its log says why.")
    try:
        for piece in stream:
            loop.call_soon_threadsafe(pieces.put_nowait, piece)
        end = None
    except SphinxVError as error:
        end = error
    finally:
        if not loop.is_closed():
            loop.call_soon_threadsafe(pieces.put_nowait, end)
