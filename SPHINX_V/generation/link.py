"""The wire between the processes that share a model: the first one tells, the others hear, and all of them agree.

Messages are small and go over the CPU, whatever the model computes on: a process that waits for one keeps no GPU busy,
and may wait for a day.
"""

from __future__ import annotations

from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor, distributed

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

# How long a process may hear nothing. A leader without work says so every HEARTBEAT seconds, so that connections which
# networks close when they are idle stay open, and a peer that is gone is noticed.
_SILENCE = timedelta(days=1)
HEARTBEAT = 60.0


class Link:
    """This process among those that share the model of `model_group`. All of them make it, in the same order.

    `tell` and `hear` meet: the first process goes on when all others have heard. One thread at a time uses a link.
    """

    def __init__(self, model_group: ProcessGroup, silence: timedelta = _SILENCE) -> None:
        self.model_group = model_group
        self.rank, self.size = model_group.rank(), model_group.size()
        # Only its members make this group; other copies of the model beside it need not.
        self._group = distributed.new_group(
            distributed.get_process_group_ranks(model_group),
            timeout=silence,
            backend="gloo",
            use_local_synchronization=True,
        )

    def tell(self, message: bytes, pulse: int) -> None:
        """Gives the others a message, which may be empty, with a number that tells whether they are in step."""
        self._send(torch.tensor([len(message), pulse]))
        if message:
            self._send(torch.frombuffer(bytearray(message), dtype=torch.uint8))

    def hear(self) -> tuple[bytes, int]:
        """Waits for what the first process tells. Raises RuntimeError where that is gone."""
        size, pulse = self._send(torch.zeros(2, dtype=torch.int64)).tolist()
        if not size:
            return b"", pulse
        return self._send(torch.empty(size, dtype=torch.uint8)).numpy().tobytes(), pulse

    def of_first(self, flags: list[bool]) -> list[bool]:
        """The first process's flags, of which all have as many."""
        return [bool(flag) for flag in self._send(torch.tensor(flags, dtype=torch.uint8)).tolist()]

    def agree(self, problem: str | None) -> str | None:
        """The first problem that any process has, on all of them; None where none has one."""
        worst = torch.tensor(0 if problem is None else self.size - self.rank)
        distributed.all_reduce(worst, distributed.ReduceOp.MAX, group=self._group)
        if not worst:
            return None
        who = self.size - int(worst)
        text = (problem or "a problem").encode()
        length = self._send(torch.tensor(len(text)), who)
        known = torch.frombuffer(bytearray(text), dtype=torch.uint8) if who == self.rank else None
        text = (
            self._send(torch.empty(int(length), dtype=torch.uint8) if known is None else known, who).numpy().tobytes()
        )
        return f"process {who} of the model's {self.size}: {text.decode()}"

    def _send(self, value: Tensor, source: int = 0) -> Tensor:
        distributed.broadcast(value, group=self._group, group_src=source)
        return value


@lru_cache
def link_over(model_group: ProcessGroup) -> Link:
    """The link of a group; engines of one model share it, because each one costs threads and sockets."""
    return Link(model_group)
