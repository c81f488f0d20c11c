"""Training below torchrun: a killed process is replaced and nothing is lost, and two agents make one run."""

import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from accessory.train.state_folder import StateFolder
from tests.accessory.runs import (
    FREEZE,
    MIXED,
    hash_of_checkpoint,
    read_metrics,
    repeatable,
    run,
    write_data,
    write_run,
)
from tests.house.repo import ROOT

STEPS = 12
KILLS = 3


def start(config, *overrides, options):
    """torchrun with the real entry point; what it says goes to a file beside the configuration."""
    command = [sys.executable, "-m", "torch.distributed.run", *options, "-m", "accessory.main", "--config", str(config)]
    with config.with_suffix(".log").open("a") as told:
        return subprocess.Popen(
            [*command, *overrides],
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            stdout=told,
            stderr=subprocess.STDOUT,
        )


def ended(config, *agents):
    """Waits for the agents, which must end well."""
    for agent in agents:
        assert agent.wait() == 0, config.with_suffix(".log").read_text(encoding="utf-8")[-5000:]


def workers(agent):
    """The process ids of an agent's workers, by rank."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            ours = parent == agent.pid
            given = dict(entry.partition(b"=")[::2] for entry in (folder / "environ").read_bytes().split(b"\0"))
        except (OSError, IndexError):
            continue  # ended meanwhile, or another user's
        if ours and b"RANK" in given:
            found[int(given[b"RANK"])] = int(folder.name)
    return found


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds torchrun's processes in /proc")
def test_killed_processes_are_replaced_and_the_job_ends_as_if_nothing_had_happened(tmp_path):
    config = write_run(
        tmp_path, write_data(tmp_path, MIXED), preset=True, max_steps=STEPS, mark_loss=0.5, data={"box_jitter": True}
    )
    two = ["--standalone", "--nproc_per_node=2", f"--max_restarts={KILLS}"]
    ended(config, start(config, f"output={tmp_path / 'whole'}", options=two))

    draw = random.Random(0)
    states, newest, killed = StateFolder(tmp_path / "out" / "states"), 0, set()
    agent = start(config, "save.every=1", options=two)
    for _ in range(KILLS):
        newest += draw.randint(1, 3)
        while max(states.steps(), default=0) < newest:
            assert agent.poll() is None, config.with_suffix(".log").read_text(encoding="utf-8")[-5000:]
            time.sleep(0.01)
        time.sleep(draw.uniform(0, 0.3))
        victim = workers(agent)[draw.randint(0, 1)]
        killed.add(victim)
        os.kill(victim, signal.SIGKILL)
        newest = max(states.steps())
    ended(config, agent)
    assert len(killed) == KILLS
    assert config.with_suffix(".log").read_text(encoding="utf-8").count("going on after step") == KILLS
    assert repeatable(tmp_path / "out") == repeatable(tmp_path / "whole")
    assert hash_of_checkpoint(tmp_path / "out") == hash_of_checkpoint(tmp_path / "whole")


@pytest.mark.slow
def test_two_agents_train_together_as_one_process(tmp_path):
    config = write_run(
        tmp_path, write_data(tmp_path, MIXED), batch_size=4, freeze=FREEZE[2], max_steps=5, warmup_epochs=0.0
    )
    expected = run(config, f"output={tmp_path / 'alone'}")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        endpoint = f"127.0.0.1:{probe.getsockname()[1]}"
    nodes = ["--nnodes=2", "--nproc_per_node=1", "--rdzv_backend=c10d", f"--rdzv_endpoint={endpoint}"]
    ended(config, *[start(config, "train.batch_size=2", options=nodes) for _ in range(2)])
    metrics = read_metrics(tmp_path / "out")
    assert len(metrics) == 5
    for line, reference in zip(metrics, expected):
        assert line["samples"] == reference["samples"]
        for key in ("loss", "grad_norm"):
            assert line[key] == pytest.approx(reference[key], rel=1e-5), (line["step"], key)
