"""One question from its first byte to the end of its answer: read, prepared in threads, submitted, waited for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from accessory.serve.asking import is_address, requests_of, submit_all
from accessory.serve.bridge import Bridge, Watch
from accessory.serve.errors import ApiError, ClientGone, as_api_error, closing_error, to_json
from accessory.serve.limits import InFlight, Receive, parse_json, read_body
from accessory.serve.messages import Conversation, read_messages
from accessory.serve.metrics import Metrics
from accessory.serve.options import ServeOptions
from accessory.serve.replies import DONE, Reply
from accessory.serve.schema import ChatRequest, read_request
from accessory.serve.urls import fetch
from SPHINX_V.errors import SphinxVError
from SPHINX_V.generation.job import AnswerStream
from SPHINX_V.sphinx_v import SPHINX_V_Model

_FETCHES = 4  # at a time
_LONGEST_RETRY = 60  # seconds

T = TypeVar("T")


class Question:
    """A question that is being answered. `gone` is done when its client has hung up."""

    def __init__(self, asked: ChatRequest, watch: Watch, gone: asyncio.Task[None], arrived: float, model: str) -> None:
        self.asked, self.watch, self.gone, self.arrived = asked, watch, gone, arrived
        with_usage = asked.stream_options is not None and asked.stream_options.include_usage
        self.reply = Reply(model, asked.logprobs, with_usage, watch.streams[0].warnings)
        self.shown_any = False
        gone.add_done_callback(lambda _: watch.news.set())


class Service:
    """The model, and who asks it. But for what it gives to threads, everything runs in the event loop."""

    def __init__(self, model: SPHINX_V_Model, options: ServeOptions) -> None:
        self.options, self.engine = options, model.engine
        self.metrics, self.bridge = Metrics(), Bridge(model.engine)
        self.closing = False
        self.preparing = 0
        self._slots = model.config.prompts.num_slots
        self._in_flight = InFlight(options.limits.in_flight_bytes)
        self._work = ThreadPoolExecutor(options.workers, "prepare")
        self._web = ThreadPoolExecutor(_FETCHES, "fetch")

    @property
    def busy(self) -> bool:
        """Is anything being asked or answered?"""
        return self.preparing > 0 or len(self.bridge) > 0

    def why_not_ready(self) -> ApiError | None:
        """Why no question is taken now; None where they are."""
        if self.closing:
            return closing_error()
        if not self.engine.started:
            return ApiError("the engine does not run; the server must be started anew.", 503, code="engine_stopped")
        return None

    def open(self) -> None:
        self.bridge.open()

    def close(self) -> None:
        """Ends what is left, and the threads."""
        self.closing = True
        self.bridge.cancel_all()
        self.bridge.close()
        self._work.shutdown(wait=False, cancel_futures=True)
        self._web.shutdown(wait=False, cancel_futures=True)

    async def take(self, receive: Receive, declared: int | None) -> Question:
        """Reads a question and puts it into the engine. Raises ApiError, other errors of our family, and ClientGone."""
        arrived = time.monotonic()
        refusal = self.why_not_ready()
        if refusal is not None:
            raise refusal
        if self.preparing >= self.engine.options.max_waiting:
            raise ApiError(
                f"{self.preparing} questions are being read already; ask again in a moment.",
                429,
                code="queue_full",
                headers={"Retry-After": str(self.retry_after())},
            )
        self.preparing += 1
        try:
            with self._in_flight.share() as grow:
                body = await read_body(receive, declared, self.options.limits, grow)
                gone = asyncio.create_task(_hang_up(receive))
                try:
                    asked, streams = await self._submit(body, gone)
                except BaseException:
                    gone.cancel()
                    raise
        finally:
            self.preparing -= 1
        question = Question(asked, Watch(streams), gone, arrived, self.options.model_name)
        self.bridge.add(question.watch)
        return question

    async def _submit(self, body: bytes, gone: asyncio.Task[None]) -> tuple[ChatRequest, list[AnswerStream]]:
        asked, conversation = await self._in_thread(gone, self._work, lambda: self._parse(body))
        fetched: bytes | None = None
        address = conversation.picture
        if address is not None and is_address(address):
            fetched = await self._in_thread(gone, self._web, lambda: fetch(address, self.options.urls))
        seconds = self.options.limits.answer_seconds

        def submit() -> list[AnswerStream]:
            return submit_all(self.engine, requests_of(asked, conversation, fetched, self._slots, seconds))

        return asked, await self._in_thread(gone, self._work, submit)

    def _parse(self, body: bytes) -> tuple[ChatRequest, Conversation]:
        limits = self.options.limits
        asked = read_request(parse_json(body, limits))
        if asked.model not in (None, self.options.model_name):
            raise ApiError(
                f"there is no model {str(asked.model)[:80]!r} here; this server's is {self.options.model_name!r}.",
                404,
                param="model",
                code="model_not_found",
            )
        return asked, read_messages(asked, limits.text_characters)

    async def _in_thread(self, gone: asyncio.Task[None], pool: ThreadPoolExecutor, work: Callable[[], T]) -> T:
        """What `work` returns in a thread of the pool. Raises ClientGone where the client has hung up before it begins.

        The wait goes on until then: a body that stands in the pool's queue must count as long as it takes memory.
        """

        def unless_gone() -> T:
            if gone.done():
                raise ClientGone("the client hung up while its question was prepared")
            return work()

        return await asyncio.get_running_loop().run_in_executor(pool, unless_gone)

    async def whole(self, question: Question) -> dict[str, Any]:
        """The whole answer. Raises AnswerError, ClientGone, and ApiError where the server ends before it."""
        try:
            while not question.watch.ended:
                await self._news(question)
                self._read(question)
            return question.reply.completion(self._answers(question))
        finally:
            self._end(question)

    async def events(self, question: Question) -> AsyncIterator[bytes]:
        """The answer as server-sent events. An error is the last of them; a client that hung up ends them."""
        reply, watch = question.reply, question.watch
        shown = [0] * len(watch.streams)  # tokens whose log-probabilities have been sent
        try:
            for choice in range(len(watch.streams)):
                yield reply.first(choice)
            while not watch.ended:
                while not await self._news(question, self.options.limits.comment_seconds):
                    yield b": still there\n\n"
                for choice, text in self._read(question):
                    stream = watch.streams[choice]
                    tokens = stream.logprobs(shown[choice])
                    shown[choice] += len(tokens)
                    yield reply.piece(choice, text, tokens) if text else reply.last(choice, stream.answer(), tokens)
            yield reply.total(self._answers(question))
            yield DONE
        except ClientGone:
            self.metrics.disconnects += 1
        except SphinxVError as error:
            yield b"data: %s\n\n" % to_json(as_api_error(error).body())
        finally:
            self._end(question)

    async def _news(self, question: Question, seconds: float | None = None) -> bool:
        """Waits until there is something to read; False where nothing came in time. Raises ClientGone."""
        news = question.watch.news
        if not news.is_set():
            try:
                await asyncio.wait_for(news.wait(), seconds)
            except asyncio.TimeoutError:
                return False
        news.clear()
        if question.gone.done():
            raise ClientGone("the client hung up while it was answered")
        return True

    def _read(self, question: Question) -> list[tuple[int, str]]:
        found = question.watch.read()
        if found and not question.shown_any:
            question.shown_any = True
            self.metrics.first_token.add(time.monotonic() - question.arrived)
        return found

    def _answers(self, question: Question) -> list[Any]:
        answers = [stream.answer() for stream in question.watch.streams]
        if any(answer.finish == "cancelled" for answer in answers):
            raise closing_error()
        if any(answer.finish == "timeout" and not answer.ids for answer in answers):
            raise ApiError(
                f"no row got free within {self.options.limits.answer_seconds:g} s; ask again later.",
                503,
                code="answer_timeout",
                headers={"Retry-After": str(self.retry_after())},
            )
        self.metrics.answer.add(time.monotonic() - question.arrived)
        self.metrics.prompt_tokens += answers[0].prompt_tokens
        self.metrics.cached_tokens += answers[0].cached_tokens
        self.metrics.completion_tokens += sum(len(answer.ids) for answer in answers)
        return answers

    def _end(self, question: Question) -> None:
        question.watch.cancel()
        self.bridge.remove(question.watch)
        question.gone.cancel()

    def retry_after(self) -> int:
        """Seconds after which a place in the queue should be free, from how long answers have taken so far."""
        stats = self.engine.stats()
        rounds = 1 + stats.waiting // max(1, stats.rows)
        return max(1, min(_LONGEST_RETRY, round(self.metrics.answer.mean * rounds / 2)))


async def _hang_up(receive: Receive) -> None:
    """Returns when the client has closed its connection."""
    while (await receive())["type"] != "http.disconnect":
        pass
