"""Training below torchrun: a killed process is replaced and nothing is lost, and two agents make one run."""

import os
import random
import signal
import socket
import subprocess
import sys
import time

import pytest

from accessory.train.state_folder import StateFolder
from tests.accessory.processes import FOUND, children
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
from tests.launch import ENVIRONMENT

STEPS = 8


def start(config, *overrides, options):
    """torchrun with the real entry point; what it says goes to a file beside the configuration."""
    command = [sys.executable, "-m", "torch.distributed.run", *options, "-m", "accessory.main", "--config", str(config)]
    with config.with_suffix(".log").open("a") as told:
        return subprocess.Popen(
            [*command, *overrides],
            env=ENVIRONMENT,
            stdout=told,
            stderr=subprocess.STDOUT,
        )


def told(config):
    return config.with_suffix(".log").read_text(encoding="utf-8")


def ended(config, *agents):
    """Waits for the agents, which must end well."""
    for agent in agents:
        assert agent.wait() == 0, told(config)[-5000:]


def workers(agent):
    """The process ids of an agent's workers, by rank."""
    started = children(agent.pid)
    return {int(given["RANK"]): process for process, given in started.items() if "RANK" in given}


def kill(config, agent, rank, step, draw):
    """Kills a worker of the agent, by its rank or the only one, at a moment when a later state than that of `step` was
    committed; returns the step of the newest when it was gone. That is the last, if the worker had rank 0."""
    states = StateFolder(config.parent / "out" / "states")
    while max(states.steps(), default=0) <= step:
        assert agent.poll() is None, told(config)[-5000:]
        time.sleep(0.01)
    time.sleep(draw.uniform(0, 0.3))
    found = workers(agent)
    victim = found[rank] if rank is not None else next(iter(found.values()))
    os.kill(victim, signal.SIGKILL)
    while victim in workers(agent).values():
        time.sleep(0.01)
    return max(states.steps())


@pytest.mark.slow
@pytest.mark.skipif(not FOUND, reason="finds torchrun's processes in /proc")
def test_killed_processes_are_replaced_and_the_job_ends_as_if_nothing_had_happened(tmp_path):
    config = write_run(
        tmp_path, write_data(tmp_path, MIXED), preset=True, max_steps=STEPS, mark_loss=0.5, data={"box_jitter": True}
    )
    two = ["--standalone", "--nproc_per_node=2", "--max_restarts=3"]
    ended(config, start(config, f"output={tmp_path / 'whole'}", options=two))

    draw = random.Random(0)
    agent = start(config, "save.every=1", options=two)
    first = kill(config, agent, 0, 0, draw)
    kill(config, agent, 1, first, draw)
    ended(config, agent)
    assert told(config).count("going on after step") == 2
    assert repeatable(tmp_path / "out") == repeatable(tmp_path / "whole")
    assert hash_of_checkpoint(tmp_path / "out") == hash_of_checkpoint(tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.skipif(not FOUND, reason="finds torchrun's processes in /proc")
def test_two_agents_train_together_as_one_process_also_when_one_lost_its_worker(tmp_path):
    config = write_run(
        tmp_path, write_data(tmp_path, MIXED), batch_size=4, freeze=FREEZE[2], max_steps=STEPS, warmup_epochs=0.0
    )
    expected = run(config, f"output={tmp_path / 'alone'}")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        endpoint = f"127.0.0.1:{probe.getsockname()[1]}"
    node = ["--nnodes=2", "--nproc_per_node=1", "--rdzv_backend=c10d", f"--rdzv_endpoint={endpoint}"]
    node += ["--max_restarts=3"]
    agents = [start(config, "train.batch_size=2", "save.every=1", options=node) for _ in range(2)]
    kill(config, agents[1], None, 0, random.Random(0))
    ended(config, *agents)
    metrics = read_metrics(tmp_path / "out")
    assert len(metrics) == STEPS
    for line, reference in zip(metrics, expected):
        assert line["samples"] == reference["samples"]
        for key in ("loss", "grad_norm"):
            assert line[key] == pytest.approx(reference[key], rel=1e-5), (line["step"], key)
