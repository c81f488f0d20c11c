"""The server under load, against a plain one that answers one question at a time over the same engine.

Many clients ask about mixed pictures; some hang up, some send nonsense. Every answer is compared with what the model
says to that question alone. The servers are processes of their own; the load comes from this one, on the same machine.

`python -m benchmarks.serving --checkpoint outputs/quickstart/checkpoint [--record FILE.json]`
"""

from __future__ import annotations

import json
import re
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from accessory.serve.asking import requests_of
from accessory.serve.messages import read_messages
from accessory.serve.schema import read_request
from benchmarks import _measure
from benchmarks._load import Outcome, Task, questions, run_load, tasks
from benchmarks._measure import Numbers
from SPHINX_V.generation.options import EngineOptions
from SPHINX_V.sphinx_v import SPHINX_V_Model

CPU = torch.device("cpu")
_ADDRESS = re.compile(r"http://127\.0\.0\.1:(\d+)")


def answers_alone(model: SPHINX_V_Model, asked: Sequence[dict[str, object]]) -> list[str]:
    """What the model says to each question when nothing runs beside it and nothing is kept from before."""
    found = []
    for body in asked:
        request = read_request(body)
        (one,) = requests_of(request, read_messages(request, 10**6), None, model.config.prompts.num_slots, 600.0)
        model.engine.forget()
        found.append(model.engine.submit(one).answer().text)
    return found


@contextmanager
def process(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A server in a process of its own, and its port, which it says in its first line."""
    command = [sys.executable, "-m", *arguments]
    found = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert found.stdout is not None
        line = found.stdout.readline()
        address = _ADDRESS.search(line)
        if address is None:
            raise SystemExit(f"{' '.join(arguments)} did not start: {line}")
        yield found, int(address[1])
    finally:
        found.send_signal(signal.SIGTERM)
        found.wait()


def resident_mib(pid: int) -> float:
    """Memory that a process has now; 0 where the system does not tell."""
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        return 0.0
    line = next(line for line in status.read_text(encoding="ascii").splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) / 1024


def measure(
    server: tuple[subprocess.Popen[str], int], work: Sequence[Task], clients: int, alone: Sequence[str]
) -> Numbers:
    """One round of load. The numbers of times are of answers that were asked for to their end."""
    popen, port = server
    before, begun = resident_mib(popen.pid), time.perf_counter()
    done = run_load(port, work, clients)
    seconds = time.perf_counter() - begun
    return {**count(done, alone), **speeds(done, seconds), "mib_before": before, "mib_after": resident_mib(popen.pid)}


def count(done: Sequence[Outcome], alone: Sequence[str]) -> Numbers:
    fates = Counter(one.fate for one in done)
    answered = [one for one in done if one.fate == "answered"]
    wrong = sum(one.task.question is None or one.text != alone[one.task.question] for one in answered)
    # Nonsense must be refused, and nothing else may be. An answer without text ends before its client can hang up.
    not_as_meant = sum((one.fate == "refused") != (one.task.question is None) for one in done)
    return {
        "answered": fates["answered"],
        "cancelled": fates["cancelled"],
        "refused": fates["refused"],
        "lost": fates["lost"],
        "wrong": wrong,
        "not_as_meant": not_as_meant,
        "came_again": sum(one.came_again for one in done),
    }


def speeds(done: Sequence[Outcome], seconds: float) -> Numbers:
    answered = [one for one in done if one.fate == "answered"]
    first, total = [one.first for one in answered], [one.total for one in answered]
    return {
        "seconds": seconds,
        "answers_per_second": len(answered) / seconds,
        "tokens_per_second": sum(one.tokens for one in answered) / seconds,
        "first_token_p50": quantile(first, 50),
        "first_token_p95": quantile(first, 95),
        "answer_p50": quantile(total, 50),
        "answer_p95": quantile(total, 95),
    }


def quantile(values: Sequence[float], percent: int) -> float:
    """The value that `percent` of them do not exceed, interpolated; 0 of none."""
    if len(values) < 2:
        return sum(values)
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def main(argv: Sequence[str] | None = None) -> None:
    """Command line; prints the record and writes it where asked."""
    parser = _measure.command_line("serving", __doc__, repeats=3)
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--requests", type=int, default=320, help="in each round")
    parser.add_argument("--questions", type=int, default=40, help="distinct ones among them")
    parser.add_argument("--new_tokens", type=int, default=32, help="longest answer")
    parser.add_argument("--cancelled", type=float, default=0.1, help="share whose client hangs up")
    parser.add_argument("--malformed", type=float, default=0.05, help="share that is nonsense")
    parser.add_argument("--max_rows", type=int, default=16, help="of the server")
    options = parser.parse_args(argv)
    head = _measure.begin(parser, options, CPU)
    asked = questions(options.questions, options.new_tokens)
    model = SPHINX_V_Model.from_pretrained(options.checkpoint, device="cpu")
    model.make_engine(EngineOptions(max_rows=1))
    alone = answers_alone(model, asked)
    del model
    work = tasks(asked, options.requests, options.cancelled, options.malformed)
    ours = ["accessory.serve", "--port", "0", "--device", "cpu", "--max_rows", str(options.max_rows)]
    ours += ["--log_level", "error", "--checkpoint", options.checkpoint]
    plain = ["benchmarks._plain_server", options.checkpoint]
    with process(*ours) as server, process(*plain) as other:
        found = _measure.in_turn(
            {
                "server": lambda: measure(server, work, options.clients, alone),
                "one_at_a_time": lambda: measure(other, work, options.clients, alone),
            },
            options.repeats,
        )
    record = {
        **head,
        "ways": {name: _measure.medians(rounds) for name, rounds in found.items()},
        "server_over_one_at_a_time": {
            name: _measure.ratio(found["server"], found["one_at_a_time"], name)
            for name in ("tokens_per_second", "first_token_p50", "first_token_p95")
        },
        "wrong_in_all_rounds": sum(numbers["wrong"] for rounds in found.values() for numbers in rounds),
        "lost_in_all_rounds": sum(numbers["lost"] for rounds in found.values() for numbers in rounds),
        "server_mib_first_and_last": [found["server"][0]["mib_before"], found["server"][-1]["mib_after"]],
    }
    _measure.finish(json.loads(json.dumps(record)), options.record)


if __name__ == "__main__":
    main()
