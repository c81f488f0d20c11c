"""The states of random generators, through JSON and back, to the bit."""

import json
import random

import numpy
import pytest
import torch

from accessory.runtime.randomness import random_states, restore_random_states

DRAWS = {
    "python": lambda: [random.random() for _ in range(700)],
    "python_gauss": lambda: [random.gauss(0, 1) for _ in range(3)],
    "numpy": lambda: numpy.random.random_sample(700).tolist(),
    "numpy_gauss": lambda: numpy.random.standard_normal(3).tolist(),
    "torch": lambda: torch.rand(700).tolist(),
    "torch_normal": lambda: torch.randn(3).tolist(),
}


@pytest.fixture(autouse=True)
def _give_back():
    before = random_states()
    yield
    restore_random_states(before)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", DRAWS)
def test_what_is_drawn_after_restoring_is_what_was_drawn_after_saving(kind, seed):
    random.seed(seed)
    numpy.random.seed(seed)
    torch.manual_seed(seed)
    for draw in DRAWS.values():  # an odd number of Gaussians: each generator now has one in hand
        draw()
    states = json.loads(json.dumps(random_states()))
    first = DRAWS[kind]()
    for draw in DRAWS.values():
        draw()
    assert DRAWS[kind]() != first
    restore_random_states(states)
    assert DRAWS[kind]() == first


def test_states_restored_are_states_saved():
    states = random_states()
    for draw in DRAWS.values():
        draw()
    assert random_states() != states
    restore_random_states(states)
    assert random_states() == states


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_draws_the_same_again():
    states = json.loads(json.dumps(random_states()))
    first = torch.rand(100, device="cuda")
    restore_random_states(states)
    assert torch.equal(torch.rand(100, device="cuda"), first)
