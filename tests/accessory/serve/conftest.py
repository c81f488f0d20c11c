"""The golden model behind a server, shared by a module's tests, and a model that talks on."""

import pytest
import torch

from SPHINX_V import EngineOptions, SPHINX_V_Model
from tests.golden_model import GOLDEN


@pytest.fixture(scope="module")
def server():
    from tests.accessory.serve.running import running  # which skips without the server's packages

    model = SPHINX_V_Model.from_pretrained(GOLDEN, device="cpu", dtype=torch.float32)
    with running(model, engine=EngineOptions(max_rows=4, max_waiting=16)) as found:
        yield found


@pytest.fixture
def endless():
    """A model that talks on until its answer is cut or nobody listens."""
    from tests.accessory.serve.running import endless_model

    return endless_model()
