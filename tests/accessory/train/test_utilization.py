"""Model FLOPs: worked out by hand for small sizes, and against torch's counter on real runs of tiny."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from accessory.config import LoraOptions
from accessory.data.collate import Batch
from accessory.train.freeze import freeze
from accessory.train.lora import add_adapters
from accessory.train.meta_model import meta_model
from accessory.train.utilization import FlopRule, device_peak, flop_rule, peak_flops
from SPHINX_V.config import sphinx_v_13b, tiny
from SPHINX_V.inputs import ModelInputs, PromptSlots
from SPHINX_V.model.init import initialise
from tests.accessory.runs import FREEZE
from tests.accessory.train.padded import padded_loss
from tests.weights.small import small_config

LLM = 12_687_769_600  # weights of 40 layers: 4 · 5120² and 3 · 5120 · 13824 each


def rule(config, prefixes):
    return flop_rule(config, freeze(meta_model(config, []), prefixes))


def test_the_13b_has_six_operations_per_weight_and_token_where_all_learns():
    found = rule(sphinx_v_13b(), FREEZE[2])
    assert found.per_token == 6 * LLM
    # Two products of 5120 channels forward, four backward, in 40 layers.
    assert found.per_pair == 2 * (2 + 4) * 5120 * 40
    assert found.per_target == 6 * 5120 * 32000
    assert found.visual_length == 1467


def small(*trained):
    """dim 48, 8 heads of 6, 4 of keys, feed-forward 168: 3 layers of 2·48² + 2·48·24 + 3·48·168 weights."""
    return flop_rule(small_config(), trained)


ATTENTION, KEYS, FEED = 48 * 48, 48 * 24, 48 * 168
LAYER = 2 * ATTENTION + 2 * KEYS + 3 * FEED


def test_frozen_layers_pass_gradients_to_what_lies_before_them():
    found = small("vp_proj.0.weight")
    assert found.per_token == 4 * 3 * LAYER
    assert found.per_pair == 12 * 48 * 3
    assert found.per_target == 4 * 48 * 52


def test_nothing_goes_back_behind_what_learns():
    found = small("llm.output.weight")
    assert (found.per_token, found.per_pair, found.per_target) == (2 * 3 * LAYER, 4 * 48 * 3, 4 * 48 * 52)
    assert small("llm.norm.weight").per_target == 4 * 48 * 52
    assert small("llm.norm.weight").per_token == 2 * 3 * LAYER


def test_within_a_layer_only_what_lies_behind_the_learner_has_gradients():
    found = small("llm.layers.1.attention.wo.weight")
    # The first layer forward; wo its own gradient, all of the feed-forward its input's; the third both but no own.
    assert found.per_token == 2 * LAYER + (2 * LAYER + 2 * ATTENTION + 2 * 3 * FEED) + 4 * LAYER
    assert found.per_pair == (4 + 4 + 12) * 48
    keys = small("llm.layers.2.attention.wk.weight")
    assert keys.per_token == 3 * 2 * LAYER + 2 * KEYS + 2 * ATTENTION + 2 * 3 * FEED
    assert keys.per_pair == (4 + 4 + 12) * 48
    norm = small("llm.layers.2.ffn_norm.weight")
    assert norm.per_token == 3 * 2 * LAYER + 2 * 3 * FEED


def test_an_adapter_adds_its_two_matrices_to_its_projection():
    rank = 4
    lora = LoraOptions(rank=rank, targets=("wq",))
    names = [name for name, _ in meta_model(small_config(), [], lora).named_parameters() if ".lora_" in name]
    assert len(names) == 3 * 2
    found = flop_rule(small_config(), names, lora)
    # In the first layer nothing before the adapter learns; from there on all inputs have gradients.
    first = 2 * (ATTENTION + 2 * KEYS) + (4 + 6) * rank * 48 + 4 * (ATTENTION + 3 * FEED)
    assert found.per_token == first + 2 * (4 * LAYER + 2 * 6 * rank * 48)
    assert found.per_pair == 3 * 12 * 48


def test_a_picture_passes_the_projections_once_per_token():
    config = small_config()
    frozen, learning = small("llm.output.weight"), small("llm.output.weight", "visual_proj.0.weight")
    views, patches = 5, 1 + 4 * 4
    assert learning.per_picture - frozen.per_picture == 2 * views * patches * config.vision.mixed_width * 48


def test_a_batch_counts_its_tokens_without_padding_and_its_pairs_up_to_the_diagonal():
    counted = FlopRule(per_token=1, per_pair=1000, per_target=10**6, per_picture=10**8, visual_length=10)
    texts = ModelInputs(torch.zeros(2, 5, dtype=torch.int64), torch.tensor([5, 2]))
    labels = torch.tensor([[0, 1, 1, 0, 0], [7, 1, 0, 0, 0]])
    none = torch.full((2, 1, 0), -1)
    assert counted.of(Batch(texts, labels, none, none, (0, 1))) == 7 + 1000 * (15 + 3) + 3 * 10**6
    slots = PromptSlots(torch.zeros(2, 1, 4), torch.zeros(2, 1).bool(), torch.zeros(2, 1).bool())
    pictured = ModelInputs(texts.token_ids, texts.lengths, torch.zeros(2, 3, 8, 8), slots)
    expected = 27 + 1000 * (15 * 16 // 2 + 12 * 13 // 2) + 3 * 10**6 + 2 * 10**8
    assert counted.of(Batch(pictured, labels, none, none, (0, 1))) == expected


@pytest.mark.parametrize(
    "prefixes, lora",
    [(FREEZE[1], None), (FREEZE[2], None), ([], None), (["vision", "llm"], LoraOptions(rank=4, targets=("wk", "w2")))],
    ids=["stage1", "stage2", "all", "adapters"],
)
def test_torchs_counter_finds_the_same_in_a_real_step_of_tiny(prefixes, lora):
    config = tiny().model_copy(update={"vision": tiny().vision.model_copy(update={"position_features": False})})
    model = meta_model(config, [])
    freeze(model, prefixes, lora)
    add_adapters(model, lora)
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    model.to_empty(device="cpu")
    initialise(model, seed=0)
    rows, text, targets = 2, 20, 7
    side, slots = config.vision.picture_size, config.prompts.num_slots
    inputs = ModelInputs(
        torch.ones(rows, text, dtype=torch.int64),
        torch.full((rows,), text),
        torch.rand(rows, 3, side, side),
        PromptSlots(torch.rand(rows, slots, 4), torch.ones(rows, slots).bool(), torch.ones(rows, slots).bool()),
    )
    labels = torch.zeros(rows, text, dtype=torch.int64)
    labels[:, 1 : targets + 1] = 5
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        padded_loss(model, inputs, labels).backward()
    none = torch.full((rows, slots, 0), -1)
    counted = flop_rule(config, trained, lora)
    ours = counted.of(Batch(inputs, labels, none, none, (0, 1)))
    # Torch counts all pairs of the language model's attention; only those up to the diagonal are allowed.
    length = text + config.visual_length
    beyond = rows * counted.per_pair * length * (length - 1) // 2
    assert ours + beyond == counter.get_total_flops()


@pytest.mark.parametrize(
    "name, peak",
    [
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA H200", 989e12),
        ("NVIDIA GH200 480GB", 989e12),
        ("NVIDIA L40S", 362e12),
        ("NVIDIA GeForce RTX 4090", 165e12),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", None),
        ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", None),
        ("NVIDIA L40", None),
        ("NVIDIA A10", None),
        ("Radeon", None),
    ],
)
def test_a_device_is_known_by_its_name(name, peak):
    assert device_peak(name) == peak


def test_a_cpu_has_no_known_peak():
    assert peak_flops(torch.device("cpu"), "bfloat16", 8) is None
