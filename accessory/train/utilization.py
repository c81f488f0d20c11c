"""Model FLOPs of a step and what devices could do at best: how well a run uses its GPUs (MFU).

Counted is what the model needs, not what an implementation does: no padding, no recompute, attention over allowed
pairs only (PaLM, arXiv 2204.02311, appendix B). A multiplication with an addition is two operations.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn

from accessory.config import LoraOptions
from accessory.data.collate import Batch
from accessory.train.meta_model import meta_inputs, meta_model
from SPHINX_V.config import SphinxVConfig
from SPHINX_V.model.llama import Block
from SPHINX_V.model.sphinx_v import SphinxV
from SPHINX_V.model.vision import split_views

# Dense bfloat16 with float32 sums, operations per second, from NVIDIA's data sheets; None where a device has a part of
# its family's units only. The first name that is part of the device's counts, so what is slower stands first.
_PEAKS = (
    ("MIG", None),
    ("Laptop", None),
    ("A100", 312e12),
    ("A800", 312e12),
    ("H100 PCIe", 756e12),
    ("H100 NVL", 835e12),
    ("H100", 989e12),
    ("H800", 989e12),
    ("H200 NVL", 835e12),
    ("H200", 989e12),
    ("GH200", 989e12),
    ("B200", 2250e12),
    ("L40S", 362e12),
    ("RTX 4090 D", 146e12),
    ("RTX 4090", 165e12),
)


def device_peak(name: str) -> float | None:
    """Operations per second in bfloat16 of a device as torch.cuda.get_device_name calls it; None for one unknown."""
    return next((peak for part, peak in _PEAKS if re.search(rf"\b{part}\b", name, re.IGNORECASE)), None)


def peak_flops(device: torch.device, dtype: str, processes: int) -> float | None:
    """What `processes` devices such as this one could do per second; None on CPU, and for types but bfloat16."""
    if device.type != "cuda" or dtype != "bfloat16":
        return None
    peak = device_peak(torch.cuda.get_device_name(device))
    return None if peak is None else processes * peak


@dataclass(frozen=True)
class FlopRule:
    """Operations of forward and backward, all integers: per token that passes the layers, per allowed pair of query and
    key in a sequence, per target that passes the output head, per picture that passes towers and projections."""

    per_token: int
    per_pair: int
    per_target: int
    per_picture: int
    visual_length: int

    def of(self, batch: Batch) -> int:
        """The operations of one micro-batch, its padding left out."""
        pictures = batch.inputs.pixels is not None
        lengths = batch.inputs.lengths + (self.visual_length if pictures else 0)
        pairs = int((lengths * (lengths + 1) // 2).sum())
        return (
            self.per_token * int(lengths.sum())
            + self.per_pair * pairs
            + self.per_target * batch.target_count
            + (self.per_picture * batch.inputs.batch_size if pictures else 0)
        )


def flop_rule(config: SphinxVConfig, trained: Collection[str], lora: LoraOptions | None = None) -> FlopRule:
    """Counts a model of which the parameters named in `trained` learn, those of adapters among them; a second time the
    result is at hand.

    A matrix of n weights takes 2n operations per token forward, 2n for the gradient of its input where something before
    it learns, and 2n for its own where it learns: 6n where all does. The extra losses of small recipes are left out.
    """
    return _flop_rule(config, frozenset(trained), lora)


@lru_cache(maxsize=8)
def _flop_rule(config: SphinxVConfig, trained: frozenset[str], lora: LoraOptions | None) -> FlopRule:
    model = meta_model(config, trained, lora)
    # Rows of embeddings are looked up; the layers' input has a gradient where anything before them learns.
    learns = any(not name.startswith(("llm.layers.", "llm.norm.", "llm.output.")) for name in trained)
    per_token = per_pair = 0
    for layer in model.llm.layers:
        assert isinstance(layer, Block)
        count = _Products()
        learns = _layer(layer, learns, count)
        per_token += count.weights
        per_pair += count.pairs * config.llm.n_heads * config.llm.head_dim
    head = _Products()
    head(model.llm.output.weight, learns or model.llm.norm.weight.requires_grad)
    return FlopRule(per_token, per_pair, head.weights, _picture(model), config.visual_length)


class _Products:
    """Sums of operations of matrix products, per token (`weights`), and per pair and channel (`pairs`)."""

    def __init__(self) -> None:
        self.weights = 0
        self.pairs = 0

    def __call__(self, weight: Tensor, input_learns: bool) -> bool:
        """Does the product's result have a gradient?"""
        self.weights += 2 * weight.numel() * (1 + input_learns + weight.requires_grad)
        return input_learns or weight.requires_grad

    def projection(self, module: nn.Module, input_learns: bool) -> bool:
        """As `__call__` for a module of one matrix, with its adapter where it has one."""
        matrices = {name.partition(".")[0]: matrix for name, matrix in module.named_parameters()}
        if "lora_A" not in matrices:
            return self(matrices["weight"], input_learns)
        learns = self(matrices["lora_B"], self(matrices["lora_A"], input_learns))
        return self(matrices["base_layer"], input_learns) or learns

    def attention(self, learns: bool) -> bool:
        # Scores and their sum of values; backward two products for each.
        self.pairs += 4 * (3 if learns else 1)
        return learns


def _layer(layer: Block, learns: bool, count: _Products) -> bool:
    """Counts one layer whose input has a gradient or not; does its output have one?"""
    attention, feed_forward = layer.attention, layer.feed_forward
    normed = learns or layer.attention_norm.weight.requires_grad
    projected = [count.projection(part, normed) for part in (attention.wq, attention.wk, attention.wv)]
    learns = count.projection(attention.wo, count.attention(any(projected))) or learns
    normed = learns or layer.ffn_norm.weight.requires_grad
    gated = [count.projection(part, normed) for part in (feed_forward.w1, feed_forward.w3)]
    return count.projection(feed_forward.w2, any(gated)) or learns


def _picture(model: SphinxV) -> int:
    """One picture with its slots from pixels to tokens: counted by running it, with the gradients that it has.

    Places of patches (an option of small recipes) are computed once for a whole batch, and not counted.
    """
    from torch.utils.flop_counter import FlopCounterMode

    inputs = meta_inputs(model.config, 1, 1, picture=True)
    assert inputs.pixels is not None
    assert inputs.slots is not None
    with FlopCounterMode(display=False) as counter:
        mixed, queries = model.vision(split_views(inputs.pixels).flatten(0, 1))
        made = [model.visual_proj(mixed), model.qformer_proj(queries), model.encode_prompts(inputs.slots)]
        learning = [tokens for tokens in made if tokens.requires_grad]
        if learning:
            torch.autograd.backward(learning, [torch.ones_like(tokens) for tokens in learning])
    return counter.get_total_flops()
