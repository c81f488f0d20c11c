"""The states of all global random generators as JSON values, to be saved and restored bit by bit."""

from __future__ import annotations

import random
from typing import Any

import numpy
import torch


def random_states() -> dict[str, Any]:
    """The states of Python's, NumPy's and torch's generators, and of this process's GPU where it uses one."""
    version, internal, gauss = random.getstate()
    legacy = numpy.random.get_state(legacy=False)
    assert isinstance(legacy, dict)
    generator = legacy["state"]
    states = {
        "python": {"version": version, "internal": list(internal), "gauss": gauss},
        "numpy": {
            "bit_generator": legacy["bit_generator"],
            "key": generator["key"].astype("<u4").tobytes().hex(),
            "pos": int(generator["pos"]),
            "has_gauss": int(legacy["has_gauss"]),
            "gauss": float(legacy["gauss"]),
        },
        "torch": _to_hex(torch.get_rng_state()),
    }
    if torch.cuda.is_available():
        states["cuda"] = _to_hex(torch.cuda.get_rng_state())
    return states


def restore_random_states(states: dict[str, Any]) -> None:
    """Sets what `random_states` gave. A GPU's state is left out where there is none, and is not needed where it is."""
    python = states["python"]
    random.setstate((python["version"], tuple(python["internal"]), python["gauss"]))
    legacy = states["numpy"]
    key = numpy.frombuffer(bytes.fromhex(legacy["key"]), "<u4").astype(numpy.uint32)
    numpy.random.set_state(
        {
            "bit_generator": legacy["bit_generator"],
            "state": {"key": key, "pos": legacy["pos"]},
            "has_gauss": legacy["has_gauss"],
            "gauss": legacy["gauss"],
        }
    )
    torch.set_rng_state(_from_hex(states["torch"]))
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(_from_hex(states["cuda"]))


def _to_hex(state: torch.Tensor) -> str:
    return state.numpy().tobytes().hex()


def _from_hex(text: str) -> torch.Tensor:
    return torch.frombuffer(bytearray.fromhex(text), dtype=torch.uint8)
