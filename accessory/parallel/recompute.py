"""Activation recompute: less memory for the language model's layers, by computing forward again in backward."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import torch
from torch import nn

from SPHINX_V.model.sphinx_v import SphinxV

# The projections of a layer, in the order in which it uses them.
_PROJECTIONS = (
    *(f"attention.{name}" for name in ("wq", "wk", "wv", "wo")),
    *(f"feed_forward.{name}" for name in ("w1", "w3", "w2")),
)


def recompute(model: SphinxV, how: Literal["none", "selective", "full"]) -> None:
    """Changes how every layer of the language model keeps what its backward needs; results stay bit for bit.

    `full` keeps each layer's input only (Chen et al., arXiv 1604.06174). `selective` also keeps the results of matrix
    products and attention, and computes norms, rotations and activations again (Korthikanti et al., arXiv 2205.05198):
    hardly slower than `none`, in about half its memory.
    """
    if how != "none":
        for layer in model.llm.layers:
            _wrap(layer, selective=how == "selective")


def _wrap(layer: nn.Module, selective: bool) -> None:
    from torch.utils.checkpoint import checkpoint

    inner = layer.forward
    options: dict[str, Any] = {"context_fn": partial(_keep_products, _kept(layer))} if selective else {}

    # A function of ours, not a partial: torch.compile sees the call of `checkpoint` in it, and knows what to do.
    def forward(*arguments: Any, **named: Any) -> Any:
        return checkpoint(inner, *arguments, use_reentrant=False, **options, **named)

    # On the instance, so that names of modules and parameters stay as they are.
    layer.forward = forward


def _kept(layer: nn.Module) -> tuple[bool, ...]:
    """Of each of a layer's matrix products, in their order, whether its result is kept.

    The last projection's goes into the layer's output alone, and backward needs it for nothing. Of an adapter the
    narrow result is kept; the wide one is quickly computed from that.
    """
    kept = []
    for name in _PROJECTIONS:
        kept.append(name != _PROJECTIONS[-1])
        if hasattr(layer.get_submodule(name), "lora_A"):
            kept += [True, False]
    return tuple(kept)


def _keep_products(kept_products: Sequence[bool]) -> Any:
    from torch.utils.checkpoint import CheckpointPolicy, create_selective_checkpoint_contexts

    aten = torch.ops.aten
    attention = {
        aten._scaled_dot_product_flash_attention.default,
        aten._scaled_dot_product_efficient_attention.default,
        aten._scaled_dot_product_cudnn_attention.default,
        aten._scaled_dot_product_flash_attention_for_cpu.default,
    }
    products = {False: 0, True: 0}  # of the layer so far, in forward and when it is computed again

    def policy(context: Any, operation: Any, *arguments: Any, **named: Any) -> CheckpointPolicy:
        kept = operation in attention
        if operation == aten.mm.default:
            kept = kept_products[products[context.is_recompute]]
            products[context.is_recompute] += 1
        return CheckpointPolicy.MUST_SAVE if kept else CheckpointPolicy.PREFER_RECOMPUTE

    return create_selective_checkpoint_contexts(policy)
