"""The small parts of the trainer: what is frozen, the rate of a step, the optimiser's groups."""

import math

import pytest
import torch
from torch import nn

from accessory.config import TrainOptions
from accessory.runtime.distributed import World
from accessory.train.freeze import freeze
from accessory.train.gradients import trained_parts
from accessory.train.optim import Optimizers
from accessory.train.schedule import learning_rate
from SPHINX_V.config import tiny
from SPHINX_V.errors import ConfigError
from SPHINX_V.model.sphinx_v import SphinxV

ALONE = World(0, 1, torch.device("cpu"))


def optimizers_of(module, options):
    return Optimizers(trained_parts(module, ALONE), options)


def model():
    """Parameters `a.weight`, `a.bias`, `ab.weight`, `ab.bias`, `c.d.weight`, `c.d.bias`."""
    return nn.ModuleDict({"a": nn.Linear(2, 3), "ab": nn.LayerNorm(3), "c": nn.ModuleDict({"d": nn.Linear(3, 2)})})


def test_a_prefix_ends_at_a_dot():
    assert freeze(model(), ["a"]) == ["ab.weight", "ab.bias", "c.d.weight", "c.d.bias"]


@pytest.mark.parametrize(
    "prefixes, trained",
    [
        ([], 6),
        (["c"], 4),
        (["c.d"], 4),
        (["c.d.weight", "ab"], 3),
    ],
)
def test_what_is_trained_needs_gradients_and_nothing_else(prefixes, trained):
    module = model()
    names = freeze(module, prefixes)
    assert len(names) == trained
    assert names == [name for name, parameter in module.named_parameters() if parameter.requires_grad]


def test_released_names_freeze_too():
    with torch.device("meta"):
        ours, released = SphinxV(tiny()), SphinxV(tiny())
    assert freeze(ours, ["vision.clip", "llm.layers", "prompt_encoder"]) == freeze(
        released, ["clip", "layers", "llma.vp_encoder", "vision.clip"]
    )


def test_freezing_again_starts_anew():
    module = model()
    freeze(module, ["a", "ab"])
    assert len(freeze(module, ["c"])) == 4


@pytest.mark.parametrize("prefix", ["vison", "a.weigh", "c.", ""])
def test_a_prefix_that_matches_nothing_is_refused(prefix):
    with pytest.raises(ConfigError) as caught:
        freeze(model(), [prefix])
    assert str(caught.value) == f"train.freeze: {prefix!r} matches no parameter; parts are a, ab, c."


def test_freezing_everything_is_refused():
    with pytest.raises(ConfigError, match="leave something to train"):
        freeze(model(), ["a", "ab", "c"])


@pytest.mark.parametrize(
    "step, rate",
    [
        (0, 0.0),
        (1, 0.25),
        (2, 0.5),
        (4, 1.0),
        (6, 0.1 + 0.9 * 0.75),  # a third of the way: (1 + cos 60°) / 2
        (7, 0.1 + 0.9 * 0.5),
        (8, 0.1 + 0.9 * 0.25),
        (10, 0.1),
        (12, 0.1),
    ],
)
def test_linear_warm_up_then_half_a_cosine(step, rate):
    """Ten steps, four of them warm-up, from 0 to 1 to 0.1."""
    assert learning_rate(step, 10, 4, 1.0, 0.1) == pytest.approx(rate)


def test_without_warm_up_the_first_step_has_the_peak():
    assert learning_rate(0, 10, 0, 3e-4, 0.0) == 3e-4


def test_a_run_of_warm_up_alone():
    assert [learning_rate(step, 2, 4, 1.0, 0.0) for step in range(2)] == [0.0, 0.25]


def test_biases_and_norms_do_not_decay():
    module = model()
    freeze(module, ["c"])
    options = TrainOptions(lr=1e-3, batch_size=1, weight_decay=0.1, betas=(0.9, 0.98))
    built = optimizers_of(module, options)
    assert built.muon is None
    decayed, kept = built.adamw.param_groups
    assert (decayed["weight_decay"], kept["weight_decay"]) == (0.1, 0.0)
    assert [parameter.shape for parameter in decayed["params"]] == [(3, 2)]
    assert len(kept["params"]) == 3, "the bias of a, both of ab; c is frozen"
    assert decayed["betas"] == (0.9, 0.98)


def test_tags_do_not_decay_and_tables_do():
    with torch.device("meta"):
        module = SphinxV(tiny())
    built = optimizers_of(module, TrainOptions(lr=1e-3, batch_size=1, weight_decay=0.1))
    decayed, kept = ({id(p) for p in group["params"]} for group in built.adamw.param_groups)
    assert {id(module.start_img), id(module.end_vp), id(module.llm.norm.weight)} <= kept
    assert {id(module.llm.tok_embeddings.weight), id(module.vision.qformer.query_tokens)} <= decayed


def test_muon_takes_matrices_and_leaves_tables_vectors_and_frozen_parts():
    module = torch.nn.Module()
    module.tok_embeddings = torch.nn.Embedding(5, 4)
    module.inner = torch.nn.Linear(4, 3)
    module.frozen = torch.nn.Linear(3, 3)
    module.output = torch.nn.Linear(3, 5, bias=False)
    freeze(module, ["frozen"])
    options = TrainOptions(lr=1e-3, batch_size=1, muon_lr=4e-3)
    built = optimizers_of(module, options)
    adamw = built.adamw
    assert [p is module.inner.weight for group in built.muon.param_groups for p in group["params"]] == [True]
    rest = {id(p) for group in adamw.param_groups for p in group["params"]}
    assert rest == {id(module.tok_embeddings.weight), id(module.inner.bias), id(module.output.weight)}


def test_muon_steps_on_kernels_as_on_matrices_of_their_windows():
    kernel, matrix, depthwise = (
        torch.nn.Conv2d(2, 3, 2, bias=False),
        torch.nn.Linear(8, 3, bias=False),
        torch.nn.Conv2d(3, 3, 2, groups=3, bias=False),
    )
    with torch.no_grad():
        matrix.weight.copy_(kernel.weight.flatten(1))
    module = torch.nn.ModuleList([kernel, matrix, depthwise])
    optimizers = optimizers_of(module, TrainOptions(lr=1e-3, batch_size=1, muon_lr=4e-3))
    assert [p is depthwise.weight for group in optimizers.adamw.param_groups for p in group["params"]] == [True]
    start = matrix.weight.detach().clone()
    for step in range(3):
        gradient = torch.randn(3, 8, generator=torch.Generator().manual_seed(step))
        kernel.weight.grad, matrix.weight.grad = gradient.view(3, 2, 2, 2).clone(), gradient.clone()
        optimizers.step(torch.tensor(True))
    assert (matrix.weight - start).abs().max() > 1e-3
    assert torch.equal(kernel.weight.flatten(1), matrix.weight)


def test_rates_of_both_optimisers_keep_their_ratio():
    module = torch.nn.Linear(4, 3)
    optimizers = optimizers_of(module, TrainOptions(lr=1e-3, batch_size=1, muon_lr=4e-3))
    optimizers.set_rate(0.5)
    assert [group["lr"] for o in (optimizers.adamw, optimizers.muon) for group in o.param_groups] == [5e-4, 2e-3]


@pytest.mark.parametrize("muon", [None, 4e-3])
def test_a_step_that_does_not_count_changes_nothing(muon):
    module = model()
    optimizers = optimizers_of(module, TrainOptions(lr=1e-3, batch_size=1, muon_lr=muon))

    def step(good, value):
        for parameter in module.parameters():
            parameter.grad = torch.full_like(parameter, value)
        optimizers.step(torch.tensor(good))

    def everything():
        tensors = [*module.parameters(), *(tensor for _, _, tensor in optimizers.states())]
        return [tensor.detach().clone() for tensor in tensors]

    step(True, 1.0)
    before = everything()
    step(False, math.nan)
    assert all(torch.equal(old, new) for old, new in zip(before, everything()))
    step(True, 1.0)
    assert not any(torch.equal(old, new) for old, new in zip(before, everything()) if new.ndim > 1)


@pytest.mark.parametrize("muon", [None, 4e-3])
def test_states_before_the_first_step_are_those_that_the_optimisers_begin_with(muon):
    """Read back before any step, a state goes on as it would have."""

    def trained(states_first):
        torch.manual_seed(0)
        module = model()
        optimizers = optimizers_of(module, TrainOptions(lr=1e-3, batch_size=1, muon_lr=muon))
        if states_first:
            assert {key for _, key, _ in optimizers.states()} >= {"step", "exp_avg", "exp_avg_sq"}
        for value in (1.0, -0.5):
            for parameter in module.parameters():
                parameter.grad = torch.full_like(parameter, value)
            optimizers.step(torch.tensor(True))
        return [*module.parameters(), *(tensor for _, _, tensor in optimizers.states())]

    assert all(torch.equal(one, other) for one, other in zip(trained(True), trained(False)))
