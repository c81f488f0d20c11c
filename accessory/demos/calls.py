"""What the page asks of the server besides answers: to take a picture, outline marks, stop, save and open again."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from typing import Any

from accessory.demos.exchange import as_items, from_items
from accessory.demos.mask_shapes import mask_outline, mask_png, outline_mask
from accessory.demos.session import LostError, Session, Sessions
from accessory.serve.marks import parse_marks
from accessory.serve.pictures import picture_from_data_uri
from SPHINX_V.errors import SphinxVError, UsageError
from SPHINX_V.prompts import Mask

Reply = dict[str, Any]
Call = Callable[[Any], Reply]


def reply_to(error: SphinxVError) -> Reply:
    """An error as the page is told of it: a sentence, and what it should send again."""
    return {"error": str(error), "lost": error.what if isinstance(error, LostError) else None}


class Calls:
    """Each call takes one object with the session's key and returns one; errors of our family come back as
    `{"error": sentence, "lost": "session", "picture" or null}`. `segmenter` may be absent."""

    def __init__(self, sessions: Sessions, slots: int, segmenter: Any = None) -> None:
        self._sessions, self._slots, self._segmenter = sessions, slots, segmenter

    def all(self) -> list[Call]:
        """The functions by the names under which the page calls them."""
        answers = (self.open_picture, self.stop_answer, self.find_masks, self.save_conversation, self.read_conversation)
        return [self._safe(answer) for answer in answers]

    def _safe(self, answer: Callable[[Session, Mapping[str, Any]], Reply]) -> Call:
        def call(value: Any) -> Reply:
            try:
                if not isinstance(value, Mapping):
                    raise UsageError("the call is no object; reload the page.")
                return answer(self._sessions.find(value.get("session")), value)
            except SphinxVError as error:
                return reply_to(error)

        call.__name__ = answer.__name__
        return call

    def open_picture(self, session: Session, value: Mapping[str, Any]) -> Reply:
        """`source`, a data URI, becomes the session's picture: `{"picture": name, "size": [width, height]}`."""
        name = str(value.get("name"))[:80]
        picture = picture_from_data_uri(str(value.get("source")), name).convert("RGB")
        return {"picture": self._sessions.keep_picture(session, picture), "size": list(picture.size)}

    def stop_answer(self, session: Session, value: Mapping[str, Any]) -> Reply:
        """Ends the answer that is being written."""
        session.stop()
        return {}

    def find_masks(self, session: Session, value: Mapping[str, Any]) -> Reply:
        """The mask of each of `marks` that SAM finds one for: `{"masks": [{"id", "source", "outline"}, …]}`.

        A mark that is an outline is its own mask.
        """
        if self._segmenter is None:
            raise UsageError("there is no SAM here; start the demo with --sam PATH.")
        picture = session.picture_of(str(value.get("picture")))
        drawn = value.get("marks")
        prompts = list(parse_marks(drawn, picture.size, self._slots))
        for at, mark in enumerate(drawn or ()):
            if mark["kind"] == "mask" and mark.get("units", "px") == "px":
                prompts[at] = outline_mask(mark["coords"], *picture.size)
        masks = self._segmenter.masks(picture, prompts) if prompts else []
        return {"masks": [_mask_reply(number, mask) for number, mask in enumerate(masks, start=1) if mask]}

    def save_conversation(self, session: Session, value: Mapping[str, Any]) -> Reply:
        """The turns as benchmark items: `{"items": […]}`."""
        size = value.get("size")
        if not isinstance(size, list) or len(size) != 2 or not all(isinstance(side, int) for side in size):
            raise UsageError("open a picture first; a conversation is saved with the name of its picture.")
        return {"items": as_items(value.get("turns"), str(value.get("name")), (size[0], size[1]), self._slots)}

    def read_conversation(self, session: Session, value: Mapping[str, Any]) -> Reply:
        """What `save_conversation` gave, as turns."""
        return from_items(value.get("items"), self._slots)


def _mask_reply(number: int, mask: Mask) -> Reply:
    source = "data:image/png;base64," + base64.b64encode(mask_png(mask)).decode()
    return {"id": number, "source": source, "outline": mask_outline(mask)}
