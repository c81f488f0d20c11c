"""The progress bar's numbers, and that processes without a file are silent."""

import json

import pytest

from accessory.train.meters import Meters, peak_memory
from tests.accessory.train.test_metrics import step


class Kept:
    """A logger that remembers."""

    def __init__(self):
        self.records, self.closed = [], False

    def log(self, record):
        self.records.append(record)

    def close(self):
        self.closed = True


def bar(capsys):
    """The last state of the bar."""
    return capsys.readouterr().err.replace("\r", "\n").strip().splitlines()[-1]


def test_the_bar_shows_the_last_loss_and_the_rates_of_all_new_steps(tmp_path, capsys):
    with Meters(tmp_path / "m.jsonl", 10, peak_flops=1e12) as meters:
        meters.update(step(1, flops=2e11), step(2, 0.75, flops=3e11, heldout_loss=2.5))
    shown = bar(capsys)
    # 40 tokens, 8 samples and 5e11 operations in one second.
    for part in ("2/10", "loss=0.750", "lr=0.001", "tok/s=40", "samples/s=8.0", "mfu=50.0%", "heldout=2.500", "mem="):
        assert part in shown


def test_utilisation_is_shown_only_where_peak_and_count_are_known(tmp_path, capsys):
    with Meters(tmp_path / "m.jsonl", 10, peak_flops=1e12) as meters:
        meters.update(step(1, flops=2e11), step(2))
    assert "mfu" not in bar(capsys)
    with Meters(tmp_path / "m.jsonl", 10) as meters:
        meters.update(step(1, flops=2e11))
    assert "mfu" not in bar(capsys)
    assert "mfu" not in (tmp_path / "m.jsonl").read_text(encoding="utf-8")


def test_lines_and_loggers_get_the_utilisation_of_each_step(tmp_path):
    kept = Kept()
    with Meters(tmp_path / "m.jsonl", 10, peak_flops=1e12, loggers=[kept]) as meters:
        meters.update(step(1, flops=2e11), step(2, flops=3e11))
        meters.update()
        meters.update(step(3, flops=1e11))
    written = [json.loads(line) for line in (tmp_path / "m.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["mfu"] for line in written] == pytest.approx([0.4, 0.6, 0.2])
    assert written == kept.records
    assert kept.closed


def test_a_resumed_bar_starts_where_the_run_does(tmp_path, capsys):
    with Meters(tmp_path / "m.jsonl", 10) as meters:
        meters.update(*(step(number) for number in range(1, 7)))
    with Meters(tmp_path / "m.jsonl", 10, first_step=4) as meters:
        meters.update(step(5))
    assert "5/10" in bar(capsys)
    assert len((tmp_path / "m.jsonl").read_text(encoding="utf-8").splitlines()) == 5


def test_a_process_without_a_file_is_silent(capsys):
    with Meters(None, 10) as meters:
        meters.update(step(1))
    assert capsys.readouterr() == ("", "")


def test_memory_of_this_process_is_known():
    import torch

    assert peak_memory(torch.device("cpu")) > 50 * 2**20
