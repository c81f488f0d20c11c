"""Processes that share a model, of which one is asked: it leads, the others do what it says and draw the same tokens.

Whatever depends on the clock, on threads or on who asks is decided by the leader, and told before a round begins. The
rest follows from it: with the same requests in the same rows every process computes the same logits, so neither logits
nor tokens are sent.
"""

from __future__ import annotations

import itertools
from contextlib import suppress
from typing import TYPE_CHECKING

from SPHINX_V.errors import AnswerError
from SPHINX_V.generation.job import Events, Job
from SPHINX_V.generation.link import Link
from SPHINX_V.generation.orders import Forget, GiveUp, Idle, Order, Round, Stop, Weigh, from_bytes, to_bytes
from SPHINX_V.generation.weighing import Weighing

if TYPE_CHECKING:
    from SPHINX_V.generation.engine import Engine


class Lead:
    """The leader's mouth. `pulse` is the engine's when it speaks; nobody else computes meanwhile."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._numbers = itertools.count()

    def round(self, events: Events, pulse: int) -> None:
        """What the next round begins with."""
        for job in events.arrived:
            job.number = next(self._numbers)
        arrived = tuple((job.number, job.prompt, job.options) for job in events.arrived)
        self._tell(Round(arrived, tuple((job.number, why) for job, why in events.ended)), pulse)

    def weigh(self, weighing: Weighing, pulse: int) -> None:
        self._tell(Weigh(weighing), pulse)

    def forget(self, pulse: int) -> None:
        self._tell(Forget(), pulse)

    def idle(self, pulse: int) -> None:
        self._tell(Idle(), pulse)

    def stop(self, pulse: int) -> None:
        self._tell(Stop(), pulse)

    def give_up(self, reason: str) -> None:
        """Tells those that still listen."""
        with suppress(RuntimeError):
            self._tell(GiveUp(reason), 0)

    def _tell(self, order: Order, pulse: int) -> None:
        self._link.tell(to_bytes(order), pulse)


def obey(engine: Engine, link: Link) -> None:
    """Does what the leader tells until it stops."""
    jobs: dict[int, Job] = {}
    while True:
        try:
            message, pulse = link.hear()
        except RuntimeError as error:
            raise AnswerError(f"the process that leads is gone ({error}); start all processes anew.") from error
        match order := from_bytes(message):
            case GiveUp():
                raise AnswerError(order.reason)
            case _ if pulse != engine.pulse():
                raise AnswerError("the processes of the model have drawn different tokens; start them anew.")
            case Round():
                arrived = {number: engine.job(prompt, options) for number, prompt, options in order.arrived}
                jobs |= arrived
                ended = [(jobs[number], why) for number, why in order.ended]
                with engine.compute:
                    engine.round(Events(list(arrived.values()), ended))
                jobs = {number: job for number, job in jobs.items() if not job.ended}
            case Weigh():
                with engine.compute, suppress(AnswerError):  # which the leader has, too, and its caller gets
                    engine.weigh_now(order.weighing)
            case Forget():
                engine.forget()
            case Stop():
                return
