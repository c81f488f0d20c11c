"""Who is answered when: requests wait in a bounded queue, join the running rows as rows get free, and leave when done.

One round takes in who waits, then computes one token for every running row. `rows` computes, `job` holds a request,
`queue` those that wait, `runner` has rounds run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress

import torch
from torch import Tensor

from SPHINX_V.errors import AnswerError, UsageError
from SPHINX_V.generation.batch import in_order
from SPHINX_V.generation.decode import Drawn, draw_first
from SPHINX_V.generation.job import AnswerStream, Events, Job
from SPHINX_V.generation.options import Answer, EngineOptions, EngineStats, Finish, Options
from SPHINX_V.generation.prompt import PreparedPrompt, prepare
from SPHINX_V.generation.queue import Queue
from SPHINX_V.generation.request import Request
from SPHINX_V.generation.rows import Rows, out_of_memory
from SPHINX_V.generation.runner import Runner
from SPHINX_V.generation.sampling import Sampler
from SPHINX_V.generation.squares import Squares
from SPHINX_V.generation.turns import FairLock
from SPHINX_V.generation.weighing import Weighing, weigh
from SPHINX_V.model.sphinx_v import SphinxV
from SPHINX_V.processing.processor import Processor

_JOIN_AT_ONCE = 4  # beside running rows, which wait meanwhile
_LOOK_ON_GPU = 8  # tokens


class Engine:
    """Answers many requests at a time with one model; each answer is the one that its request gets alone.

    Without `start` rounds run in the threads that wait for answers. Of a model that is split over processes all make an
    engine; then either all make the same calls in the same order, or the first one calls `start` and is asked, and the
    others `follow`. Memory: the cache is allocated here, for as many rows as fit (`stats().rows`,
    at most `max_rows`), and belongs to the engine. Raises UsageError where not even one row fits.
    """

    def __init__(self, model: SphinxV, processor: Processor, options: EngineOptions | None = None) -> None:
        self.options = options or EngineOptions()
        self._processor = processor
        self.rows = Rows(model, self.options)
        self.squares = Squares(processor.config.vision.picture_size, self.options.picture_bytes // 2)
        self._pieces = processor.tokenizer.vocab_size
        self._look = self.options.tokens_per_look or (_LOOK_ON_GPU if self.rows.device.type == "cuda" else 1)
        self.queue = Queue(self.options.max_waiting)
        self._joining: list[Job] = []  # out of the queue, and not all of them in their rows yet
        self._running: list[Job] = []  # job i has row i
        self._sampler: Sampler | None = None  # of the running rows
        self._seen: Tensor | None = None  # [rows, vocab]: tokens of a row so far, once a request asks for a penalty
        self._finished = self._failed = self._tokens = self._reused = 0
        self.compute = FairLock()  # held for a round, and for whatever else uses rows
        self._runner = Runner(self, self.rows.peers.link)

    @property
    def started(self) -> bool:
        """Does a thread of its own run the rounds?"""
        return self._runner.runs

    # What callers do

    def submit(self, request: Request) -> AnswerStream:
        """Puts a request into the queue. Raises UsageError for one that cannot be answered, DataError for a picture
        that cannot be read, QueueFullError where `max_waiting` wait already."""
        self._runner.check_open()
        if not self._runner.runs and len(self.queue) >= self.options.max_waiting:
            self._end_cancelled()  # streams that nobody holds any more only have a mark
        self.queue.check_room()  # before a picture is opened for nothing
        options = request.options()
        question = self._processor.question(request.image, request.prompts, request.turns, self.squares.open)
        job = self.job(prepare(self._processor, question, self.rows.length, options.overflow), options)
        self.queue.put(job)
        return AnswerStream(self, job)

    def answers(self, requests: Iterable[Request], at_once: int | None = None) -> Iterator[Answer]:
        """The answers to requests in their order, of which at most `at_once` (default: as many as there are rows) are
        in the engine at a time: one that takes long keeps the others back only from being given. Dropping the iterator
        cancels the rest."""
        if at_once is not None and at_once < 1:
            raise UsageError(f"at_once is {at_once}; give at least 1, or None for as many as there are rows.")
        return in_order(self, requests, min(at_once or self.rows.count, self.options.max_waiting))

    def stats(self) -> EngineStats:
        """Counts, and what is held now."""
        rows = self.rows
        return EngineStats(
            rows=rows.count,
            running=len(self._running),
            waiting=len(self.queue),
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
            if self._runner.lead is not None:
                self._runner.lead.forget(self.pulse())
            self.rows.forget()
            self.squares.clear()

    def weigh(self, weighing: Weighing) -> list[float]:
        """The log-probabilities of texts, in a row that no request has; no round runs meanwhile. Raises AnswerError
        where memory is short."""
        self._runner.check_open()
        led = self._runner.lead is not None
        while True:
            with self.compute:
                if led != (self._runner.lead is not None):
                    raise UsageError("the engine has been stopped or started meanwhile; ask again.")
                if len(self._running) < self.rows.count:
                    if self._runner.lead is not None:
                        self._runner.lead.weigh(weighing, self.pulse())
                    return self.weigh_now(weighing)
                if not self._runner.runs:
                    self.round()

    @torch.inference_mode()
    def weigh_now(self, weighing: Weighing) -> list[float]:
        """`weigh`, by whoever holds `compute` and knows that there is a row."""
        try:
            return weigh(self.rows, len(self._running), weighing, self._pieces)
        except torch.OutOfMemoryError as error:
            raise out_of_memory(f"a prompt of {len(weighing.common.key)} positions", error) from None

    # What streams ask

    def wait_for(self, job: Job) -> None:
        """Returns when `job` has a piece to show or has ended."""
        self.wait_until(lambda: bool(job.pieces) or job.ended)

    def wait_until(self, is_so: Callable[[], bool]) -> None:
        """Returns when `is_so`, which only rounds can change."""
        while True:
            with self.queue.news:
                while not is_so() and self._runner.runs:
                    self.queue.news.wait()
                if is_so():
                    return
            with self.compute:
                if not is_so() and not self._runner.runs:
                    self.round()

    def cancel(self, job: Job) -> None:
        """Ends a job; its row is free before the next round, and at once where no round is running."""
        job.cancelled = True
        if self._runner.runs:
            self.queue.tell()
        else:
            self._end_cancelled()

    def _end_cancelled(self) -> None:
        # Never waits: generators that are dropped cancel, and may be collected anywhere, also in the middle of a round.
        with self.compute.if_free() as is_free, torch.inference_mode():
            if is_free and self._runner.lead is None:
                self._begin(self.queue.changes(self._running, timeouts=False))

    # Who runs rounds

    def start(self) -> None:
        """Runs rounds in a thread of its own as long as there is work, until `stop`.

        Of a model that is split over processes the first one starts, and leads the others, who `follow`; this returns
        when they do, and what was kept of earlier requests is dropped. Until `stop` only the engine may use the model.
        """
        self._runner.start()

    def follow(self) -> None:
        """Computes with the process that leads, from its `start` to its `stop`; returns then. Raises AnswerError where
        that process is gone or has failed: then this one cannot go on either, and should end with an error."""
        self._runner.follow()

    def stop(self, drain: float = 0.0) -> None:
        """Takes no more requests, lets those that are there finish for up to `drain` seconds, cancels the rest. Returns
        when the round that runs at that time is over."""
        self._runner.stop(drain)

    def check_not_led(self, what: str) -> None:
        """Raises UsageError for `what`, which uses the model without the engine, while processes are led."""
        self._runner.check_not_led(what)

    def busy(self) -> bool:
        """Is there a request that has not ended?"""
        return bool(len(self.queue) or self._joining or self._running)

    def job(self, prompt: PreparedPrompt, options: Options) -> Job:
        """A request that nobody has seen yet."""
        return Job(prompt, options, self._processor.tokenizer, self.rows.length)

    def pulse(self) -> int:
        """A number that is the same on processes which have drawn the same tokens in the same rows."""
        return hash(tuple((len(job.ids), job.ids[-1]) for job in self._running))

    def fail_all(self, error: BaseException) -> None:
        """Nobody may wait for what will never come."""
        broken = AnswerError(f"the engine failed while this was answered ({type(error).__name__}: {error}).")
        with self.queue.news:
            for job in (*self._running, *self._joining, *self.queue.clear()):
                if not job.ended:
                    job.fail(broken)
                    self._failed += 1
            self._running, self._joining, self._sampler = [], [], None
        self.queue.tell()

    # A round

    @torch.inference_mode()
    def round(self, events: Events | None = None) -> None:
        """One round, by whoever holds `compute`. `events`: what it begins with, where another process says."""
        try:
            self._begin(self._events() if events is None else events)
            self._join()
            if self._running:
                self._step()
        except BaseException as error:
            self.fail_all(error)
            raise

    def _events(self) -> Events:
        lead = self._runner.lead
        if lead is None:
            return self.queue.changes(self._running, link=self.rows.peers.link)
        events = self.queue.changes(self._running)
        lead.round(events, self.pulse())
        return events

    def _begin(self, events: Events) -> None:
        self.queue.admit(events.arrived)
        for job, why in events.ended:
            self._finish(job, why)

    def _join(self) -> None:
        room = self.rows.count - len(self._running)
        if self._running:
            room = min(room, _JOIN_AT_ONCE)
        with self.queue.news:  # in one go, so that who asks whether the engine is busy sees them here or there
            self._joining = self.queue.take(room)
        if not self._joining:
            return
        try:
            with self.rows.together():
                pictures = self.rows.encode([job.prompt for job in self._joining])
        except torch.OutOfMemoryError:  # each on its own then, so that only those fail that do not fit
            pictures = {}
        waiting: Sequence[Job] = self._joining
        while waiting := self._going_on(waiting):
            count = self.rows.at_once([job.prompt.key for job in waiting])
            self._fill(waiting[:count], pictures)
            waiting = waiting[count:]
        self._joining = []

    def _going_on(self, waiting: Sequence[Job]) -> Sequence[Job]:
        """Those of the jobs that wait for their rows which go on, after what has come up meanwhile: filling all of them
        may take long. Other processes are told before a round, and would not know."""
        if self.rows.peers.link is None:
            self._begin(self.queue.changes([*self._running, *waiting]))
        return [job for job in waiting if not job.ended]

    def _fill(self, jobs: Sequence[Job], pictures: dict[str, Tensor]) -> None:
        """Puts jobs into rows and draws their first tokens; where memory is short, one by one."""
        row = len(self._running)
        try:
            with self.rows.together():
                logits, cached = self.rows.fill(row, [job.prompt for job in jobs], pictures)
        except torch.OutOfMemoryError as error:
            for number, job in enumerate(jobs):
                self.rows.discard(row + number, job.prompt.key)
            if len(jobs) == 1:
                self._fail(jobs[0], out_of_memory(f"a prompt of {len(jobs[0].prompt.key)} positions", error))
                return
            for job in jobs:
                self._fill([job], pictures)
            return
        self._running.extend(jobs)
        self._sampler = None
        for number, (job, job.cached) in enumerate(zip(jobs, cached)):
            self._reused += job.cached
            self._mark_seen(row + number, job.prompt.key.ids)
        seen = None if self._seen is None else self._seen[row : row + len(jobs)]
        sampler = Sampler([job.draws for job in jobs], self.rows.device)
        self._take(jobs, draw_first(logits[:, : self._pieces], sampler, seen))

    def _step(self) -> None:
        jobs = list(self._running)
        if self._sampler is None:
            self._sampler = Sampler([job.draws for job in jobs], self.rows.device)
        try:
            with self.rows.peers.step():
                drawn = self.rows.decoder.draw(
                    [job.ids[-1] for job in jobs],
                    [job.length for job in jobs],
                    self._steps_until_look(jobs),
                    self._pieces,
                    self._sampler,
                    None if self._seen is None else self._seen[: len(jobs)],
                    keep_logits=any(job.options.logprobs is not None for job in jobs),
                )
        except torch.OutOfMemoryError as error:
            self.rows.forget()
            for job in reversed(jobs):
                self._fail(job, out_of_memory(f"token {len(job.ids) + 1} of the answer", error))
            return
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
        spoilt: list[Job] = []  # ended, and what was drawn after the end is not finite
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
                    if not all(math.isfinite(after[index]) for after in drawn.greatest[step + 1 :]):
                        spoilt.append(job)
                    break
        short = self.rows.shortage() if broken or spoilt else None
        # Rows change places here, so not before.
        for job, error in broken:
            if short is not None:
                error = out_of_memory(f"token {len(job.ids) + 1} of the answer", short)
            self.rows.discard(self._running.index(job), job.prompt.key)
            self._fail(job, error)
        for job, why in ends:
            self._finish(job, why, job in spoilt)
        self.queue.tell()

    def _mark_seen(self, row: int, ids: Sequence[int]) -> None:
        """Notes the tokens of a new row's prompt, from the first request on that asks for a penalty."""
        if self._seen is None:
            if self._running[row].options.sampling.repetition_penalty == 1:
                return
            self._seen = torch.zeros(self.rows.count, self._pieces, dtype=torch.bool, device=self.rows.device)
        self._seen[row] = False
        self._seen[row, torch.tensor(ids, device=self.rows.device)] = True

    def _finish(self, job: Job, why: Finish, is_spoilt: bool = False) -> None:
        if job in self._running and job.ids:
            with suppress(torch.OutOfMemoryError), self.rows.together():
                self.rows.keep(self._running.index(job), job.key)
            if is_spoilt:
                self.rows.cache.clear(self._running.index(job))
        self._leave(job)
        self._finished += 1
        job.finish(why)
        self.queue.tell()

    def _fail(self, job: Job, error: AnswerError) -> None:
        self._leave(job)
        self._failed += 1
        job.fail(error)
        self.queue.tell()

    def _leave(self, job: Job) -> None:
        """The job's row is free; the last row moves into its place, so that running rows stay side by side."""
        if job not in self._running:
            self.queue.remove(job)
            return
        row, last = self._running.index(job), len(self._running) - 1
        if row != last:
            self.rows.cache.move(last, row, self._running[last].length)
            if self._seen is not None:
                self._seen[row] = self._seen[last]
        self._running[row] = self._running[last]
        self._running.pop()
        self._sampler = None
