"""Times by phase, on a clock that the tests turn."""

import pytest
import torch
from torch import nn

from accessory.train.phases import HostClock, Phases

CPU = torch.device("cpu")


class Turned:
    """A clock that stands still until it is turned."""

    def __init__(self):
        self.time = 0.0

    def now(self):
        return self.time

    def seconds(self, first, last):
        return last - first


@pytest.fixture
def clock():
    return Turned()


@pytest.fixture
def phases(clock):
    return Phases(CPU, clock)


def spend(phases, clock, phase, seconds):
    with phases(phase):
        clock.time += seconds


def booked(phases):
    return {phase: seconds for phase, seconds in phases.seconds.items() if seconds}


def test_a_moment_belongs_to_the_innermost_phase(phases, clock):
    with phases("forward"):
        clock.time += 1
        spend(phases, clock, "vision", 4)
        clock.time += 2
    clock.time += 8
    spend(phases, clock, "backward", 16)
    phases.look()
    assert booked(phases) == {"forward": 3, "vision": 4, "other": 8, "backward": 16}


def test_steps_last_from_end_to_end_without_what_was_done_beside_them(phases, clock):
    spend(phases, clock, "data", 1)
    spend(phases, clock, "forward", 2)
    phases.step()
    with phases("checkpoint"):
        clock.time += 100
    with phases("heldout"):
        spend(phases, clock, "vision", 50)
        spend(phases, clock, "forward", 50)
    clock.time += 4
    phases.step()
    clock.time += 8
    assert phases.look() == [3, 4]
    clock.time += 16
    phases.step()
    assert phases.look() == [24]
    assert phases.look() == []
    assert phases.steps == 3
    assert booked(phases) == {"data": 1, "forward": 2, "checkpoint": 100, "heldout": 100, "other": 28}


def test_time_before_the_first_mark_is_nobodys(phases, clock):
    clock.time += 1000
    spend(phases, clock, "data", 1)
    phases.step()
    assert phases.look() == [1]


def test_a_look_inside_a_phase_loses_nothing(phases, clock):
    with phases("checkpoint"):
        clock.time += 1
        phases.look()
        clock.time += 2
    phases.look()
    assert booked(phases) == {"checkpoint": 3}


def test_a_watched_module_is_booked_also_where_it_fails(phases, clock):
    class Turning(nn.Module):
        def forward(self, fail):
            clock.time += 1
            if fail:
                raise ValueError
            return fail

    module = Turning()
    phases.watch(module, "vision")
    with phases("forward"):
        assert module(False) is False
        with pytest.raises(ValueError):
            module(True)
        clock.time += 8
    phases.look()
    assert booked(phases) == {"vision": 2, "forward": 8}


def test_the_table_has_seconds_shares_and_parts_of_a_step(phases, clock):
    spend(phases, clock, "forward", 3)
    phases.step()
    spend(phases, clock, "backward", 4)
    phases.step()
    spend(phases, clock, "checkpoint", 1)
    phases.look()
    rows = [line.split() for line in phases.table().splitlines()[1:]]
    assert rows == [
        ["data", "0.0", "0.0%", "0.0000"],
        ["vision", "0.0", "0.0%", "0.0000"],
        ["forward", "3.0", "37.5%", "1.5000"],
        ["backward", "4.0", "50.0%", "2.0000"],
        ["optimiser", "0.0", "0.0%", "0.0000"],
        ["checkpoint", "1.0", "12.5%"],
        ["other", "0.0", "0.0%", "0.0000"],
        ["all", "8.0", "100.0%"],
    ]


def test_a_run_without_a_step_has_a_table(phases):
    phases.look()
    assert phases.table().splitlines()[-1].split() == ["all", "0.0", "0.0%"]


def test_the_host_clock_goes_forward():
    clock = HostClock()
    first = clock.now()
    assert clock.seconds(first, clock.now()) >= 0
    phases = Phases(CPU)
    with phases("forward"):
        torch.ones(10).sum()
    phases.step()
    (seconds,) = phases.look()
    assert seconds >= phases.seconds["forward"] > 0
