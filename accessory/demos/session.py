"""What the demo keeps of each browser while its page is open: the picture, and the answer that is being written."""

from __future__ import annotations

import secrets
import threading
import time
from dataclasses import dataclass, field

from PIL import Image

from SPHINX_V.errors import UsageError
from SPHINX_V.generation.job import AnswerStream

MOST_SESSIONS = 512
PICTURE_BYTES = 2**30  # of all decoded pictures together
IDLE = 4 * 3600.0  # seconds


class LostError(UsageError):
    """Something is no longer here, but the page has it and can send it again; `what` is "session" or "picture"."""

    def __init__(self, what: str) -> None:
        super().__init__(f"the {what} is no longer on the server; reload the page if it does not send it again.")
        self.what = what


@dataclass
class Session:
    """One open page. `key` is known to that page alone; `owner` is Gradio's name of the page's connection."""

    key: str
    owner: str
    picture: Image.Image | None = None
    picture_id: str = ""
    stream: AnswerStream | None = None
    used: float = field(default_factory=time.monotonic)

    def picture_of(self, identity: str) -> Image.Image:
        """The picture that the page means. Raises LostError where this is another one or none."""
        if self.picture is None or identity != self.picture_id:
            raise LostError("picture")
        return self.picture

    def stop(self) -> None:
        """Ends the answer that is being written, if there is one."""
        if self.stream is not None:
            self.stream.cancel()


class Sessions:
    """All open pages, in the order of their last use. Nothing of one can be reached with the key of another."""

    def __init__(self, most: int = MOST_SESSIONS, picture_bytes: int = PICTURE_BYTES, idle: float = IDLE) -> None:
        self._most, self._picture_bytes, self._idle = most, picture_bytes, idle
        self._all: dict[str, Session] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._all)

    def open(self, owner: str) -> Session:
        """A new one, with a key that cannot be guessed; the longest unused go where there are too many."""
        session = Session(secrets.token_urlsafe(24), owner)
        with self._lock:
            self._all[session.key] = session
            oldest = time.monotonic() - self._idle
            ended = [each for each in self._all.values() if each.used < oldest]
            ended += list(self._all.values())[: max(0, len(self._all) - len(ended) - self._most)]
        self._end(ended)
        return session

    def find(self, key: object) -> Session:
        """Raises LostError for a key that nobody has."""
        with self._lock:
            session = self._all.pop(key, None) if isinstance(key, str) else None
            if session is None:
                raise LostError("session")
            self._all[session.key] = session  # the last one now
            session.used = time.monotonic()
        return session

    def close(self, owner: str) -> None:
        """Forgets everything of a page that was closed."""
        with self._lock:
            ended = [session for session in self._all.values() if session.owner == owner]
        self._end(ended)

    def close_all(self) -> None:
        self._end(list(self._all.values()))

    def keep_picture(self, session: Session, picture: Image.Image) -> str:
        """Puts a picture in the place of the session's earlier one and returns its name. Pictures of the longest unused
        sessions are dropped where all together take too much memory: their pages send them again."""
        with self._lock:
            session.picture, session.picture_id = picture, secrets.token_urlsafe(12)
            held = 0
            for each in reversed(self._all.values()):
                held += _bytes(each.picture)
                if held > self._picture_bytes and each is not session:
                    each.picture, each.picture_id = None, ""
        return session.picture_id

    def _end(self, sessions: list[Session]) -> None:
        with self._lock:
            for session in sessions:
                self._all.pop(session.key, None)
                session.picture = None
        for session in sessions:
            session.stop()


def _bytes(picture: Image.Image | None) -> int:
    return 0 if picture is None else picture.width * picture.height * len(picture.getbands())
