"""How benchmarks measure: rounds in turn, ratios within rounds, and a record that says what ran."""

import json

import pytest
import torch

from benchmarks import _measure


def test_rounds_go_forwards_and_backwards_and_the_first_does_not_count():
    calls = []

    def way(name):
        def run():
            calls.append(name)
            return {"calls": len(calls)}

        return run

    found = _measure.in_turn({"a": way("a"), "b": way("b")}, repeats=2)
    assert calls == ["a", "b", "b", "a", "a", "b"]
    assert found == {"a": [{"calls": 4}, {"calls": 5}], "b": [{"calls": 3}, {"calls": 6}]}


def test_medians_are_of_each_number():
    rounds = [{"x": 1.0, "y": 9.0}, {"x": 5.0, "y": 2.0}, {"x": 2.0, "y": 3.00006}]
    assert _measure.medians(rounds) == {"x": 2.0, "y": 3.0001}


def test_a_ratio_is_taken_within_each_round():
    # The machine was ten times slower in the second round: the ratio of medians would be 10 / 4.
    fast, slow = [{"x": 4.0}, {"x": 40.0}, {"x": 10.0}], [{"x": 2.0}, {"x": 20.0}, {"x": 4.0}]
    assert _measure.ratio(fast, slow, "x") == {"median": 2.0, "least": 2.0, "most": 2.5}


def test_a_record_names_the_command_with_its_defaults_and_no_path(tmp_path, capsys):
    parser = _measure.command_line("packing", "What it does.", repeats=5)
    parser.add_argument("--items", type=int, default=64)
    options = parser.parse_args(["--repeats", "3", "--record", str(tmp_path / "new" / "record.json")])
    record = _measure.begin(parser, options, torch.device("cpu"))
    assert record["command"] == "python -m benchmarks.packing --repeats 3 --items 64"
    _measure.finish({**record, "found": 1}, options.record)
    written = json.loads((tmp_path / "new" / "record.json").read_text(encoding="utf-8"))
    assert written == json.loads(capsys.readouterr().out) == {**record, "found": 1}
    assert str(tmp_path) not in json.dumps(written)


def test_no_round_at_all_is_refused(capsys):
    parser = _measure.command_line("packing", None, repeats=5)
    with pytest.raises(SystemExit):
        _measure.begin(parser, parser.parse_args(["--repeats", "0"]), torch.device("cpu"))
    assert "--repeats is 0; give at least 1." in capsys.readouterr().err
