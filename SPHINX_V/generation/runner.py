"""Who runs an engine's rounds: a thread of its own, which may lead other processes, or what another process says."""

from __future__ import annotations

import atexit
import threading
import weakref
from typing import TYPE_CHECKING

import torch

from SPHINX_V.errors import AnswerError, UsageError
from SPHINX_V.generation.lead import Lead, obey
from SPHINX_V.generation.link import HEARTBEAT, Link

if TYPE_CHECKING:
    from SPHINX_V.generation.engine import Engine


class Runner:
    """The thread of an engine, where it has one. `lead` is there as long as other processes follow this one."""

    def __init__(self, engine: Engine, link: Link | None) -> None:
        # The engine holds this: were it held in turn, its memory would stay until garbage is collected.
        self._of, self._link = weakref.ref(engine), link
        self._changing = threading.Lock()  # held to start, to close, and to note that a thread has ended
        self._thread: threading.Thread | None = None
        self._follows = False
        self._stopped = False  # after processes were led: each alone can do nothing
        self._lost = ""  # why they cannot go on
        self.lead: Lead | None = None

    @property
    def _engine(self) -> Engine:
        engine = self._of()
        assert engine is not None, "who calls this holds the engine"
        return engine

    @property
    def runs(self) -> bool:
        """Is there a thread that will answer?"""
        return self._thread is not None

    def check_open(self) -> None:
        """Raises AnswerError where the processes of the model have failed, UsageError where this one follows."""
        if self._lost:
            raise AnswerError(self._lost)
        if self._follows:
            raise UsageError("this process follows the one that leads; ask there.")
        if self._stopped:
            raise UsageError("the engine has been stopped; start it again to ask, and let the other processes follow.")

    def check_not_led(self, what: str) -> None:
        """Raises UsageError while processes are led, which then compute what the leader says and nothing else."""
        if self.lead is not None or self._follows:
            raise UsageError(f"{what} needs all processes of the model, and these are led; stop() the engine first.")

    def start(self) -> None:
        with self._changing:
            if self._thread is not None:
                raise UsageError("the engine has been started already; stop it first.")
            self._start()

    def _start(self) -> None:
        if self._link is not None:
            if self._link.rank:
                raise UsageError(
                    f"this is process {self._link.rank} of the model's {self._link.size} and the first one leads;"
                    " call follow() here."
                )
            # What waits here is told to the others.
            self._meet(self._link, self._engine.stats().running > 0)
            self._engine.queue.unsee()
            self.lead = Lead(self._link)
        self._engine.queue.open()
        self._thread = threading.Thread(target=self._run, args=[self._engine], name="engine", daemon=True)
        # A thread that still computes when Python shuts down aborts the process.
        atexit.register(self.stop)
        self._thread.start()

    def follow(self) -> None:
        if self._link is None or not self._link.rank:
            raise UsageError("follow() is for the other processes of a model that is split over several; call start().")
        self._meet(self._link, self._engine.busy())
        self._follows = True
        try:
            obey(self._engine, self._link)
        except BaseException as error:
            self._lost = f"the processes of the model have failed ({type(error).__name__}: {error}); start them anew."
            raise
        finally:
            self._follows, self._stopped = False, True

    def _meet(self, link: Link, busy: bool) -> None:
        """All processes are there, and what they keep is the same: nothing."""
        self._stopped = False
        self.check_open()
        problem = link.agree("requests are still being answered; let them finish, then start." if busy else None)
        if problem is not None:
            raise UsageError(problem)
        self._engine.rows.forget()

    def stop(self, drain: float = 0.0) -> None:
        with self._changing:
            thread, queue = self._thread, self._engine.queue
            if thread is None:
                return
            queue.close(drain)
        thread.join()
        with self._changing:
            if self._thread is thread:
                self._thread, self._stopped = None, self._link is not None
                atexit.unregister(self.stop)
            if self._thread is None:  # else another stop was sooner, and it has been started again
                queue.open()

    def _run(self, engine: Engine) -> None:
        news = engine.queue.news
        if engine.rows.device.type == "cuda":  # which each thread chooses for itself
            torch.cuda.set_device(engine.rows.device)
        silence = None if self.lead is None else HEARTBEAT
        try:
            while True:
                with news:
                    news.wait_for(lambda: engine.busy() or engine.queue.closing, silence)
                with engine.compute:
                    if engine.busy():
                        engine.round()
                    elif engine.queue.closing:
                        if self.lead is not None:
                            self.lead.stop(engine.pulse())
                        self.lead = None
                        return
                    elif self.lead is not None:
                        self.lead.idle(engine.pulse())
        except BaseException as error:
            self._thread = None  # whoever waits for later requests runs the rounds
            atexit.unregister(self.stop)
            if self.lead is not None:
                self._lost = (
                    f"the processes of the model have failed ({type(error).__name__}: {error}); start them anew."
                )
            engine.fail_all(error)
            if self.lead is not None:
                self.lead.give_up(self._lost)
            raise
