"""The processes of a run as those who save together: what each has done, and whether one of them failed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from torch import distributed

from accessory.runtime.distributed import World

T = TypeVar("T")


class RankFailure(Exception):
    """What the system refused to one or more processes; raised on all of them with the same words."""


class Peers:
    """All processes over a gloo group of their own; every method is called by all, in the same order.

    A group of their own, also where training uses gloo: states are saved by a thread beside training, and the
    exchanges of the two would meet in another order on every process.
    """

    def __init__(self, world: World) -> None:
        self.rank = world.rank
        self.group: distributed.ProcessGroup | None = None
        if distributed.is_initialized():
            self.group = distributed.new_group(backend="gloo")

    def gather(self, value: T) -> list[T]:
        """The values of all processes, in the order of ranks."""
        if self.group is None:
            return [value]
        values: list[Any] = [None] * distributed.get_world_size(self.group)
        distributed.all_gather_object(values, value, group=self.group)
        return values

    def each(self, work: Callable[[], T]) -> list[T]:
        """What `work` gives on each process. Raises RankFailure everywhere where it raises OSError anywhere."""
        result: T | None = None
        failure = None
        try:
            result = work()
        except OSError as error:
            failure = str(error)
        outcomes = self.gather((result, failure))
        failures = [f"rank {rank}: {why}" for rank, (_, why) in enumerate(outcomes) if why is not None]
        if failures:
            raise RankFailure("; ".join(failures))
        return [value for value, _ in outcomes]  # type: ignore[misc]

    def first(self, work: Callable[[], T]) -> T:
        """What `work` gives on the first process, on all of them; it runs on no other. Raises as `each`."""
        results: list[Any] = self.each(lambda: work() if self.rank == 0 else None)
        return results[0]
