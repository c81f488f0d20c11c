"""What two processes have saved, loaded and exported, found out once for all tests here."""

import json

import pytest
import torch

from accessory.config import SaveOptions
from accessory.runtime.distributed import World
from accessory.train.states import StateStore
from tests.accessory.train.two_processes import values
from tests.launch import torchrun


@pytest.fixture(scope="session")
def shared(tmp_path_factory):
    """The folder that two processes worked in, and what each of them saw."""
    folder = tmp_path_factory.mktemp("shared")
    alone = StateStore(folder / "alone", World(0, 1, torch.device("cpu")), SaveOptions())
    alone.save(1, values(1), {"position": 1}, {"rank": 0}, wait=True)
    done = torchrun(2, "tests.accessory.train.two_processes", folder)
    assert done.returncode == 0, done.stderr
    return folder, [json.loads((folder / f"{rank}.json").read_text(encoding="utf-8")) for rank in range(2)]
