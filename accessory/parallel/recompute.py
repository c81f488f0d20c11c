"""Activation recompute: less memory for the language model's layers, by computing forward again in backward."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import nn

from SPHINX_V.model.sphinx_v import SphinxV


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
    from torch.utils.checkpoint import create_selective_checkpoint_contexts

    aten = torch.ops.aten
    kept = [
        aten.mm.default,
        aten.addmm.default,
        aten.bmm.default,
        aten._scaled_dot_product_flash_attention.default,
        aten._scaled_dot_product_efficient_attention.default,
        aten._scaled_dot_product_cudnn_attention.default,
        aten._scaled_dot_product_flash_attention_for_cpu.default,
    ]
    return create_selective_checkpoint_contexts(kept)
