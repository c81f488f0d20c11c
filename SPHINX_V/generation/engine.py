"""Who is answered when: requests wait in a bounded queue, join the running rows as rows get free, and leave when done.

One round takes in who waits, then computes one token for every running row. `rows` computes, `job` holds a request.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from SPHINX_V.errors import AnswerError, QueueFullError, UsageError
from SPHINX_V.generation.cache import is_split
from SPHINX_V.generation.decode import Drawn, draw_first
from SPHINX_V.generation.job import AnswerStream, Job
from SPHINX_V.generation.options import Answer, EngineOptions, EngineStats, Finish
from SPHINX_V.generation.prefix import Kept
from SPHINX_V.generation.prompt import prepare
from SPHINX_V.generation.request import Request
from SPHINX_V.generation.rows import Rows
from SPHINX_V.generation.sampling import Sampler
from SPHINX_V.generation.turns import FairLock
from SPHINX_V.model.sphinx_v import SphinxV
from SPHINX_V.processing.processor import Processor

_JOIN_AT_ONCE = 4  # beside running rows, which wait meanwhile
_LOOK_ON_GPU = 8  # tokens


class Engine:
    """Answers many requests at a time with one model; each answer is the one that its request gets alone.

    Without `start` rounds run in the threads that wait for answers; then all processes of a tensor-parallel model must
    make the same calls in the same order. Memory: the cache is allocated here, for as many rows as fit (`stats().rows`,
    at most `max_rows`), and belongs to the engine. Raises UsageError where not even one row fits.
    """

    def __init__(self, model: SphinxV, processor: Processor, options: EngineOptions | None = None) -> None:
        self.options = options or EngineOptions()
        self._processor = processor
        self._model = model
        self.rows = Rows(model, self.options)
        self.squares = Kept(self.options.picture_bytes // 2)
        self._pieces = processor.tokenizer.vocab_size
        self._look = self.options.tokens_per_look or (_LOOK_ON_GPU if self.rows.device.type == "cuda" else 1)
        self._waiting: deque[Job] = deque()
        self._joining: list[Job] = []  # out of the queue, and not all of them in their rows yet
        self._running: list[Job] = []  # job i has row i
        self._sampler: Sampler | None = None  # of the running rows
        self._seen: Tensor | None = None  # [rows, vocab]: tokens of a row so far, once a request asks for a penalty
        self._finished = self._failed = self._tokens = self._reused = 0
        self.compute = FairLock()  # held for a round, and for whatever else uses rows
        self._news = threading.Condition()  # for queue, pieces and ends; never held while computing
        self._thread: threading.Thread | None = None
        self._closing = False

    # What callers do

    def submit(self, request: Request) -> AnswerStream:
        """Puts a request into the queue. Raises UsageError for one that cannot be answered, DataError for a picture
        that cannot be read, QueueFullError where `max_waiting` wait already."""
        options = request.options()
        question = self._processor.question(request.image, request.prompts, request.turns)
        prompt = prepare(self._processor, question, self.rows.length, options.overflow, self.squares)
        job = Job(prompt, options, self._processor.tokenizer, self.rows.length)
        with self._news:
            if self._closing:
                raise UsageError("the engine has been stopped; start it again to ask.")
            if len(self._waiting) >= self.options.max_waiting:
                raise QueueFullError(
                    f"{len(self._waiting)} requests wait already, the limit is max_waiting"
                    f" {self.options.max_waiting}; ask again when some have been answered."
                )
            self._waiting.append(job)
            self._news.notify_all()
        return AnswerStream(self, job)

    def answers(self, requests: Iterable[Request], at_once: int | None = None) -> Iterator[Answer]:
        """The answers to requests in their order, of which at most `at_once` (default: as many as there are rows) are
        in the engine at a time. Dropping the iterator cancels the rest."""
        at_once = min(at_once or self.rows.count, self.options.max_waiting)
        streams: deque[AnswerStream] = deque()
        try:
            for request in requests:
                if len(streams) == at_once:
                    yield streams[0].answer()
                    streams.popleft()
                streams.append(self.submit(request))
            while streams:
                yield streams[0].answer()
                streams.popleft()
        finally:
            for stream in streams:
                stream.cancel()

    def stats(self) -> EngineStats:
        """Counts, and what is held now."""
        rows = self.rows
        return EngineStats(
            rows=rows.count,
            running=len(self._running),
            waiting=len(self._waiting),
            finished=self._finished,
            failed=self._failed,
            tokens=self._tokens,
            cache_bytes=rows.cache.bytes,
            prefix_bytes=rows.prefixes.bytes,
            prefix_hit_tokens=self._reused,
            picture_hits=rows.picture_hits,
            picture_misses=rows.picture_misses,
        )

    def forget(self) -> None:
        """Drops what is kept of earlier prompts and pictures."""
        with self.compute:
            self.rows.forget()
            self.squares.clear()

    @contextmanager
    def spare_row(self) -> Iterator[int]:
        """A row of the cache that no request has, for as long as the block lasts; no round runs meanwhile."""
        while True:
            with self.compute:
                if len(self._running) < self.rows.count:
                    yield len(self._running)
                    return
                if self._thread is None:
                    self._round()

    # What streams ask

    def wait_for(self, job: Job) -> None:
        """Returns when `job` has a piece to show or has ended."""
        while True:
            with self._news:
                while not (job.pieces or job.ended) and self._thread is not None:
                    self._news.wait()
                if job.pieces or job.ended:
                    return
            with self.compute:
                if not (job.pieces or job.ended) and self._thread is None:
                    self._round()

    def cancel(self, job: Job) -> None:
        """Ends a job; its row is free before the next round, and at once where no round is running."""
        job.cancelled = True
        if self._thread is not None:
            with self._news:
                self._news.notify_all()
            return
        with self.compute, torch.inference_mode():
            self._end_overdue()

    def place_of(self, job: Job) -> int | None:
        """Its place in the queue from 1 on; None where it is not there."""
        with self._news:
            return self._waiting.index(job) + 1 if job in self._waiting else None

    # The thread

    def start(self) -> None:
        """Runs rounds in a thread of its own as long as there is work, until `stop`."""
        if self._thread is not None:
            raise UsageError("the engine has been started already; stop it first.")
        if is_split(self._model):
            raise UsageError(
                "a model that is split over processes answers only calls that all of them make; leave out start()."
            )
        with self._news:
            self._closing = False
            self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    def stop(self, drain: float = 0.0) -> None:
        """Takes no more requests, lets those that are there finish for up to `drain` seconds, cancels the rest."""
        thread, end = self._thread, time.monotonic() + drain
        if thread is None:
            return
        with self._news:
            self._closing = True
            self._news.wait_for(lambda: not self._busy(), max(0.0, end - time.monotonic()))
            for job in (*self._waiting, *self._joining, *self._running):
                job.cancelled = True
            self._news.notify_all()
        thread.join()
        with self._news:
            self._thread, self._closing = None, False

    def _run(self) -> None:
        while True:
            with self._news:
                self._news.wait_for(lambda: self._busy() or self._closing)
                if self._closing and not self._busy():
                    return
            with self.compute:
                self._round()

    def _busy(self) -> bool:
        return bool(self._waiting or self._joining or self._running)

    # A round

    @torch.inference_mode()
    def _round(self) -> None:
        try:
            self._end_overdue()
            self._join()
            if self._running:
                self._step()
        except BaseException as error:  # nobody may wait for what will never come
            broken = AnswerError(f"the engine failed while this was answered ({type(error).__name__}: {error}).")
            with self._news:
                for job in (*self._running, *self._joining, *self._waiting):
                    if not job.ended:
                        job.error, self._failed = broken, self._failed + 1
                self._running, self._joining, self._sampler = [], [], None
                self._waiting.clear()
                if self._thread is threading.current_thread():
                    self._thread = None  # whoever waits for later requests runs the rounds
                self._news.notify_all()
            raise

    def _end_overdue(self) -> None:
        """Ends what was cancelled or has no time left."""
        now = time.monotonic()
        with self._news:  # others put requests into the queue meanwhile
            jobs = [*self._waiting, *self._running]
        for job in jobs:
            why: Finish | None = None
            if job.cancelled:
                why = "cancelled"
            elif job.deadline is not None and now >= job.deadline:
                why = "timeout"
            if why is not None and not job.ended:
                self._finish(job, why)

    def _join(self) -> None:
        with self._news:
            room = self.rows.count - len(self._running)
            if self._running:
                room = min(room, _JOIN_AT_ONCE)
            self._joining = [self._waiting.popleft() for _ in range(min(room, len(self._waiting)))]
        if not self._joining:
            return
        try:
            pictures = self.rows.encode([job.prompt for job in self._joining])
        except torch.OutOfMemoryError:  # each on its own then, so that only those fail that do not fit
            pictures = {}
        for job in self._joining:
            row = len(self._running)
            try:
                logits, job.cached = self.rows.fill(row, job.prompt, pictures)
            except torch.OutOfMemoryError as error:
                reason = str(error).partition("\n")[0]
                self._fail(job, AnswerError(f"a prompt of {len(job.prompt.key)} positions: out of memory ({reason})."))
                continue
            self._reused += job.cached
            self._running.append(job)
            self._sampler = None
            self._mark_seen(row, job.prompt.key.ids)
            seen = None if self._seen is None else self._seen[row : row + 1]
            self._take([job], draw_first(logits[:, : self._pieces], Sampler([job.draws], self.rows.device), seen))
        self._joining = []

    def _step(self) -> None:
        jobs = list(self._running)
        if self._sampler is None:
            self._sampler = Sampler([job.draws for job in jobs], self.rows.device)
        drawn = self.rows.decoder.draw(
            [job.ids[-1] for job in jobs],
            [job.length for job in jobs],
            self._steps_until_look(jobs),
            self._pieces,
            self._sampler,
            None if self._seen is None else self._seen[: len(jobs)],
            keep_logits=any(job.options.logprobs is not None for job in jobs),
        )
        self._take(jobs, drawn)

    def _steps_until_look(self, jobs: Sequence[Job]) -> int:
        """How many tokens are drawn before the host looks: no more than the fullest row has room for, nor than the
        longest answer may still have."""
        room = self.rows.length - max(job.length for job in jobs)
        return max(1, min(self._look, room, max(job.limit - len(job.ids) for job in jobs)))

    def _take(self, jobs: Sequence[Job], drawn: Drawn) -> None:
        """Gives each job the tokens that were drawn for it; those that end with one of them leave."""
        ends: list[tuple[Job, Finish]] = []
        broken: list[tuple[Job, AnswerError]] = []
        for index, job in enumerate(jobs):
            for step, (tokens, greatest) in enumerate(zip(drawn.tokens, drawn.greatest)):
                if not math.isfinite(greatest[index]):
                    place = f"the logits of token {len(job.ids) + 1} of the answer are not finite ({greatest[index]})"
                    broken.append((job, AnswerError(f"{place}; weights or picture are damaged, or float32 is needed.")))
                    break
                self._tokens += 1
                if drawn.logits:
                    job.note(tokens[index], drawn.logits[step][index])
                why = job.push(tokens[index])
                if why is not None:
                    ends.append((job, why))
                    break
        # Rows change places here, so not before.
        for job, error in broken:
            self.rows.discard(self._running.index(job), job.prompt.key)
            self._fail(job, error)
        for job, why in ends:
            self._finish(job, why)
        with self._news:
            self._news.notify_all()

    def _mark_seen(self, row: int, ids: Sequence[int]) -> None:
        """Notes the tokens of a new row's prompt, from the first request on that asks for a penalty."""
        if self._seen is None:
            if self._running[row].options.sampling.repetition_penalty == 1:
                return
            self._seen = torch.zeros(self.rows.count, self._pieces, dtype=torch.bool, device=self.rows.device)
        self._seen[row] = False
        self._seen[row, torch.tensor(ids, device=self.rows.device)] = True

    def _finish(self, job: Job, why: Finish) -> None:
        if job in self._running and job.ids:
            self.rows.keep(self._running.index(job), job.key)
        self._leave(job)
        self._finished += 1
        job.finish(why)
        with self._news:
            self._news.notify_all()

    def _fail(self, job: Job, error: AnswerError) -> None:
        self._leave(job)
        self._failed += 1
        job.error = error
        with self._news:
            self._news.notify_all()

    def _leave(self, job: Job) -> None:
        """The job's row is free; the last row moves into its place, so that running rows stay side by side."""
        if job not in self._running:
            with self._news:
                if job in self._waiting:
                    self._waiting.remove(job)
            return
        row, last = self._running.index(job), len(self._running) - 1
        if row != last:
            self.rows.cache.move(last, row, self._running[last].length)
            if self._seen is not None:
                self._seen[row] = self._seen[last]
        self._running[row] = self._running[last]
        self._running.pop()
        self._sampler = None
