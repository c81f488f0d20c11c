"""A run that is killed again and again ends as one that was not, and pays for next to nothing twice."""

import collections
import os
import random
import signal
import subprocess
import sys
import threading

import pytest

from tests.accessory.eval.judge.judged import KEY, by_the_answers, command, lines_of, write_suite
from tests.accessory.eval.judge.server import judge_server, prompt_of
from tests.house.repo import ROOT

pytest.importorskip("openai", reason='the judge needs: pip install -e ".[judge]"')
pytestmark = pytest.mark.slow  # every start of a process loads torch

CASES, KILLS, CONCURRENCY = 60, 4, 3


def start(arguments):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), KEY: "none", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "accessory.eval.judge", *arguments], cwd=ROOT, env=environment, stdout=subprocess.PIPE
    )


def test_a_run_killed_at_random_moments_ends_like_one_that_was_not(tmp_path):
    grades = [(str(1 + n % 10), str(1 + n % 7)) for n in range(CASES)]
    items, predictions = write_suite(tmp_path, "natural_QA_box", grades)
    reached = threading.Event()
    chance = random.Random(3)
    enough = [0]

    def answers(request):
        if len(server.requests) >= enough[0]:
            reached.set()
        threading.Event().wait(chance.random() * 0.03)
        return by_the_answers(request)

    more = ("--concurrency", str(CONCURRENCY))
    with judge_server(answers) as server:
        for _ in range(KILLS):
            reached.clear()
            enough[0] = len(server.requests) + chance.randrange(3, 14)
            process = start(command(items, predictions, server.base_url, *more))
            assert reached.wait(120)
            threading.Event().wait(chance.random() * 0.03)
            process.send_signal(signal.SIGKILL)
            process.communicate()
        process = start(command(items, predictions, server.base_url, *more))
        said, _ = process.communicate()
        assert process.returncode == 0, said
        times = collections.Counter(prompt_of(request) for request in server.requests)
        judged = predictions.with_name(f"{predictions.stem}.judged.jsonl")
        resumed, cached = judged.read_bytes(), lines_of(tmp_path / "judge_cache.jsonl")

        whole = tmp_path / "whole.jsonl"
        fresh = ("--out", str(whole), "--cache", str(tmp_path / "other_cache.jsonl"))
        process = start(command(items, predictions, server.base_url, *more, *fresh))
        process.communicate()
    assert resumed == whole.read_bytes()
    assert len(lines_of(judged)) == CASES
    assert len(cached) == len({line["key"] for line in cached}) == CASES
    # Only what was under way at a kill can be asked for twice.
    assert len(times) == CASES
    assert sum(times.values()) - CASES <= KILLS * CONCURRENCY


def test_two_processes_at_once_pay_for_each_case_once(tmp_path):
    grades = [(str(1 + n % 10), str(1 + n % 7)) for n in range(30)]
    items, predictions = write_suite(tmp_path, "natural_QA_box", grades)

    def answers(request):
        threading.Event().wait(0.05)
        return by_the_answers(request)

    with judge_server(answers) as server:
        outs = [tmp_path / f"{name}.jsonl" for name in "ab"]
        cache = ("--cache", str(tmp_path / "cache.jsonl"))
        processes = [start(command(items, predictions, server.base_url, "--out", str(out), *cache)) for out in outs]
        for process in processes:
            process.communicate()
            assert process.returncode == 0
    assert len(server.requests) == 30
    assert outs[0].read_bytes() == outs[1].read_bytes()
