"""Every reply ever paid for, one JSON line each in one file that any number of processes may share.

A line is appended whole and reaches the disk before anybody uses it. A kill can leave half a line at the end, which
the next append removes. Only the replies under way at a kill are lost.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from accessory.eval.judge.request import Reply
from SPHINX_V.errors import DataError, UsageError

_FIELDS = {field.name for field in fields(Reply)}
_POLL = 0.05  # seconds


class ReplyStore:
    """Replies by key. Threads may share a store; a process opens one store per file.

    Locks lie on bytes of the file `<name>.lock`: byte 0 for appending, one byte further on for each key that is being
    asked. They are locks of the system (POSIX), so they go with the process that held them, however it ended.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._replies: dict[str, Reply] = {}
        self._read = 0  # bytes of the file that are in `_replies`
        self._lines = 0
        self._guard = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._lock_file = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise UsageError(f"cache {path} cannot be written ({error.strerror}); name another file.") from None
        try:
            with self._guard, self._locked(0):
                self._refresh()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        os.close(self._lock_file)

    def __enter__(self) -> ReplyStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self._replies)

    def get(self, key: str) -> Reply | None:
        return self._replies.get(key)

    def add(self, reply: Reply) -> None:
        """Keeps a reply for good; one whose key is there already changes nothing."""
        line = json.dumps(asdict(reply), ensure_ascii=False).encode() + b"\n"
        with self._guard, self._locked(0):
            self._refresh()
            if reply.key not in self._replies:
                self._append(line)
                self._refresh()

    @contextmanager
    def claim(self, key: str) -> Iterator[Reply | None]:
        """Inside, no other process asks for this key; gives the reply if another one has got it meanwhile."""
        with self._locked(1 + int(key[:15], 16), polled=True):
            with self._guard, self._locked(0):
                self._refresh()
            yield self.get(key)

    def _append(self, line: bytes) -> None:
        try:
            file = os.open(self.path, os.O_WRONLY | os.O_CREAT, 0o644)
            try:
                os.ftruncate(file, self._read)  # what is behind the last whole line was cut off by a kill
                written = os.pwrite(file, line, self._read)
                os.fsync(file)
            finally:
                os.close(file)
        except OSError as error:
            raise UsageError(f"cache {self.path} cannot be written ({error.strerror}); make room for it.") from None
        if written != len(line):
            raise UsageError(f"cache {self.path}: the disk took {written} of {len(line)} bytes; make room for it.")

    def _refresh(self) -> None:
        """Reads what has been appended since. Raises DataError for a line that is no reply."""
        try:
            with self.path.open("rb") as file:
                file.seek(self._read)
                new = file.read()
        except FileNotFoundError:
            return
        except OSError as error:
            raise UsageError(f"cache {self.path} cannot be read ({error.strerror}); name another file.") from None
        whole = new[: new.rfind(b"\n") + 1]
        for line in whole.split(b"\n")[:-1]:
            self._lines += 1
            reply = as_reply(_json(line), f"{self.path}, line {self._lines}")
            self._replies[reply.key] = reply
        self._read += len(whole)

    @contextmanager
    def _locked(self, byte: int, polled: bool = False) -> Iterator[None]:
        """Holds one byte's lock. Polled, it never waits inside the system, which would see two processes that wait for
        each other's keys as a deadlock, though threads of both are about to let go."""
        flags = fcntl.LOCK_EX | (fcntl.LOCK_NB if polled else 0)
        while True:
            try:
                fcntl.lockf(self._lock_file, flags, 1, byte)
                break
            except OSError as error:
                if polled and error.errno in (errno.EAGAIN, errno.EACCES):
                    time.sleep(_POLL)
                    continue
                raise UsageError(
                    f"cache {self.path} lies on a disk that cannot lock files ({error.strerror}); name another disk."
                ) from None
        try:
            yield
        finally:
            fcntl.lockf(self._lock_file, fcntl.LOCK_UN, 1, byte)


def _json(line: bytes) -> Any:
    try:
        return json.loads(line)
    except ValueError:  # also a line that is not UTF-8
        return None


def as_reply(value: Any, where: str) -> Reply:
    """A reply from the values of a line; raises DataError that names `where`."""
    if not isinstance(value, dict) or set(value) != _FIELDS:
        raise DataError(f"{where}: is no reply of a judge; repair or remove the line.")
    texts = (value["key"], value["text"], value["served_by"])
    counts = (value["input_tokens"], value["output_tokens"])
    if not all(isinstance(text, str) for text in texts) or not all(isinstance(n, (int, type(None))) for n in counts):
        raise DataError(f"{where}: a field of this reply has another type; repair or remove the line.")
    return Reply(**value)
