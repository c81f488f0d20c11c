"""The launchers of training: what they start, how they end, and that a stopped job is queued again.

Slurm's commands are stand-ins that note their arguments. torchrun and the training are the real ones.
"""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time

import pytest
import yaml

from accessory.config import RunOptions, load_options
from tests.accessory.runs import MIXED, read_metrics, write_data
from tests.golden_model import GOLDEN
from tests.house.repo import ROOT

STAGE1, STAGE2 = "train_sphinx-v_pretrain_stage1.sh", "train_sphinx-v_finetune_stage2.sh"
STAGES = [(STAGE1, "stage1_pretrain"), (STAGE2, "stage2_finetune")]

# Each notes its arguments, one a line of JSON, and then does what the test wants of it.
NOTE = 'python3 -c "import json, sys; print(json.dumps(sys.argv[1:]))" "$@" >>"$NOTES/$(basename "$0")"\n'
SRUN = f"""#!/usr/bin/env bash
{NOTE}
env >"$NOTES/environment"
eval "$SRUN_DOES"
"""
SCONTROL = f"""#!/usr/bin/env bash
{NOTE}
[ "$1" != show ] || printf 'node-7\\nnode-8\\n'
"""


@pytest.fixture
def slurm(tmp_path):
    """Runs a Slurm form as if in a job of two nodes; `srun` then does what it is told to in bash."""
    commands = tmp_path / "bin"
    commands.mkdir()
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL)):
        (commands / name).write_text(text)
        (commands / name).chmod(0o755)

    def started(script, *arguments, does="exit 0", **environment):
        given = {
            "PATH": f"{commands}{os.pathsep}{os.environ['PATH']}",
            "NOTES": str(tmp_path),
            "SRUN_DOES": does,
            "SLURM_JOB_ID": "61234",
            "SLURM_SUBMIT_DIR": str(ROOT),
            "SLURM_JOB_NODELIST": "node-[7-8]",
            "SLURM_JOB_NUM_NODES": "2",
            "SLURM_GPUS_ON_NODE": "8",
            "SPHINX_V_PYTHON": sys.executable,
            **environment,
        }
        command = ["bash", f"scripts/slurm_{script}", *map(str, arguments)]
        return subprocess.Popen(
            command, cwd=ROOT, env=given, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def noted(name):
        path = tmp_path / name
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    started.noted = noted
    started.folder = tmp_path
    return started


@pytest.mark.parametrize("script", [STAGE1, STAGE2])
def test_a_job_starts_the_launcher_once_on_every_node(slurm, script):
    job = slurm(script, "train.epochs=2", "output=a b")
    assert job.wait() == 0, job.stdout.read()
    assert slurm.noted("srun") == [
        ["--ntasks-per-node=1", "--kill-on-bad-exit=0", "--wait=900", "bash", f"scripts/{script}"]
        + ["train.epochs=2", "output=a b"]
    ]
    assert slurm.noted("scontrol") == [["show", "hostnames", "node-[7-8]"]]
    environment = dict(line.partition("=")[::2] for line in (slurm.folder / "environment").read_text().splitlines())
    expected = {
        "MASTER_ADDR": "node-7",
        "MASTER_PORT": "21234",
        "NNODES": "2",
        "GPUS": "8",
        "RDZV_ID": "sphinx-v-61234",
    }
    assert {name: environment.get(name) for name in expected} == expected


@pytest.mark.parametrize("code", [1, 2, 137])
def test_a_failed_job_is_not_queued_again(slurm, code):
    assert slurm(STAGE1, does=f"exit {code}").wait() == code
    assert ["requeue", "61234"] not in slurm.noted("scontrol")


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM])
def test_a_signal_reaches_the_training_and_the_job_is_queued_again(slurm, number):
    waits = 'trap \'touch "$NOTES/asked"; exit 75\' USR1; touch "$NOTES/listens"; while :; do sleep 0.05; done'
    job = slurm(STAGE2, does=waits)
    while not (slurm.folder / "listens").exists():
        assert job.poll() is None, job.stdout.read()
        time.sleep(0.02)
    job.send_signal(number)
    assert job.wait() == 75
    assert (slurm.folder / "asked").exists()
    assert slurm.noted("scontrol")[-1] == ["requeue", "61234"]
    assert "queueing job 61234 again" in job.stdout.read()


def test_without_slurm_the_job_says_what_to_do(slurm):
    job = slurm(STAGE1, SLURM_JOB_ID="")
    assert job.wait() == 2
    assert "submit it with sbatch" in job.stdout.read()


@pytest.mark.parametrize("script", [STAGE1, STAGE2])
def test_slurm_warns_before_the_time_is_up_and_long_enough(script):
    lines = (ROOT / "scripts" / f"slurm_{script}").read_text().splitlines()
    first_command = next(number for number, line in enumerate(lines) if line and not line.startswith("#"))
    options = dict(line.removeprefix("#SBATCH --").partition("=")[::2] for line in lines if line.startswith("#SBATCH"))
    assert all(number < first_command for number, line in enumerate(lines) if line.startswith("#SBATCH"))
    assert {"requeue", "nodes", "gpus-per-node", "time"} <= options.keys()
    assert options["ntasks-per-node"] == "1"
    assert options["open-mode"] == "append", "a queued job goes on in its log"
    receiver, _, seconds = options["signal"].partition("@")
    patience = re.search(r"STOP_SECONDS:-(\d+)", (ROOT / "scripts" / "_train.sh").read_text())[1]
    assert receiver == "B:USR1"
    assert int(patience) < int(seconds), "the training is ended before Slurm kills it"


@pytest.mark.parametrize("script, recipe", STAGES)
def test_each_launcher_has_its_recipe_with_data_that_is_there(script, recipe):
    text = (ROOT / "scripts" / script).read_text()
    assert f"train accessory/configs/{recipe}.yaml " in text
    options = load_options(RunOptions, ROOT / "accessory" / "configs" / f"{recipe}.yaml")
    assert (ROOT / options.data.config).is_file(), "found from the repository, where the launchers run"


def launch(script, *arguments, **environment):
    """The launcher as a process of its own group, with output in one pipe."""
    given = {**os.environ, "SPHINX_V_PYTHON": sys.executable, "OMP_NUM_THREADS": "1", **environment}
    command = ["bash", str(ROOT / "scripts" / script), *map(str, arguments)]
    return subprocess.Popen(command, env=given, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_more_nodes_need_to_know_each_other():
    launched = launch(STAGE1, GPUS="1", NNODES="2")
    assert launched.wait() == 1
    said = launched.stdout.read()
    assert "NNODES is 2" in said
    assert "MASTER_ADDR is the host that has NODE_RANK=0" in said


def test_a_machine_without_gpus_says_what_to_do():
    launched = launch(STAGE1, CUDA_VISIBLE_DEVICES="")
    assert launched.wait() == 1
    assert "set GPUS to a number of processes" in launched.stdout.read()


def small_run(folder, **train):
    """Options that turn a recipe into a run of `tiny` on small data."""
    config = write_data(folder / "data", MIXED)
    values = {"batch_size": 1, "accumulation": 1, "lr": 1.0e-4, "log_every": 1, **train}
    return [
        *(f"output={folder / 'out'}", "model.preset=tiny", f"model.tokenizer={GOLDEN / 'tokenizer.model'}"),
        *("model.sam=null", "model.initialise_missing=none", f"data.config={config}", "data.max_words=512"),
        *("parallel.tensor=1", "parallel.mode=ddp", "parallel.dtype=float32", "parallel.recompute=none"),
        *(
            f"train.{key}={yaml.safe_dump(value, default_flow_style=True).splitlines()[0]}"
            for key, value in values.items()
        ),
    ]


def steps(folder):
    return [line["step"] for line in read_metrics(folder / "out") if "loss" in line]


@pytest.mark.slow
def test_two_processes_train_and_what_is_refused_is_not_tried_again(tmp_path):
    launched = launch(STAGE1, *small_run(tmp_path, max_steps=2), GPUS="2")
    assert launched.wait() == 0, launched.stdout.read()
    assert steps(tmp_path)[-1] == 2
    assert (tmp_path / "out" / "checkpoint").is_dir()
    refused = launch(STAGE2, *small_run(tmp_path, max_stepz=2), GPUS="2")
    assert refused.wait() == 2
    said = refused.stdout.read()
    assert 1 <= said.count("did you mean max_steps?") <= 2, "once for each process"
    assert "the sentence that says why is above" in said


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_training_that_is_asked_to_stop_ends_with_75_and_goes_on(tmp_path, number):
    run = small_run(tmp_path, max_steps=20)
    launched = launch(STAGE1, *run, GPUS="2", TMPDIR=str(tmp_path))
    metrics = tmp_path / "out" / "metrics.jsonl"
    while not metrics.exists() or not metrics.stat().st_size:
        assert launched.poll() is None, launched.stdout.read()
        time.sleep(0.05)
    launched.send_signal(number)
    said = launched.stdout.read()
    assert launched.wait() == 75, said
    assert "stopped, with the state saved in" in said
    assert not list(tmp_path.glob("sphinx-v-launch.*")), "nothing of the launcher is left"
    before = steps(tmp_path)
    assert 0 < len(before) < 20
    again = launch(STAGE1, *run, GPUS="2")
    said = again.communicate()[0]
    assert again.returncode == 0, said
    assert f"going on after step {before[-1]} of 20" in said
    assert steps(tmp_path) == list(range(1, 21))


@pytest.mark.slow
def test_two_nodes_train_together(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    run = small_run(tmp_path, max_steps=2)
    together = {"GPUS": "1", "NNODES": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    nodes = [launch(STAGE1, *run, NODE_RANK=rank, **together) for rank in ("0", "1")]
    said = [node.communicate()[0] for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], said
    assert steps(tmp_path)[-1] == 2


@pytest.mark.slow
def test_a_job_runs_the_real_launcher(slurm, tmp_path):
    does = 'while [ "$1" != bash ]; do shift; done; SLURM_NODEID=0 exec "$@"'
    one = {"SLURM_JOB_NUM_NODES": "1", "SLURM_GPUS_ON_NODE": "1"}
    job = slurm(STAGE1, *small_run(tmp_path, max_steps=1), does=does, **one)
    said = job.communicate()[0]
    assert job.returncode == 0, said
    assert steps(tmp_path)[-1] == 1
