"""Fixtures that several packages' tests share: the golden files, the golden model and its processor."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from SPHINX_V.model.sphinx_v import SphinxV
from SPHINX_V.processing.processor import Processor
from SPHINX_V.processing.tokenizer import Tokenizer
from tests import golden_model as by_hand


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """At these sizes a second thread computes little, and on a busy machine it is waited for ten times as long."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def golden() -> Path:
    """The folder of the golden: a released checkpoint, two pictures, and what the reference computes with them."""
    return by_hand.GOLDEN


@pytest.fixture(scope="session")
def golden_tensors(golden: Path) -> dict[str, Tensor]:
    return load_file(golden / "golden.safetensors")


@pytest.fixture(scope="session")
def golden_facts(golden: Path) -> dict[str, Any]:
    """`golden.json`: question, prompts in pixels, training items, texts, trainable names."""
    facts: dict[str, Any] = json.loads((golden / "golden.json").read_text(encoding="utf-8"))
    return facts


@pytest.fixture(scope="session")
def golden_tokenizer(golden: Path) -> Tokenizer:
    return Tokenizer.from_file(golden / "tokenizer.model")


@pytest.fixture(scope="session")
def golden_model() -> SphinxV:
    """Shared by the whole session: a test that changes it takes a `copy.deepcopy` first."""
    return by_hand.golden_model()


@pytest.fixture(scope="session")
def golden_processor(golden_model: SphinxV, golden_tokenizer: Tokenizer) -> Processor:
    return Processor(golden_model.config, golden_tokenizer)
