"""The watcher of a training process: how an end is told to torchrun and the launcher, how a stop is handed on."""

import os
import signal
import subprocess
import sys
import time

import pytest

from accessory.runtime.signals import STOPPED
from accessory.runtime.worker import REFUSED
from tests.house.repo import ROOT

ENDS = "import sys\nsys.exit(int(sys.argv[1]))\n"
KILLED = "import os, signal, sys\nos.kill(os.getpid(), int(sys.argv[1]))\nsignal.pause()\n"
# Says that it listens, then saves (takes a moment) when it is asked to.
SAVES = """
import pathlib, signal, sys, time
asked = []
signal.signal(signal.SIGUSR1, lambda number, frame: asked.append(number))
pathlib.Path(sys.argv[1]).touch()
while not asked:
    time.sleep(0.01)
sys.exit(75)
"""
SLEEPS = "import pathlib, signal, sys\npathlib.Path(sys.argv[1]).touch()\nsignal.pause()\n"
DEAF = "import pathlib, signal, sys\nsignal.signal(signal.SIGUSR1, signal.SIG_IGN)\npathlib.Path(sys.argv[1]).touch()\n"
HANGS = f"{DEAF}while True:\n    signal.pause()\n"


@pytest.fixture
def start(tmp_path):
    """Starts a worker as rank 3 with a module of this text; `start.folder` is the launcher's."""
    folder = tmp_path / "launch"
    folder.mkdir()

    def started(text, *arguments, patience="60"):
        (tmp_path / "training.py").write_text(text)
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(tmp_path)]),
            "SPHINX_V_LAUNCH": str(folder),
            "SPHINX_V_STOP_SECONDS": patience,
            "LOCAL_RANK": "3",
        }
        command = [sys.executable, "-m", "accessory.runtime.worker", "training", *map(str, arguments)]
        return subprocess.Popen(command, env=environment, start_new_session=True, stderr=subprocess.PIPE, text=True)

    started.folder = folder
    return started


def notes(folder):
    return sorted(path.name for path in folder.iterdir())


def until(path, worker):
    while not path.exists():
        assert worker.poll() is None, worker.stderr.read()
        time.sleep(0.01)


@pytest.mark.parametrize(
    "code, told, noted",
    [(0, 0, []), (1, 1, []), (7, 7, []), (STOPPED, 0, ["stopped.3"]), (REFUSED, REFUSED, ["refused.3"])],
)
def test_how_a_training_ends_is_told(start, code, told, noted):
    assert start(ENDS, code).wait() == told
    assert notes(start.folder) == [*noted, "worker.3"]


def test_a_killed_training_is_a_failure(start):
    assert start(KILLED, int(signal.SIGKILL)).wait() == 128 + signal.SIGKILL
    assert notes(start.folder) == ["worker.3"]


def test_a_stop_is_handed_on_and_the_state_is_saved(start, tmp_path):
    worker = start(SAVES, tmp_path / "listens")
    until(tmp_path / "listens", worker)
    assert (start.folder / "worker.3").read_text() == f"{worker.pid}\n"
    worker.send_signal(signal.SIGUSR1)
    assert worker.wait() == 0
    assert "stopped.3" in notes(start.folder)


def test_a_stop_before_the_training_listens_ends_it(start, tmp_path):
    worker = start(
        "import pathlib, signal, sys\npathlib.Path(sys.argv[1]).touch()\nsignal.pause()\n", tmp_path / "runs"
    )
    until(tmp_path / "runs", worker)
    worker.send_signal(signal.SIGUSR1)
    assert worker.wait() == 0
    assert "stopped.3" in notes(start.folder)


def test_a_stop_that_came_before_its_start_is_kept(start):
    (start.folder / "stop").touch()
    assert start(ENDS, 1).wait() == 0
    assert notes(start.folder) == ["stop", "stopped.3"]


def test_a_training_that_does_not_end_is_killed(start, tmp_path):
    worker = start(HANGS, tmp_path / "listens", patience="0.5")
    until(tmp_path / "listens", worker)
    worker.send_signal(signal.SIGUSR1)
    assert worker.wait() == 0
    assert "rank 3: not ended 0.5 s after being asked; killed" in worker.stderr.read()
    assert "stopped.3" in notes(start.folder)


def test_it_stays_until_its_training_has_ended(start, tmp_path):
    # torchrun ends a group of processes by SIGTERM to all of them; this training takes its time.
    text = SAVES.replace("SIGUSR1", "SIGTERM").replace("sys.exit(75)", "time.sleep(0.5); sys.exit(9)")
    worker = start(text, tmp_path / "listens")
    until(tmp_path / "listens", worker)
    os.killpg(worker.pid, signal.SIGTERM)
    assert worker.wait() == 9


def test_what_was_refused_is_not_tried_again(start):
    (start.folder / "refused.0").touch()
    assert start(ENDS, 0).wait() == REFUSED
    assert notes(start.folder) == ["refused.0"]


def test_an_earlier_stop_is_forgotten_when_it_runs_again(start):
    (start.folder / "stopped.3").touch()
    assert start(ENDS, 1).wait() == 1
    assert notes(start.folder) == ["worker.3"]


def test_it_loads_no_torch():
    code = "import sys, accessory.runtime.worker; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
