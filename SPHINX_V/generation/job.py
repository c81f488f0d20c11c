"""One request on its way through the engine, and the stream that its owner reads."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from SPHINX_V.errors import SphinxVError
from SPHINX_V.generation.options import Answer, Finish, Options, TokenLogprob
from SPHINX_V.generation.prefix import PromptKey
from SPHINX_V.generation.prompt import PreparedPrompt
from SPHINX_V.generation.sampling import Draws
from SPHINX_V.generation.text import AnswerText
from SPHINX_V.processing.tokenizer import Tokenizer

if TYPE_CHECKING:
    from SPHINX_V.generation.engine import Engine

_CONTEXT = 8  # ids of the prompt that the text decoder may look back at


class Job:
    """A request's state. The engine alone changes it; what a stream reads is `pieces`, `answer` and `error`."""

    def __init__(self, prompt: PreparedPrompt, options: Options, tokenizer: Tokenizer, length: int) -> None:
        self.prompt, self.options, self.draws = prompt, options, Draws(options.sampling)
        self.limit = min(options.max_gen_len, length - len(prompt.key))
        self.deadline = None if options.timeout is None else time.monotonic() + options.timeout
        self.cancelled = False
        self.cached = 0
        self.number = -1  # by which processes that share a model call it
        self.ids: list[int] = []
        self.pieces: deque[str] = deque()
        self.answer: Answer | None = None
        self.error: SphinxVError | None = None
        self._tokenizer = tokenizer
        self._text = AnswerText(tokenizer, prompt.key.ids[-_CONTEXT:], options.stops)
        self._shown: list[str] = []
        self.logprobs: list[TokenLogprob] = []

    @property
    def ended(self) -> bool:
        return self.answer is not None or self.error is not None

    @property
    def length(self) -> int:
        """Positions in the cache: the prompt and all tokens of the answer but the newest."""
        return len(self.prompt.key) + len(self.ids) - 1

    @property
    def key(self) -> PromptKey:
        """What those positions hold."""
        key = self.prompt.key
        ids = (*key.ids, *self.ids[:-1])
        return PromptKey(ids, key.picture, key.marks, key.image_length, key.marks_length)

    def push(self, token: int) -> Finish | None:
        """Takes the next token; says why the answer ends with it, if it does."""
        self.ids.append(token)
        if token == self._tokenizer.eos_id:
            return "eos"
        self._show(self._text.push(token))
        if self._text.stopped:
            return "stop"
        return "length" if len(self.ids) == self.limit else None

    def note(self, token: int, logits: Tensor) -> None:
        """Keeps the log-probabilities of a token, from the logits [vocab] that it was drawn from."""
        if self.options.logprobs is None:
            return
        table = logits.float().log_softmax(-1)
        values, ids = table.topk(min(self.options.logprobs, table.shape[0]))
        top = tuple((i, self._tokenizer.decode([i]), v) for i, v in zip(ids.tolist(), values.tolist()))
        self.logprobs.append(TokenLogprob(token, self._tokenizer.decode([token]), float(table[token]), top))

    def finish(self, why: Finish) -> None:
        """The answer as it stands is the answer; what was held back of it is shown."""
        self._show(self._text.finish())
        self.answer = Answer(
            text="".join(self._shown),
            ids=tuple(self.ids),
            finish=why,
            prompt_tokens=len(self.prompt.key),
            cached_tokens=self.cached,
            logprobs=None if self.options.logprobs is None else tuple(self.logprobs),
            warnings=self.prompt.warnings,
        )
        self._let_go()

    def fail(self, error: SphinxVError) -> None:
        """There is no answer, and why."""
        self.error = error
        self._let_go()

    def _let_go(self) -> None:
        # The stream may be held for long, and a picture is some megabytes.
        self.prompt = PreparedPrompt(self.prompt.key, warnings=self.prompt.warnings)

    def _show(self, text: str) -> None:
        if text:
            self._shown.append(text)
            self.pieces.append(text)


@dataclass(frozen=True)
class Events:
    """What a round begins with: requests that join the queue, and requests that end, and why."""

    arrived: Sequence[Job] = ()
    ended: Sequence[tuple[Job, Finish]] = ()


class AnswerStream:
    """The answer to one request as it comes: iterating yields new text, all of it joined is `answer().text`.

    Where the engine has no thread of its own, whoever waits here runs its rounds. A request that failed raises its
    error, an AnswerError, here. Safe to use from any one thread; `cancel` from any.
    """

    def __init__(self, engine: Engine, job: Job) -> None:
        self._engine = engine
        self._job = job

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        job = self._job
        self._engine.wait_for(job)
        if job.pieces:
            return job.pieces.popleft()
        if job.error is not None:
            raise job.error
        raise StopIteration

    @property
    def ready(self) -> bool:
        """Would reading on return at once?"""
        return bool(self._job.pieces) or self._job.ended

    @property
    def ended(self) -> bool:
        """Is the answer finished, or has it failed?"""
        return self._job.ended

    @property
    def warnings(self) -> tuple[str, ...]:
        """What in the question is probably not meant, such as `<Region 4>` with three marks, a sentence each."""
        return self._job.prompt.warnings

    def logprobs(self, start: int = 0) -> Sequence[TokenLogprob]:
        """The log-probabilities of the tokens so far, from token `start` on; empty where none were asked for."""
        return self._job.logprobs[start:]

    def answer(self) -> Answer:
        """The finished answer; waits for it. Pieces that were not read are no longer there to read."""
        for _ in self:
            pass
        assert self._job.answer is not None
        return self._job.answer

    def cancel(self) -> None:
        """Ends the answer where it is ("cancelled") and gives its memory back; nothing where it has ended already."""
        self._engine.cancel(self._job)

    def __del__(self) -> None:
        # Nobody can read it any more. Only a flag: this may run anywhere, also while locks are held.
        self._job.cancelled = True

    @property
    def place(self) -> int | None:
        """Its place among those that wait, 1 for the next; None once it runs or has ended."""
        return self._engine.queue.place_of(self._job)
