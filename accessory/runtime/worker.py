"""One training process below torchrun, watched: a run that stops on request is no failure, to be started again.

torchrun starts a process anew whatever its exit code is, and gives 1 for all of them. The launchers of scripts/ have it
start this program instead, which runs the training and notes in a folder of the launcher how that ended:

    torchrun … -m accessory.runtime.worker MODULE ARGUMENTS…

It is asked to stop by SIGUSR1, which it hands on. It imports no torch: beside each training process it takes nothing.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from accessory.runtime.signals import STOPPED

REFUSED = 2  # wrong options or data, named on standard error: the same again would end the same

FOLDER = "SPHINX_V_LAUNCH"
SECONDS = "SPHINX_V_STOP_SECONDS"
_LOOK = 0.2  # seconds between looks at the child


class Worker:
    """The training process of one local rank, and what the launcher is told of it by files in `folder`:

    `stop` (made by the launcher): end, and do not begin again. `worker.RANK`: our process id. `stopped.RANK`,
    `refused.RANK`: how the training ended.
    """

    def __init__(self, folder: Path, rank: str, patience: float) -> None:
        self._folder = folder
        self._rank = rank
        self._patience = patience
        self._child: subprocess.Popen[bytes] | None = None
        self._asked: float | None = None  # when we were first asked to stop

    def run(self, command: Sequence[str]) -> int:
        """Runs the training to its end; returns the exit code for torchrun."""
        (self._folder / f"stopped.{self._rank}").unlink(missing_ok=True)
        if list(self._folder.glob("refused.*")):
            return REFUSED
        if self._stop.exists():
            return self._note("stopped", 0)
        for ignored in (signal.SIGTERM, signal.SIGINT):
            # torchrun sends them to the whole group, so the training has them too; we stay to see how it ends.
            signal.signal(ignored, lambda number, frame: None)
        signal.signal(signal.SIGUSR1, self._hand_on)
        self._child = subprocess.Popen(command)
        (self._folder / f"worker.{self._rank}").write_text(f"{os.getpid()}\n", encoding="ascii")
        if self._stop.exists():  # asked while we were not known yet
            self._hand_on(signal.SIGUSR1, None)
        return self._result(self._ended(self._child))

    @property
    def _stop(self) -> Path:
        return self._folder / "stop"

    def _hand_on(self, number: int, frame: FrameType | None) -> None:
        self._asked = self._asked or time.monotonic()
        if self._child is not None:
            self._child.send_signal(signal.SIGUSR1)

    def _ended(self, child: subprocess.Popen[bytes]) -> int:
        while True:
            try:
                return child.wait(timeout=_LOOK)
            except subprocess.TimeoutExpired:
                if self._asked is not None and time.monotonic() - self._asked > self._patience:
                    # It waits for a process that has gone, or saving takes too long; the last saved state remains.
                    print(
                        f"rank {self._rank}: not ended {self._patience:g} s after being asked; killed", file=sys.stderr
                    )
                    child.kill()

    def _result(self, code: int) -> int:
        killed_by_us = self._asked is not None and code == -signal.SIGKILL
        # SIGUSR1 ends a training that has not come to where it listens.
        if code in (STOPPED, -signal.SIGUSR1) or killed_by_us:
            return self._note("stopped", 0)
        if code == REFUSED:
            return self._note("refused", REFUSED)
        return code if code >= 0 else 128 - code

    def _note(self, name: str, code: int) -> int:
        (self._folder / f"{name}.{self._rank}").touch()
        return code


def main(argv: Sequence[str]) -> int:
    """MODULE ARGUMENTS…: runs `python -m MODULE ARGUMENTS…`; returns 0 also where it was stopped on request."""
    folder = Path(os.environ[FOLDER])
    worker = Worker(folder, os.environ.get("LOCAL_RANK", "0"), float(os.environ.get(SECONDS, "270")))
    return worker.run([sys.executable, "-m", *argv])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
