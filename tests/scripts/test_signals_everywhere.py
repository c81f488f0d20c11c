"""A cluster that takes a node away signals every process of a job, torchrun included; the state is saved even so."""

import os
import signal
import time

import pytest

from tests.accessory.processes import FOUND, command_of, descendants
from tests.scripts.test_launchers import STAGE1, launch, small_run, steps


def wait_for_steps(launched, folder, count):
    metrics = folder / "out" / "metrics.jsonl"
    while not metrics.exists() or metrics.read_bytes().count(b"\n") < count:
        assert launched.poll() is None, launched.stdout.read()
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.skipif(not FOUND, reason="finds the launcher's processes in /proc")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_torchrun_is_deaf_and_what_every_process_hears_saves_and_ends_with_75(tmp_path, number):
    run = small_run(tmp_path, max_steps=300)
    launched = launch(STAGE1, *run, GPUS="2")
    wait_for_steps(launched, tmp_path, 1)
    below = descendants(launched.pid)
    torchrun = [process for process in below if "torch.distributed.run" in command_of(process)]
    assert len(torchrun) == 1
    assert len(below) >= 5, "torchrun, two watchers and two trainings"
    os.kill(torchrun[0], number)
    wait_for_steps(launched, tmp_path, len(steps(tmp_path)) + 3)
    for process in [launched.pid, *below]:
        os.kill(process, number)
    said = launched.communicate()[0]
    assert launched.returncode == 75, said
    last = steps(tmp_path)[-1]
    assert last < 300
    assert (tmp_path / "out" / "states" / f"step-{last:08d}").is_dir()
