"""The benchmark of the full size: its files are released files, and every number of it is measured."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks import full_size
from SPHINX_V.config import tiny
from SPHINX_V.weights.checkpoint import model_shapes
from SPHINX_V.weights.load import load_model


def test_its_files_hold_every_tensor_and_hardly_more_than_the_largest(tmp_path: Path) -> None:
    config = tiny()
    numbers = full_size.write_checkpoint(tmp_path, config)
    report = load_model(tmp_path).report
    assert (report.kind, report.loaded, report.missing) == ("released", len(model_shapes(config)), ())
    (one, two) = sorted(tmp_path.glob("consolidated.*"))
    assert two.stat().st_size == one.stat().st_size < numbers  # in bfloat16, and all of it, a shard has as many bytes


@pytest.mark.slow
@pytest.mark.parametrize("quantize", [None, "int4"])
def test_both_questions_are_measured(quantize: str | None) -> None:
    found = full_size.measure("tiny", torch.device("cpu"), quantize, new_tokens=3, repeats=1)
    assert all(found[name] > 0 for name in ("first_question", "second_question", "tokens_per_second", "peak_gib"))
    assert found["visual_positions"] == tiny().visual_length
