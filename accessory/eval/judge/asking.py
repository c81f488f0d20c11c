"""Asks for a reply at most once: from the store where it is known, else from the endpoint, and then kept."""

from __future__ import annotations

import threading
from concurrent.futures import Future

from accessory.eval.judge.endpoint import Endpoint
from accessory.eval.judge.request import JudgeRequest, Reply
from accessory.eval.judge.store import ReplyStore


class Judge:
    """An endpoint with its memory. Threads may share it; equal requests at the same time are one."""

    def __init__(self, endpoint: Endpoint, store: ReplyStore) -> None:
        self._endpoint = endpoint
        self._store = store
        self._under_way: dict[str, Future[Reply]] = {}
        self._guard = threading.Lock()
        self.asked: list[Reply] = []  # what this run has paid for

    def ask(self, request: JudgeRequest) -> Reply:
        """The reply to a request; raises what `Endpoint.send` raises."""
        known = self._store.get(request.key)
        if known is not None:
            return known
        with self._guard:
            future = self._under_way.get(request.key)
            mine = future is None
            if future is None:
                future = self._under_way[request.key] = Future()
        return self._answer(request, future) if mine else future.result()

    def _answer(self, request: JudgeRequest, future: Future[Reply]) -> Reply:
        """Gets the reply and fills the future, with it or with why there is none; a later request may then try anew."""
        try:
            with self._store.claim(request.key) as known:
                reply = known or self._endpoint.send(request)
                self._store.add(reply)
        except BaseException as error:
            future.set_exception(error)
            raise
        finally:
            with self._guard:
                del self._under_way[request.key]
        if known is None:
            self.asked.append(reply)
        future.set_result(reply)
        return reply
