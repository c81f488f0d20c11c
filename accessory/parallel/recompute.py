"""Activation recompute: less memory for the language model's layers, by computing forward again in backward."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import nn

from SPHINX_V.model.sphinx_v import SphinxV

_PRODUCTS = 7  # matrices of a layer: wq, wk, wv, wo, w1, w3, w2


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
    options: dict[str, Any] = {"context_fn": _keep_products} if selective else {}

    # A function of ours, not a partial: torch.compile sees the call of `checkpoint` in it, and knows what to do.
    def forward(*arguments: Any, **named: Any) -> Any:
        return checkpoint(inner, *arguments, use_reentrant=False, **options, **named)

    # On the instance, so that names of modules and parameters stay as they are.
    layer.forward = forward


def _keep_products() -> Any:
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
            products[context.is_recompute] += 1
            # The last one's result goes into the layer's output alone, and backward needs it for nothing.
            kept = products[context.is_recompute] < _PRODUCTS
        return CheckpointPolicy.MUST_SAVE if kept else CheckpointPolicy.PREFER_RECOMPUTE

    return create_selective_checkpoint_contexts(policy)
