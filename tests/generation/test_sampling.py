"""Sampling draws what its options say, by its own seed alone."""

import numpy
import pytest
import torch

from SPHINX_V.errors import UsageError
from SPHINX_V.generation.sampling import Draws, Sampler, Sampling

CPU = torch.device("cpu")


def draw(logits, *rows, steps=1):
    sampler = Sampler([Draws(row) for row in rows], CPU)
    return [sampler(logits, None, uniform)[0].tolist() for uniform in sampler.uniform(steps)]


def random_logits(rows, vocab=64):
    return 3 * torch.randn(rows, vocab, generator=torch.Generator().manual_seed(7))


def test_temperature_zero_is_greedy():
    logits = random_logits(3)
    assert draw(logits, *[Sampling(0.0, 0.9, seed) for seed in range(3)]) == [logits.argmax(-1).tolist()]


def test_a_seed_gives_the_same_tokens_and_another_seed_others():
    logits = random_logits(1)
    first, again, other = (draw(logits, Sampling(1.0, 1.0, seed), steps=20) for seed in (5, 5, 6))
    assert first == again != other


def test_the_global_random_state_is_neither_read_nor_changed():
    logits = random_logits(1)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = draw(logits, Sampling(1.0, 1.0, 5), steps=5)
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(2)
    assert draw(logits, Sampling(1.0, 1.0, 5), steps=5) == first


def test_a_row_draws_the_same_alone_and_in_company():
    logits = random_logits(3)
    options = [Sampling(0.7, 0.9, 1), Sampling(0.0, 0.5, 0), Sampling(1.5, 1.0, 9)]
    together = draw(logits, *options, steps=8)
    for row, option in enumerate(options):
        alone = draw(logits[row : row + 1], option, steps=8)
        assert [step[row] for step in together] == [step[0] for step in alone]


def test_top_p_keeps_the_likeliest_tokens_of_that_probability():
    logits = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()
    drawn = {p: {step[0] for step in draw(logits, Sampling(1.0, p, 0), steps=400)} for p in (0.0, 0.4, 0.6, 0.9, 1.0)}
    # As in the reference: a token stays while the probability in front of it is not above p.
    assert drawn == {0.0: {0}, 0.4: {0}, 0.6: {0, 1}, 0.9: {0, 1, 2}, 1.0: {0, 1, 2, 3}}


def test_top_k_keeps_so_many_tokens():
    logits = torch.tensor([[0.4, 0.3, 0.2, 0.1]]).log()
    drawn = {k: {step[0] for step in draw(logits, Sampling(1.0, 1.0, 0, k), steps=400)} for k in (1, 3, 0, 9)}
    assert drawn == {1: {0}, 3: {0, 1, 2}, 0: {0, 1, 2, 3}, 9: {0, 1, 2, 3}}


@pytest.mark.parametrize("k", [2**63 - 1, 2**63, 10**30])
def test_any_number_above_the_vocabulary_is_all_tokens(k):
    logits = random_logits(1, vocab=8)
    assert draw(logits, Sampling(1.0, 1.0, 0, k), steps=50) == draw(logits, Sampling(1.0, 1.0, 0), steps=50)


def test_a_penalty_lowers_tokens_that_were_there():
    logits = torch.tensor([[3.0, 2.0, -1.0], [-1.0, -1.5, -9.0]])
    seen = torch.tensor([[True, False, False], [True, False, False]])
    sampler = Sampler([Draws(Sampling(0.0, repetition_penalty=2.0)) for _ in range(2)], CPU)
    tokens, greatest = sampler(logits, seen, sampler.uniform(1)[0])
    assert tokens.tolist() == [1, 1]  # 3 / 2 = 1.5 < 2, and -1 · 2 = -2 < -1.5
    assert greatest.tolist() == [2.0, -1.5]


def test_logits_that_are_no_numbers_are_seen_in_the_greatest():
    logits = torch.tensor([[1.0, float("nan")], [1.0, 2.0], [float("inf"), 0.0]])
    sampler = Sampler([Draws(Sampling(1.0, 1.0))] * 3, CPU)
    greatest = sampler(logits, None, sampler.uniform(1)[0])[1]
    assert greatest.isfinite().tolist() == [False, True, False]


def test_frequencies_follow_the_probabilities():
    probabilities = torch.tensor([0.5, 0.3, 0.15, 0.05])
    drawn = draw(probabilities.log().unsqueeze(0), Sampling(1.0, 1.0, 3), steps=4000)
    found = torch.bincount(torch.tensor(drawn).flatten(), minlength=4) / 4000
    assert (found - probabilities).abs().max() < 0.03


def test_a_low_temperature_comes_near_greedy():
    logits = torch.tensor([[1.0, 1.2, 0.8]])
    assert {step[0] for step in draw(logits, Sampling(0.01, 1.0, 0), steps=100)} == {1}


@pytest.mark.parametrize("temperature", [1e-3, 1e-30, 1e-40, 1e-46, 1e-300])
def test_the_tiniest_temperatures_are_greedy(temperature):
    """1e-40 divides a difference into infinity, 1e-46 is 0 in float32, 1e-300 in any type of the device."""
    logits = 100 + random_logits(4)
    assert draw(logits, *[Sampling(temperature, 1.0, seed) for seed in range(4)]) == [logits.argmax(-1).tolist()]
    assert draw(-logits, *[Sampling(temperature, 0.0, seed) for seed in range(4)]) == [logits.argmin(-1).tolist()]


def test_the_highest_temperature_draws_from_all_tokens():
    drawn = draw(random_logits(1, vocab=8), Sampling(1e300, 1.0, 0), steps=200)
    assert {step[0] for step in drawn} == set(range(8))


def test_numbers_of_numpy_are_numbers():
    given = Sampling(numpy.float32(0.5), numpy.float64(1.0), numpy.int64(3))
    assert given == Sampling(0.5, 1.0, 3)
    assert draw(random_logits(1), given) == draw(random_logits(1), Sampling(0.5, 1.0, 3))


@pytest.mark.parametrize(
    "options, part",
    [
        ({"temperature": -0.1}, "temperature is -0.1"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"temperature": float("inf")}, "temperature is inf"),
        ({"top_p": 1.5}, "top_p is 1.5"),
        ({"top_p": -1.0}, "top_p is -1.0"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 2**63}, "seed is 9223372036854775808"),
        ({"seed": 1.5}, "seed is 1.5; give a whole number"),
        ({"seed": None}, "seed is None; give a whole number"),
        ({"temperature": "0.1"}, "temperature is '0.1'; give a number"),
        ({"temperature": None}, "temperature is None; give a number"),
        ({"temperature": True}, "temperature is True; give a number"),
        ({"temperature": 10**400}, "temperature is inf"),
        ({"top_p": [0.5]}, r"top_p is \[0.5\]; give a number"),
        ({"top_p": 1j}, "top_p is 1j; give a number"),
        ({"top_p": float("nan")}, "top_p is nan"),
        ({"repetition_penalty": 1e-40}, "repetition_penalty is 1e-40; give a number from 0.001 to 1000"),
        ({"repetition_penalty": 1e39}, r"repetition_penalty is 1e\+39"),
        ({"repetition_penalty": float("nan")}, "repetition_penalty is nan"),
    ],
)
def test_impossible_options_are_refused(options, part):
    with pytest.raises(UsageError, match=part):
        Sampling(**options)
