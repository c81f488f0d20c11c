"""The golden model behind a server, shared by a module's tests."""

import pytest
import torch

pytest.importorskip("fastapi", reason='needs the server\'s packages: pip install -e ".[serve]"')
pytest.importorskip("uvicorn", reason='needs the server\'s packages: pip install -e ".[serve]"')
pytest.importorskip("httpx", reason='needs the server\'s packages: pip install -e ".[serve]"')

from SPHINX_V import EngineOptions, SPHINX_V_Model
from tests.accessory.serve.running import endless_model, running
from tests.golden_model import GOLDEN


@pytest.fixture(scope="module")
def server():
    model = SPHINX_V_Model.from_pretrained(GOLDEN, device="cpu", dtype=torch.float32)
    with running(model, engine=EngineOptions(max_rows=4, max_waiting=16)) as found:
        yield found


@pytest.fixture
def endless():
    """A model that talks on until its answer is cut or nobody listens."""
    return endless_model()
