"""Asked to stop from outside: SIGTERM and SIGUSR1 are noted, so that a run can save before it ends."""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType, TracebackType
from typing import Any

from SPHINX_V.errors import UsageError

STOPPED = 75
"""The exit code of a run that was stopped, has saved and can be resumed: EX_TEMPFAIL of sysexits.h, "try again"."""

_SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


class StopRequest:
    """Within `with StopRequest() as stop:`, a signal sets `stop.signal` and does nothing else; more change nothing.

    SIGTERM is what a cluster sends before it takes a node away, SIGUSR1 what Slurm's `--signal` is mostly set to. The
    handlers from before are restored at the end. Raises UsageError outside the main thread, where Python handles none.
    """

    def __init__(self) -> None:
        self.signal: str | None = None  # the name of the first that came
        self._before: dict[signal.Signals, Any] = {}

    @property
    def is_set(self) -> bool:
        """Has this process been asked to stop? Others may not have been yet: agree on it before acting."""
        return self.signal is not None

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signal is None:
            self.signal = signal.Signals(number).name

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is not threading.main_thread():
            raise UsageError("signals are handled by the main thread alone; start the run there.")
        self._before = {one: signal.signal(one, self._note) for one in _SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for one, handler in self._before.items():
            # None stands for a handler that was not set by Python, and that Python cannot set again.
            signal.signal(one, signal.SIG_DFL if handler is None else handler)


def leave_stopping_to_parent() -> None:
    """In a helper process, such as one that reads data: SIGUSR1 is ignored, and SIGTERM where it is not the parent's.

    A cluster signals every process of a job, and a helper that ended then would take the training along before that has
    saved. The parent's SIGTERM is how multiprocessing ends its processes. Telling the two apart takes Linux; elsewhere
    SIGTERM is left as it is.
    """
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    if sys.platform == "linux":
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_with_parent, name="signals", daemon=True).start()


def _end_with_parent() -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)
