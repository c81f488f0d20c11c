"""The tensor-parallel plan: two processes compute what one computes, and sizes that do not divide are refused."""

import json

import pytest
import torch

from SPHINX_V import ConfigError, UsageError
from SPHINX_V.config import LlamaConfig, sphinx_v_13b
from SPHINX_V.parallel import check_divides, check_world, init_mesh, local_device
from SPHINX_V.weights.names import split_dimension
from tests.launch import torchrun

TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """What each of two processes saw."""
    folder = tmp_path_factory.mktemp("ranks")
    done = torchrun(2, "tests.parallel_worker", folder)
    assert done.returncode == 0, done.stderr
    return [json.loads((folder / f"{rank}.json").read_text(encoding="utf-8")) for rank in range(2)]


def test_two_processes_give_the_logits_of_one(ranks):
    for seen in ranks:
        assert max(seen["distances"]) < TOLERANCE


def test_two_processes_give_the_texts_of_one(ranks):
    for seen in ranks:
        whole, loaded = seen["answers"]
        assert loaded == whole
    assert ranks[0]["answers"] == ranks[1]["answers"]


def test_each_process_holds_its_share_and_what_is_not_split_whole(ranks, golden_model):
    for name, parameter in golden_model.named_parameters():
        expected = list(parameter.shape)
        dimension = split_dimension(name)
        if dimension is not None:
            expected[dimension] //= 2
        for seen in ranks:
            assert seen["shares"][name] == (None if dimension is None else expected), name


@pytest.mark.parametrize(
    "changes, size, part",
    [
        ({}, 3, "tensor_parallel 3 does not divide n_heads 40"),
        ({"n_kv_heads": 8}, 5, "tensor_parallel 5 does not divide n_kv_heads 8"),
        ({"vocab_size": 32001}, 2, "tensor_parallel 2 does not divide vocab_size 32001"),
        ({"multiple_of": 1, "dim": 160}, 4, "tensor_parallel 4 does not divide ffn_dim 426"),
    ],
)
def test_sizes_that_do_not_divide_are_refused_with_both_numbers(changes, size, part):
    config = LlamaConfig.model_validate({**sphinx_v_13b().llm.model_dump(), **changes})
    with pytest.raises(ConfigError, match=part):
        check_divides(config, size)


@pytest.mark.parametrize("size", [1, 2, 4, 8])
def test_the_released_sizes_divide(size):
    check_divides(sphinx_v_13b().llm, size)


def test_the_number_of_processes_must_be_the_one_asked_for(monkeypatch):
    with pytest.raises(UsageError, match=r"tensor_parallel is 2, but 1 process runs; .*--nproc_per_node=2"):
        init_mesh(2, "cpu")
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(UsageError, match="tensor_parallel is 2, but 4 processes run"):
        check_world(2)
    check_world(4)


def test_devices():
    assert local_device("cpu") == torch.device("cpu")
    assert local_device(None).type in ("cpu", "cuda")
    with pytest.raises(UsageError, match="'toaster'"):
        local_device("toaster")
    with pytest.raises(UsageError, match=r"cuda:99, but \d+ GPUs"):
        local_device("cuda:99")
