"""Which steps count: exact small histories of norms."""

import pytest
import torch

from accessory.train.stability import LEAST, WINDOW, NormHistory

CPU = torch.device("cpu")


def accept(history, norm, loss=1.0):
    return bool(history.accept(torch.tensor(loss), torch.tensor(norm)))


@pytest.mark.parametrize("sigmas", [None, 3.0])
@pytest.mark.parametrize("loss, norm", [(float("nan"), 1.0), (1.0, float("inf")), (float("-inf"), float("nan"))])
def test_numbers_that_are_not_finite_never_count(sigmas, loss, norm):
    assert not accept(NormHistory(CPU, sigmas), norm, loss)


def test_without_the_option_no_norm_is_too_large():
    history = NormHistory(CPU, None)
    assert all(accept(history, norm) for norm in [1.0] * 50 + [1e30])


def test_a_spike_is_above_mean_and_sigmas_deviations_of_the_last_norms():
    history = NormHistory(CPU, 2.0)
    for number in range(LEAST):
        assert accept(history, 1.0 if number % 2 else 3.0)  # mean 2, deviation 1
    assert not accept(history, 4.01)
    assert accept(history, 3.99)


def test_the_first_norms_are_taken_as_they_are_and_spikes_are_not_remembered():
    history = NormHistory(CPU, 2.0)
    assert accept(history, 1.0)
    assert accept(history, 1000.0), "too few are known"
    assert int(history.count) == 2
    for _ in range(LEAST):
        accept(history, 1.0)
    known = history.norms.clone()
    assert not accept(history, 1e6)
    assert torch.equal(history.norms, known)


def test_only_the_last_ones_count():
    history = NormHistory(CPU, 2.0)
    for _ in range(WINDOW):
        accept(history, 100.0)
    for number in range(WINDOW):
        accept(history, 1.0 if number % 2 else 3.0)
    assert not accept(history, 50.0)


def test_a_history_that_is_read_back_decides_alike():
    one, other = NormHistory(CPU, 1.0), NormHistory(CPU, 1.0)
    for number in range(40):
        accept(one, float(number % 7))
    for name, tensor in other.tensors.items():
        tensor.copy_(one.tensors[name])
    norms = [float(n) for n in (3, 9, 5.5, 0.1, 6, 7, 8)]
    assert [accept(one, norm) for norm in norms] == [accept(other, norm) for norm in norms]
