"""A stop asked for by signal, in real processes: noted once, and no longer than the block lasts."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from accessory.runtime.signals import STOPPED, StopRequest
from SPHINX_V.errors import UsageError
from tests.house.repo import ROOT

# Says what it sees, line by line; each line that it reads is its order to look again.
PROGRAM = """
import sys
from accessory.runtime.signals import StopRequest
with StopRequest() as stop:
    for _ in sys.stdin:
        print(stop.is_set, stop.signal, flush=True)
"""


@pytest.fixture
def process():
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        yield child
        child.kill()


def ask(process):
    process.stdin.write("\n")
    process.stdin.flush()
    return process.stdout.readline().strip()


@pytest.mark.parametrize("first, second", [("SIGTERM", "SIGUSR1"), ("SIGUSR1", "SIGTERM"), ("SIGTERM", "SIGTERM")])
def test_the_first_signal_is_noted_and_the_second_changes_nothing(process, first, second):
    assert ask(process) == "False None"
    process.send_signal(signal.Signals[first])
    assert ask(process) == f"True {first}"
    process.send_signal(signal.Signals[second])
    assert ask(process) == f"True {first}"
    assert process.poll() is None


def test_a_stopped_run_ends_with_the_code_that_launchers_requeue_on():
    program = (
        "import os, signal, sys\nfrom accessory.runtime.signals import STOPPED, StopRequest\n"
        "with StopRequest() as stop:\n    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    sys.exit(STOPPED if stop.is_set else 1)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False)
    assert done.returncode == STOPPED == os.EX_TEMPFAIL


def test_after_the_block_a_signal_ends_the_process_again():
    program = (
        "import os, signal\nfrom accessory.runtime.signals import StopRequest\n"
        "with StopRequest():\n    os.kill(os.getpid(), signal.SIGUSR1)\n"
        "print('alive', flush=True)\nos.kill(os.getpid(), signal.SIGUSR1)\nprint('too far')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (-signal.SIGUSR1, "alive\n")


def test_the_handlers_from_before_are_back_also_after_an_error():
    def mine(number, frame):
        raise AssertionError("not called")

    def fail():
        with StopRequest():
            assert signal.getsignal(signal.SIGUSR1) != mine
            raise KeyError

    before = signal.signal(signal.SIGUSR1, mine)
    try:
        with pytest.raises(KeyError):
            fail()
        assert signal.getsignal(signal.SIGUSR1) == mine
    finally:
        signal.signal(signal.SIGUSR1, before)


# A helper says that it lives, and then its parent's name for how it ended, each when it is told to go on.
HELPER = """
import multiprocessing, os, sys, time
from accessory.runtime.signals import leave_stopping_to_parent

def work(pipe):
    leave_stopping_to_parent()
    pipe.send(os.getpid())
    while True:
        pipe.send(pipe.recv())

if __name__ == "__main__":
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    helper = context.Process(target=work, args=(theirs,), daemon=True)
    helper.start()
    print(ours.recv(), flush=True)
    sys.stdin.readline()
    ours.send("alive")
    print(ours.recv(), flush=True)
    helper.terminate()
    helper.join()
    print(helper.exitcode, flush=True)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="who sent a signal is told by Linux")
def test_a_helper_hears_its_parent_alone():
    with subprocess.Popen(
        [sys.executable, "-c", HELPER],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        helper = int(parent.stdout.readline())
        for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGTERM):
            os.kill(helper, number)
        said, _ = parent.communicate("go on")
    assert said == "alive\n0\n"


def test_another_thread_than_the_main_one_is_refused():
    caught = []

    def enter():
        try:
            with StopRequest():
                pass
        except UsageError as error:
            caught.append(str(error))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert caught == ["signals are handled by the main thread alone; start the run there."]
