"""Compiled layers learn what layers as written learn, from one graph for all layers and all lengths."""

import shutil

import pytest
import torch
from torch._dynamo.utils import counters

from tests.accessory.runs import MIXED, run, write_data, write_run

STEPS = 4
PACKED = ["train.packing=true", "train.packing_multiple=64"]
SAME = 1e-5  # a compiled sum is taken in another order

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on the CPU"),
]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A run, and the metrics of its steps as written: padded and packed."""
    folder = tmp_path_factory.mktemp("compile")
    config = write_run(folder, write_data(folder, MIXED), max_steps=STEPS, warmup_epochs=0.0, mark_loss=0.5)
    return config, {"padded": run(config), "packed": run(config, *PACKED)}


@pytest.mark.parametrize(
    "recompute, form",
    [("none", "padded"), ("selective", "padded"), ("full", "padded"), ("none", "packed"), ("selective", "packed")],
)
def test_compiled_layers_have_the_losses_of_those_as_written(written, recompute, form):
    config, expected = written
    torch._dynamo.reset()
    counters.clear()
    layers = ["parallel.compile=true", f"parallel.recompute={recompute}"]
    metrics = run(config, *layers, *(PACKED if form == "packed" else []))
    assert counters["stats"]["unique_graphs"] == 1
    assert not counters["graph_break"]
    assert len({line["tokens"] for line in metrics}) == STEPS, "every step has other lengths"
    for line, reference in zip(metrics, expected[form], strict=True):
        for key in ("loss", "grad_norm", "mark_loss"):
            assert line[key] == pytest.approx(reference[key], rel=SAME), (line["step"], key)
