"""Memory by component: weights worked out by hand, activations against real runs on the CPU."""

import json
from dataclasses import asdict

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks

from accessory.config import LoraOptions, ParallelOptions, RunOptions, TrainOptions, load_options
from accessory.parallel.layout import blocks
from accessory.parallel.recompute import recompute
from accessory.train.estimate import estimate
from accessory.train.freeze import freeze
from accessory.train.lora import add_adapters
from accessory.train.memory import LiveBytes, MicroBatch, estimate_memory
from accessory.train.meta_model import meta_model
from SPHINX_V.config import LlamaConfig, sphinx_v_13b
from SPHINX_V.inputs import ModelInputs, PromptSlots
from SPHINX_V.model.sphinx_v import SphinxV
from tests.accessory.runs import FREEZE, MIXED, write_data, write_run
from tests.accessory.train.padded import padded_loss
from tests.launch import torchrun
from tests.weights.small import small_config

GIB = 2**30


def test_live_bytes_follow_memory_and_not_tensors():
    with LiveBytes() as live:
        first = torch.zeros(10)
        view = first[2:].view(2, 4)
        assert (live.now, live.peak) == (40, 40)
        del first
        second = view * 2
        assert live.now == 40 + 32
        view.add_(1)
        del view
        assert (live.now, live.peak) == (32, 72)
        del second
        assert (live.now, live.peak) == (0, 72)
    outside = torch.zeros(5)
    with LiveBytes() as live:
        outside.add_(1)
        assert live.now == 0


def numbers(config, trained, tensor):
    """Weights of one tensor rank: trained, frozen; by the rules of released shards."""
    split = ("wq.weight", "wk.weight", "wv.weight", "wo.weight", "w1.weight", "w2.weight", "w3.weight")
    counts = [0, 0]
    for name, parameter in meta_model(config, []).named_parameters():
        shared = name.endswith(split) or name in ("llm.tok_embeddings.weight", "llm.output.weight")
        counts[name not in trained] += parameter.numel() // (tensor if shared else 1)
    return counts


SMALL = MicroBatch(1, 8, 4, True)


TRAIN = TrainOptions(lr=1.0, batch_size=1)


def estimated(config, prefixes, data, batch=SMALL, train=TRAIN, **parallel):
    trained = freeze(meta_model(config, []), prefixes, train.lora)
    if train.lora is not None:
        trained += [name for name, _ in meta_model(config, [], train.lora).named_parameters() if ".lora_" in name]
    return trained, estimate_memory(config, trained, train, ParallelOptions(**parallel), data, batch)


def test_one_process_in_float32_has_four_times_four_bytes_of_what_learns():
    config = small_config()
    trained, memory = estimated(config, FREEZE[2], 1)
    learning, frozen = numbers(config, trained, 1)
    assert (memory.masters, memory.gradients, memory.optimizer) == (4 * learning, 4 * learning, 8 * learning)
    assert (memory.frozen, memory.gathered, memory.exchange) == (4 * frozen, 0, 0)
    assert memory.total == sum(asdict(memory).values())


@pytest.mark.parametrize("mode, shards", [("ddp", 1), ("sdp", 4)])
def test_bfloat16_adds_a_copy_and_sdp_splits_all_but_that(mode, shards):
    config = small_config()
    trained, memory = estimated(config, FREEZE[2], 4, mode=mode, tensor=2, dtype="bfloat16")
    learning, frozen = numbers(config, trained, 2)
    assert memory.masters == memory.gradients == 4 * learning // shards
    assert memory.optimizer == 8 * learning // shards
    assert (memory.frozen, memory.gathered) == (2 * frozen, 2 * learning)


def test_fsdp_splits_frozen_blocks_too_and_gathers_two_at_a_time():
    config = small_config()
    trained, memory = estimated(config, FREEZE[1], 4, mode="fsdp", dtype="bfloat16")
    learning, frozen = numbers(config, trained, 1)
    layer = 2 * 48 * 48 + 2 * 24 * 48 + 3 * 48 * 168 + 2 * 48
    model = meta_model(config, trained)
    vision = model.vision
    blocks = [*vision.clip.blocks, *vision.dinov2.blocks, *vision.blip2_vit.blocks, *vision.qformer.layers]
    blocks += [block for stage in vision.convnext.stages for block in stage.blocks]
    parted = 3 * layer + sum(parameter.numel() for block in blocks for parameter in block.parameters())
    assert memory.frozen == pytest.approx(2 * (frozen - parted) + 2 * parted / 4, abs=2 * len([*blocks, 1, 1, 1]))
    assert memory.gathered == 2 * learning + 2 * 2 * layer


def test_adapters_learn_and_are_split_as_their_projections_are():
    """dim 48, keys 24, feed-forward 168, three layers; the side that is split belongs to one of two ranks by half."""
    config, rank = small_config(), 4
    train = TRAIN.model_copy(update={"lora": LoraOptions(rank=rank)})
    plain, without = estimated(config, ["vision", "llm"], 1, tensor=2, mode="fsdp", dtype="bfloat16")
    trained, memory = estimated(config, ["vision", "llm"], 1, train=train, tensor=2, mode="fsdp", dtype="bfloat16")
    assert len(trained) - len(plain) == 3 * 7 * 2
    columns = sum(48 + out // 2 for out in (48, 24, 24, 168, 168))
    rows = sum(inputs // 2 + 48 for inputs in (48, 168))
    added = 3 * rank * (columns + rows)
    assert memory.masters - without.masters == memory.gradients - without.gradients == 4 * added
    assert memory.optimizer - without.optimizer == 8 * added
    assert memory.frozen == without.frozen


def test_what_adapters_stand_beside_is_frozen_and_split_by_fsdp():
    config = small_config()
    train = TRAIN.model_copy(update={"lora": LoraOptions(rank=4)})
    layout = {"mode": "fsdp", "dtype": "bfloat16", "train": train}
    _, norms_learn = estimated(config, ["vision"], 1, **layout)
    _, split = estimated(config, ["vision"], 2, **layout)
    projections = 3 * (2 * 48 * 48 + 2 * 24 * 48 + 3 * 48 * 168)
    frozen_vision = sum(parameter.numel() for parameter in meta_model(config, []).vision.parameters())
    assert norms_learn.frozen == 2 * (projections + frozen_vision)
    model = meta_model(config, [])
    parted = (
        projections
        + sum(p.numel() for block in blocks(model) for p in block.parameters())
        - sum(p.numel() for p in model.llm.layers.parameters())
    )
    assert norms_learn.frozen - split.frozen == pytest.approx(2 * parted / 2, abs=100)


def test_moments_of_eight_bits_take_a_quarter():
    config = small_config().model_copy(update={"llm": LlamaConfig(dim=128, n_layers=1, n_heads=8, vocab_size=300)})
    train = TRAIN.model_copy(update={"optimizer": "adamw8bit"})
    for tensor in (1, 2):
        for name, each in {"llm.output.weight": 2.125, "llm.norm.weight": 8}.items():
            number = meta_model(config, []).get_parameter(name).numel() // (
                tensor if name.endswith("output.weight") else 1
            )
            memory = estimate_memory(config, [name], train, ParallelOptions(tensor=tensor), 1, SMALL)
            assert memory.optimizer == int(each * number)
    # 128 numbers of a row over four ranks are no multiple of 64.
    names = ["llm.layers.0.attention.wo.weight"]
    found = [
        estimate_memory(config, names, train, ParallelOptions(tensor=tensor), 1, SMALL).optimizer for tensor in (2, 4)
    ]
    assert found == [2.125 * 128 * 128 / 2, 8 * 128 * 128 / 4]


@pytest.mark.slow
def test_the_published_stages_of_the_13b_fit_their_gpus():
    """8 GPUs, model parallel 2, as published; the micro-batches are those of 300 text tokens."""
    layout = {"tensor": 2, "mode": "sdp", "dtype": "bfloat16"}
    _, first = estimated(sphinx_v_13b(), FREEZE[1], 4, MicroBatch(24, 300, 24 * 100, True), recompute="full", **layout)
    # 24 · 1767 · 5120 · 2 bytes for each of 40 layers is what full recompute keeps; the rest is small beside it.
    kept = 24 * 1767 * 5120 * 2 * 40
    assert kept < first.activations < 1.2 * kept
    assert first.frozen / GIB == pytest.approx(18.1, abs=0.1)
    assert first.total / GIB == pytest.approx(45, abs=3)
    _, second = estimated(
        sphinx_v_13b(), FREEZE[2], 4, MicroBatch(4, 300, 4 * 150, True), recompute="selective", **layout
    )
    # Per token and layer: input and wo's result of the whole width, those of wq, wk, wv and attention of the half,
    # those of w1 and w3 of half the feed-forward; w2's is not kept.
    kept = 4 * 1767 * 2 * 40 * (2 * 5120 + 4 * 2560 + 2 * 6912)
    assert kept < second.activations < 1.1 * kept
    assert second.total / GIB == pytest.approx(66, abs=3)


def real_batch(config, rows, text, targets):
    """Inputs and labels with `targets` target tokens in all."""
    side, slots = config.vision.picture_size, config.prompts.num_slots
    flags = torch.ones(rows, slots, dtype=torch.bool)
    labels = torch.zeros(rows, text, dtype=torch.int64)
    labels[:, 1 : 1 + targets // rows] = 5
    prompts = PromptSlots(torch.rand(rows, slots, 4), flags, flags)
    texts = torch.ones(rows, text, dtype=torch.int64), torch.full((rows,), text)
    return ModelInputs(*texts, torch.rand(rows, 3, side, side), prompts), labels


@pytest.fixture(scope="module")
def config():
    """Small encoders, and a language model that is most of the whole."""
    llm = LlamaConfig(dim=128, n_layers=4, n_heads=8, n_kv_heads=4, vocab_size=300, multiple_of=32)
    return small_config().model_copy(update={"llm": llm})


BATCH = MicroBatch(4, 100, 200, True)


@pytest.mark.parametrize("prefixes", [FREEZE[1], FREEZE[2], []], ids=["stage1", "stage2", "all"])
def test_activations_are_what_autograd_keeps_on_the_cpu(config, prefixes):
    model = SphinxV(config)
    trained = freeze(model, prefixes)
    known = {tensor.untyped_storage().data_ptr() for tensor in model.state_dict().values()}
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = (storage.nbytes(), tensor)
        return tensor

    inputs, labels = real_batch(config, BATCH.rows, BATCH.text_length, BATCH.targets)
    with saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = padded_loss(model, inputs, labels)
    measured = sum(size for size, _ in kept.values())
    assert loss.requires_grad
    memory = estimate_memory(config, trained, TRAIN, ParallelOptions(), 1, BATCH)
    # Torch keeps a few tensors that forward has anyway, and the CPU's attention none of the random states.
    assert memory.activations == pytest.approx(measured, rel=0.05)


@pytest.mark.parametrize(
    "how, lora",
    [("none", None), ("selective", None), ("full", None), ("none", LoraOptions()), ("selective", LoraOptions(rank=4))],
)
def test_recompute_keeps_and_needs_what_it_does_on_the_cpu(config, how, lora):
    model = meta_model(config, [])
    freeze(model, FREEZE[2], lora)
    add_adapters(model, lora)
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    model.to_empty(device="cpu")
    recompute(model, how)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.register_post_accumulate_grad_hook(lambda p: setattr(p, "grad", None))
    with LiveBytes() as live:
        inputs, labels = real_batch(config, BATCH.rows, BATCH.text_length, BATCH.targets)
        loss = padded_loss(model, inputs, labels)
        kept = live.now
        loss.backward()
    train = TRAIN.model_copy(update={"lora": lora})
    memory = estimate_memory(config, trained, train, ParallelOptions(recompute=how), 1, BATCH)
    assert memory.activations == pytest.approx(kept, rel=0.02)
    assert memory.activations + memory.working == pytest.approx(live.peak, rel=0.02)


HELD = {
    "tensor": ["parallel.tensor=2"],
    "ddp": ["parallel.mode=ddp"],
    "sdp": ["parallel.mode=sdp", "train.lora=null", "train.freeze=[vision]"],
    "fsdp": ["parallel.mode=fsdp"],
    "eight": ["parallel.mode=fsdp", "train.optimizer=adamw8bit", "train.lora=null", "train.freeze=[vision]"],
    "eight-tensor": ["parallel.tensor=2", "train.optimizer=adamw8bit", "train.lora=null", "train.freeze=[vision]"],
}


@pytest.mark.slow
def test_weights_and_moments_are_what_two_processes_really_hold(tmp_path):
    config = write_run(tmp_path, write_data(tmp_path, MIXED), freeze=["vision", "llm"], lora={"rank": 8})
    shared = ["parallel.dtype=bfloat16"]
    runs = [",".join([name, *shared, *overrides]) for name, overrides in HELD.items()]
    done = torchrun(2, "tests.accessory.train.sizes_worker", str(config), str(tmp_path / "sizes.json"), *runs)
    assert done.returncode == 0, done.stderr[-3000:]
    sizes = json.loads((tmp_path / "sizes.json").read_text(encoding="utf-8"))
    found = {}
    for name, overrides in HELD.items():
        options = load_options(RunOptions, config, [*shared, *overrides])
        memory = estimate(options, 2, tmp_path / "out" / "checkpoint").memory
        found[name] = {key: getattr(memory, key) for key in ("frozen", "masters", "optimizer")}
        # The first process has one row more of what two do not divide.
        assert sizes[name] == pytest.approx(found[name], rel=0.02), name
    assert found["fsdp"]["frozen"] < 0.8 * found["ddp"]["frozen"]
    assert found["eight"]["optimizer"] < 0.4 * found["sdp"]["optimizer"]
