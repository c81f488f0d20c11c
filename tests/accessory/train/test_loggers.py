"""TensorBoard and wandb: what they wrote is read back; a missing package is told with the line that installs it."""

import pytest

from accessory.config import LogOptions, RunOptions
from accessory.train import loggers
from accessory.train.loggers import TENSORBOARD, WANDB_ID, check_loggers, open_loggers
from SPHINX_V.errors import ConfigError


def log(options, output, first_step, records):
    (logger,) = open_loggers(options, output, first_step, {"seed": 3})
    for record in records:
        logger.log(record)
    logger.close()


def test_nothing_is_opened_unasked(tmp_path):
    assert open_loggers(LogOptions(), tmp_path, 0, {}) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("key, value", [("tensorboard", True), ("wandb", "project")])
def test_a_missing_package_is_told_with_the_line_that_installs_it(monkeypatch, key, value):
    monkeypatch.setattr(loggers, "find_spec", lambda name: None)
    with pytest.raises(ConfigError) as caught:
        check_loggers(LogOptions(**{key: value}))
    assert f"log.{key} needs the package {key}" in str(caught.value)
    assert f"pip install 'sphinx-v[{key}]'" in str(caught.value)
    check_loggers(LogOptions())


def test_a_run_has_the_group_of_options():
    values = {"output": "out", "model": {"checkpoint": "c"}, "data": {"config": "d", "max_words": 9}}
    run = RunOptions.model_validate({**values, "train": {"lr": 1, "batch_size": 1}, "log": {"wandb": "name"}})
    assert (run.log.tensorboard, run.log.wandb) == (False, "name")


def test_tensorboard_has_every_number_and_a_resumed_run_hides_what_came_after_its_checkpoint(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    options = LogOptions(tensorboard=True)
    log(options, tmp_path, 0, [{"step": number, "loss": 1.0 / number, "lr": 0.5} for number in range(1, 5)])
    log(options, tmp_path, 2, [{"step": 3, "loss": 8.0, "lr": 0.25}])
    events = accumulator.EventAccumulator(str(tmp_path / TENSORBOARD))
    events.Reload()
    assert sorted(events.Tags()["scalars"]) == ["train/loss", "train/lr"]
    assert [(event.step, event.value) for event in events.Scalars("train/loss")] == [(1, 1.0), (2, 0.5), (3, 8.0)]
    assert [event.value for event in events.Scalars("train/lr")] == [0.5, 0.5, 0.25]


def test_wandb_goes_on_under_one_identity(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    options = LogOptions(wandb="regions")
    log(options, tmp_path, 0, [{"step": 1, "loss": 0.5}])
    identity = (tmp_path / WANDB_ID).read_text(encoding="utf-8")
    log(options, tmp_path, 1, [{"step": 2, "loss": 0.8251953125}])
    assert (tmp_path / WANDB_ID).read_text(encoding="utf-8") == identity
    first, second = sorted((tmp_path / "wandb").glob(f"offline-run-*/run-{identity}.wandb"), key=str)
    assert b"regions" in first.read_bytes()
    assert b"0.8251953125" in first.read_bytes() + second.read_bytes()
