"""Moments of eight bits: close to those of 32, in a quarter of their memory, skipped, saved and split as they are."""

import math

import pytest
import torch
from torch import nn

from accessory.config import TrainOptions
from accessory.runtime.distributed import World
from accessory.train import lowbit
from accessory.train.gradients import Part, trained_parts
from accessory.train.lowbit import BYTES, LowBitAdamW, in_eight_bits, whole_shape
from accessory.train.optim import Optimizers
from SPHINX_V.errors import ConfigError
from tests.accessory.runs import MIXED, read_metrics, run, write_data, write_run
from tests.accessory.train.test_resume import assert_resumed_alike, cut_off
from tests.launch import torchrun

ALONE = World(0, 1, torch.device("cpu"))
KEYS = ["exp_avg.codes", "exp_avg.scale", "exp_avg_sq.codes", "exp_avg_sq.scale", "step"]


def module():
    """A matrix and a kernel that eight bits are for, and a bias and a narrow matrix that they are not for."""
    torch.manual_seed(0)
    return nn.ModuleDict(
        {
            "wide": nn.Linear(128, 64),
            "kernel": nn.Conv2d(16, 32, 4, bias=False),
            "narrow": nn.Linear(24, 256, bias=False),
        }
    )


def optimizers(model, optimizer="adamw8bit", **options):
    return Optimizers(trained_parts(model, ALONE), TrainOptions(lr=1e-2, batch_size=1, optimizer=optimizer, **options))


def train(model, stepping, steps, start=0, good=True):
    for step in range(start, start + steps):
        generator = torch.Generator().manual_seed(step)
        for parameter in model.parameters():
            # Gradients of many sizes, as they are.
            size = 10 ** torch.empty_like(parameter).uniform_(-3, 0, generator=generator)
            parameter.grad = size * torch.randn(parameter.shape, generator=generator)
        stepping.step(torch.tensor(good))


def everything(model, stepping):
    named = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    return named | {f"{part.name} {key}": tensor.clone() for part, key, tensor in stepping.states()}


def equal(one, other):
    return list(one) == list(other) and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    "whole, row, expected",
    [
        ((64, 64), 64, True),
        ((5120, 13824), 13824 // 8, True),  # w2 of the 13B over eight tensor ranks
        ((63, 64), 64, False),  # fewer than 4096 numbers
        ((5120, 13824), 13824 // 16, False),  # 864 is no multiple of 64
        ((5120, 16), 16, False),  # an adapter's second matrix
        ((1, 1, 5120), 5120, True),  # a tag
        ((5120,), 1, False),  # a norm
        ((5120,), 64, False),
    ],
)
def test_which_parameters_eight_bits_are_for(whole, row, expected):
    assert in_eight_bits(whole, row) is expected


def test_moments_of_wide_parameters_take_a_byte_and_a_sixteenth_each():
    model = module()
    states = {}
    for part, key, tensor in optimizers(model).states():
        states.setdefault(part.name, {})[key] = tensor
    assert set(states) == {"wide.weight", "wide.bias", "kernel.weight", "narrow.weight"}
    for name in ("wide.weight", "kernel.weight"):
        parameter = model.get_parameter(name)
        assert sorted(states[name]) == KEYS
        assert states[name]["exp_avg.codes"].shape == parameter.shape
        assert states[name]["exp_avg_sq.scale"].shape == (len(parameter), parameter[0].numel() // 64)
        taken = sum(tensor.nbytes for key, tensor in states[name].items() if key != "step")
        assert taken == BYTES * parameter.numel() == 2.125 * parameter.numel()
    assert sorted(states["narrow.weight"]) == sorted(states["wide.bias"]) == ["exp_avg", "exp_avg_sq", "step"]


def test_it_steps_nearly_as_adamw_does():
    ends = []
    start = module().state_dict()
    for kind in ("adamw", "adamw8bit"):
        model = module()
        train(model, optimizers(model, kind, weight_decay=0.1), 10)
        ends.append(model.state_dict())
    for name, before in start.items():
        exact, ours = (end[name] - before for end in ends)
        assert exact.norm() > 0.01 * before.numel() ** 0.5
        if name in ("wide.weight", "kernel.weight"):
            # Neighbouring values of the tables differ by a hundredth to a tenth.
            assert 0 < (ours - exact).norm() / exact.norm() < 0.05
        else:
            assert torch.equal(ours, exact)


def test_a_process_that_holds_nothing_of_a_part_counts_its_steps():
    """Three rows over two processes and one over two: the second has one, and none."""
    parts = [
        Part(name, nn.Parameter(torch.zeros(rows, 4096)), nn.Parameter(torch.zeros(own, 4096)), 1)
        for name, rows, own in [("some", 3, 1), ("none", 1, 0)]
    ]
    stepping = LowBitAdamW(parts, TrainOptions(lr=1.0, batch_size=1, optimizer="adamw8bit"))
    for part in parts:
        part.local.grad = torch.ones_like(part.local)
    stepping.step()
    states = {(part.name, key): (tensor, whole_shape(part, tensor)) for part, key, tensor in stepping.states()}
    assert [states[name, "step"][0].item() for name in ("some", "none")] == [1, 1]
    assert [whole for name, own, whole in shapes(states) if name == "some"] == [(3, 4096), (3, 64)] * 2
    assert [(own, whole) for name, own, whole in shapes(states) if name == "none"] == [
        ((0, 4096), (1, 4096)),
        ((0, 64), (1, 64)),
    ] * 2
    alone = LowBitAdamW(parts[1:], TrainOptions(lr=1.0, batch_size=1, optimizer="adamw8bit"))
    alone.step()
    assert next(iter(alone.states()))[2] == 1


def shapes(states):
    return [(name, tuple(own.shape), tuple(whole)) for (name, key), (own, whole) in states.items() if key != "step"]


def test_the_rate_follows_the_schedule():
    model = module()
    stepping = optimizers(model)
    stepping.set_rate(0.0)
    before = everything(model, stepping)
    train(model, stepping, 1)
    after = everything(model, stepping)
    assert all(torch.equal(before[name], after[name]) for name in model.state_dict())
    stepping.set_rate(0.5)
    train(model, stepping, 1, start=1)
    moved = (model.wide.weight - before["wide.weight"]).abs()
    assert 0.25e-2 < moved.median() < 0.5e-2


def test_a_step_that_does_not_count_changes_nothing():
    model = module()
    stepping = optimizers(model)
    train(model, stepping, 2)
    before = everything(model, stepping)
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, math.nan)
    stepping.step(torch.tensor(False))
    assert equal(before, everything(model, stepping))
    train(model, stepping, 1, start=2)
    after = everything(model, stepping)
    assert not any(torch.equal(before[name], after[name]) for name in before)


def test_states_that_are_read_back_go_on_bit_for_bit():
    model = module()
    stepping = optimizers(model)
    train(model, stepping, 3)
    kept = everything(model, stepping)
    train(model, stepping, 3, start=3)
    again = module()
    fresh = optimizers(again)
    with torch.no_grad():
        for name, parameter in again.named_parameters():
            parameter.copy_(kept[name])
        for part, key, tensor in fresh.states():
            tensor.copy_(kept[f"{part.name} {key}"])
    train(again, fresh, 3, start=3)
    assert equal(everything(model, stepping), everything(again, fresh))


def test_gradients_in_another_order_of_memory_are_taken():
    """Convolutions on GPUs give their kernels' gradients with channels last."""
    ends = []
    for form in (torch.contiguous_format, torch.channels_last):
        model = module()
        stepping = optimizers(model)
        train(model, stepping, 1)
        gradient = torch.randn(32, 16, 4, 4, generator=torch.Generator().manual_seed(9))
        model.kernel.weight.grad = gradient.contiguous(memory_format=form)
        stepping.step(torch.tensor(True))
        ends.append(model.kernel.weight.detach().clone())
    assert torch.equal(*ends)


def written(folder, **train):
    settings = {"optimizer": "adamw8bit", "max_steps": 4, "warmup_epochs": 0.0, "lr": 1e-3, **train}
    return write_run(folder, write_data(folder, MIXED), freeze=["vision"], **settings)


def test_a_run_is_resumed_bit_for_bit(tmp_path):
    assert_resumed_alike(written(tmp_path), tmp_path, steps=(2,))


@pytest.mark.slow
def test_two_processes_take_over_the_states_of_one(tmp_path):
    """In parts; blocks are the same, so that only sums in another order differ."""
    config = written(tmp_path, batch_size=4)
    expected = run(config, "save.every=1", "save.keep_every=1")
    for name, overrides in {"sdp": ["parallel.mode=sdp"], "fsdp": ["parallel.mode=fsdp"]}.items():
        cut_off(tmp_path / "out", tmp_path / name, 2)
        layout = ",".join([name, "train.batch_size=2", *overrides])
        done = torchrun(2, "tests.accessory.train.mesh_worker", str(config), str(tmp_path), layout)
        assert done.returncode == 0, done.stderr[-3000:]
        assert "going on after step 2 of 4" in done.stdout
        for line, reference in zip(read_metrics(tmp_path / name), expected, strict=True):
            for key in ("loss", "grad_norm"):
                # A moment on the edge of two places in the table may fall to the other.
                assert line[key] == pytest.approx(reference[key], rel=1e-4), (name, line["step"], key)


def test_a_missing_torchao_is_told_with_the_line_that_installs_it(monkeypatch):
    monkeypatch.setattr(lowbit, "find_spec", lambda name: None)
    optimizers(module(), "adamw")
    with pytest.raises(ConfigError) as caught:
        optimizers(module())
    assert "pip install 'sphinx-v[lowbit]', or take adamw" in str(caught.value)
