"""Models without memory, to count with: the meta device knows shapes and types, and computes nothing."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from accessory.config import LoraOptions
from accessory.train.lora import add_adapters
from SPHINX_V.config import SphinxVConfig
from SPHINX_V.inputs import ModelInputs, PromptSlots
from SPHINX_V.model import llama, qformer, vit
from SPHINX_V.model.sphinx_v import SphinxV

META = torch.device("meta")


def meta_model(config: SphinxVConfig, trained: Collection[str], lora: LoraOptions | None = None) -> SphinxV:
    """A model of these sizes on the meta device, with adapters where asked for, of which the parameters named in
    `trained` have gradients."""
    with META:
        model = SphinxV(config)
    add_adapters(model, lora)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in trained)
    return model


def meta_inputs(config: SphinxVConfig, rows: int, text_length: int, picture: bool) -> ModelInputs:
    """Inputs [rows, text_length] on the meta device, with or without a picture and its slots."""
    side, slots = config.vision.picture_size, config.prompts.num_slots
    with META:
        texts = torch.zeros(rows, text_length, dtype=torch.int64), torch.zeros(rows, dtype=torch.int64)
        if not picture:
            return ModelInputs(*texts)
        flags = torch.zeros(rows, slots, dtype=torch.bool)
        return ModelInputs(
            *texts, torch.zeros(rows, 3, side, side), PromptSlots(torch.zeros(rows, slots, 4), flags, flags)
        )


def use_kernels(model: SphinxV) -> None:
    """Makes attention keep what the fused kernels of devices keep; by itself the meta device would keep every score.

    Module by module, as a mode around the whole would not reach what backward computes again.
    """
    for module in model.modules():
        if isinstance(module, (llama.Attention, vit.SelfAttention, qformer.Attention)):
            module.forward = partial(_with_kernels, module.forward)  # type: ignore[method-assign]


def _with_kernels(forward: Callable[..., Tensor], *arguments: Any) -> Tensor:
    with _KernelAttention():
        return forward(*arguments)


class _KernelAttention(TorchFunctionMode):
    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if function is not functional.scaled_dot_product_attention:
            return function(*args, **kwargs)
        # Groups of heads share their keys and values in these kernels as they are.
        queries, keys, values = args
        causal = kwargs.get("is_causal", False)
        return torch.ops.aten._scaled_dot_product_flash_attention(queries, keys, values, 0.0, causal)[0]
