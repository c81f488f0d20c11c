"""One step from the golden checkpoint on its items: the reference's losses, gradient norms and trainable names."""

import math
import os
import subprocess
import sys

import pytest
import torch
import yaml

from accessory.config import RunOptions, load_options
from accessory.data.dataset import RegionDataset
from accessory.data.loader import MicroBatches
from accessory.data.sources import BadItems
from accessory.runtime.distributed import World
from accessory.train.build import build
from accessory.train.loss import batch_losses
from accessory.train.places import Places
from SPHINX_V.processing.processor import Processor
from SPHINX_V.weights.names import to_ours, to_released
from tests.accessory.runs import FREEZE, golden_items, read_metrics, run, write_data, write_run
from tests.house.repo import ROOT

LOSS = 1e-6
NORM = 1e-5
KINDS = {"points": "points", "boxes": "bbox"}


def written(folder, facts, kind, stage):
    """The YAML of a run that trains on all the golden's items of one kind, as one batch."""
    data = write_data(folder, golden_items(facts, KINDS[kind]))
    return write_run(folder, data, freeze=FREEZE[stage], batch_size=facts["texts"][f"n_items_{kind}"])


def agrees(metrics, tensors, kind, stage):
    assert len(metrics) == 1
    assert metrics[0]["loss"] == pytest.approx(tensors[f"loss_{kind}_stage{stage}"].item(), rel=LOSS)
    assert metrics[0]["grad_norm"] == pytest.approx(tensors[f"gradnorm_total_{kind}_stage{stage}"].item(), rel=NORM)


@pytest.mark.parametrize("stage", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_a_step_has_the_reference_loss_and_gradient_norm(tmp_path, golden_facts, golden_tensors, kind, stage):
    metrics = run(written(tmp_path, golden_facts, kind, stage), "train.max_steps=1")
    agrees(metrics, golden_tensors, kind, stage)


def test_the_command_line_has_them_too(tmp_path, golden_facts, golden_tensors):
    config = written(tmp_path, golden_facts, "boxes", 2)
    done = subprocess.run(
        [sys.executable, "-m", "accessory.main", "--config", str(config), "train.max_steps=1"],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "trained on 2 items" in done.stdout
    agrees(read_metrics(tmp_path / "out"), golden_tensors, "boxes", 2)


def test_clipping_does_not_change_the_reported_norm(tmp_path, golden_facts, golden_tensors):
    metrics = run(written(tmp_path, golden_facts, "points", 1), "train.max_steps=1", "train.clip_grad=0.01")
    agrees(metrics, golden_tensors, "points", 1)


@pytest.mark.parametrize("stage", [1, 2])
def test_trainable_names_and_the_gradients_of_single_parameters(tmp_path, golden_facts, golden_tensors, stage):
    options = load_options(RunOptions, written(tmp_path, golden_facts, "points", stage))
    _, model, tokenizer = build(options, World(0, 1, torch.device("cpu")))
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert sorted(to_released(name).name for name in trained) == sorted(golden_facts["trainable"][f"stage{stage}"])

    dataset = RegionDataset(options.data, Processor(model.config, tokenizer), 0, BadItems())
    batch = MicroBatches(dataset, 2, 1, 0, 0, 1)[0]
    losses = batch_losses(model, batch, Places.of(batch, model.config), marks=False, patches=False)
    assert losses[1:].tolist() == [0, 0]
    (losses[0] / batch.target_count).backward()
    parameters = dict(model.named_parameters())
    prefix = f"gradnorm_stage{stage}/"
    references = {key.removeprefix(prefix): value.item() for key, value in golden_tensors.items() if prefix in key}
    assert len(references) > 10
    for released, reference in references.items():
        mapped = to_ours(released)
        assert mapped is not None
        gradient = parameters[mapped.name].grad
        if math.isnan(reference):
            assert gradient is None, released
        else:
            assert gradient is not None, released
            assert gradient.norm().item() == pytest.approx(reference, rel=NORM), released


def test_the_published_recipe_is_the_default(tmp_path, golden_facts):
    values = yaml.safe_load(written(tmp_path, golden_facts, "boxes", 1).read_text(encoding="utf-8"))
    train = RunOptions.model_validate(values).train
    assert (train.betas, train.weight_decay, train.clip_grad) == ((0.9, 0.95), 0.0, 8.0)
    assert (train.warmup_epochs, train.epochs, train.min_lr, train.mark_loss) == (0.03, 1.0, 0.0, 0.0)
    assert (train.patch_loss, train.muon_lr) == (0.0, None)
