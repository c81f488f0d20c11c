"""Linear layers whose weights are stored in 8 or 4 bits: less memory, and on a CPU in bfloat16 faster decoding.

int8: each output channel w of a weight is `scale · code`, code in −127 … 127, scale = max |w| / 127. int4: each `GROUP`
neighbouring inputs of an output channel are `low + scale · code`, code in 0 … 15, between their least and greatest
value. Scales are rounded to the layer's type before codes are chosen, so a code is the nearest there is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from SPHINX_V.errors import UsageError
from SPHINX_V.model.llama import Llama

Precision = Literal["int8", "int4"]
PRECISIONS: tuple[Precision, ...] = ("int8", "int4")
GROUP = 32  # inputs that share a scale, int4
_KERNEL_ROWS = 12  # int8: with more, unpacking the weights once is faster (2 cores with bfloat16 products)
_KERNEL_INPUTS = 32  # torch's kernels read this many inputs at a time, beyond the end of a weight if need be
_KERNEL_OUTPUTS = 16
_CENTER = 8  # int4 kernels count codes from here


class LowBitLinear(nn.Module):
    """x [..., in] → x Wᵀ [..., out], without a bias. It has no weight until `fill`, and cannot be trained."""

    def __init__(self, inputs: int, outputs: int, precision: Precision) -> None:
        super().__init__()
        self.inputs, self.outputs, self.precision = inputs, outputs, precision
        self._filled_packed: bool | None = None  # `packed` when it was filled
        self.codes: Tensor
        self.scales: Tensor  # int8 [out]; int4 [in / GROUP, out, 2], a group's scale and its value at code 8
        if precision == "int8":
            self.register_buffer("codes", torch.zeros(outputs, inputs, dtype=torch.int8))
            self.register_buffer("scales", torch.zeros(outputs))
        else:
            self.register_buffer("codes", torch.zeros(outputs, inputs // 2, dtype=torch.uint8))
            self.register_buffer("scales", torch.zeros(inputs // GROUP, outputs, 2))

    @property
    def packed(self) -> bool:
        """Are the codes in the order of torch's int4 kernel of this machine, which nothing else can read?"""
        fits = self.outputs % _KERNEL_OUTPUTS == 0
        return self.precision == "int4" and self.codes.device.type == "cpu" and self._is_bfloat16 and fits

    @property
    def _is_bfloat16(self) -> bool:
        return self.scales.dtype == torch.bfloat16

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> LowBitLinear:
        """Moves or converts the layer. Raises UsageError where its codes could not be read there: they would be numbers
        all the same."""
        super()._apply(fn, recurse)
        if self._filled_packed not in (None, self.packed):
            raise UsageError(
                "int4 codes lie in an order of their own for bfloat16 on a CPU, and this layer went to or from there"
                f" ({self.scales.dtype} on {self.scales.device} now); load the model with the device and dtype that it"
                " is to have."
            )
        return self

    @torch.no_grad()
    def fill(self, weight: Tensor) -> None:
        """Takes the values of `weight` [out, in]; device and type are the layer's own."""
        self._filled_packed = self.packed
        dtype = self.scales.dtype
        weight = weight.to(self.codes.device, torch.float32)
        if self.precision == "int8":
            scales = (weight.abs().amax(1) / 127).to(dtype)
            self.codes.copy_(_nearest(weight, scales.float()[:, None], -127, 127))
            self.scales.copy_(scales)
            return
        groups = weight.unflatten(1, (-1, GROUP))
        low, high = groups.amin(-1), groups.amax(-1)
        steps = ((high - low) / 15).to(dtype)
        center = (low + _CENTER * steps.float()).to(dtype)
        codes = _nearest(groups - center.float()[..., None], steps.float()[..., None], -_CENTER, 15 - _CENTER)
        codes = (codes + _CENTER).flatten(1)
        self.scales.copy_(torch.stack([steps, center], dim=-1).transpose(0, 1))
        if self.packed:
            self.codes.copy_(torch._convert_weight_to_int4pack_for_cpu(codes.int(), 1))
        else:
            self.codes.copy_((codes[:, ::2] + 16 * codes[:, 1::2]).to(torch.uint8))

    def forward(self, x: Tensor) -> Tensor:
        rows = x.reshape(-1, self.inputs).contiguous()
        if self.packed:
            # For prompts it is about three times slower than bfloat16; unpacking would need a second copy.
            product = torch._weight_int4pack_mm_for_cpu(rows, self.codes, GROUP, self.scales)
        elif self._has_kernel(rows):
            product = torch._weight_int8pack_mm(rows, self.codes, self.scales)
        else:
            product = functional.linear(rows, self.dequantised())
        return product.unflatten(0, x.shape[:-1])

    def _has_kernel(self, x: Tensor) -> bool:
        """In float32 the kernel is slower than unpacking; float16 could overflow before it is scaled."""
        if self.precision != "int8" or not self._is_bfloat16 or x.shape[0] > _KERNEL_ROWS:
            return False
        return x.device.type == "cpu" and self.inputs % _KERNEL_INPUTS == 0

    def dequantised(self) -> Tensor:
        """The weight [out, in] that the layer stands for."""
        dtype = self.scales.dtype
        if self.precision == "int8":
            return self.codes.to(dtype).mul_(self.scales[:, None])
        if self.packed:
            one = torch.eye(self.inputs, dtype=dtype)
            return torch._weight_int4pack_mm_for_cpu(one, self.codes, GROUP, self.scales).t()
        codes = torch.stack([self.codes & 15, self.codes >> 4], dim=-1).flatten(1)
        groups = (codes.to(dtype) - _CENTER).unflatten(1, (-1, GROUP))
        steps, center = self.scales.transpose(0, 1).unbind(-1)
        return groups.mul_(steps[..., None]).add_(center[..., None]).flatten(1)

    def extra_repr(self) -> str:
        return f"inputs={self.inputs}, outputs={self.outputs}, precision={self.precision}"


def _nearest(values: Tensor, scales: Tensor, low: int, high: int) -> Tensor:
    """The codes whose multiple of the scale is nearest; where all values of a scale are zero, zero."""
    return (values / scales.masked_fill(scales == 0, 1)).round().clamp_(low, high)


def use_low_bits(llm: Llama, precision: Precision) -> dict[str, LowBitLinear]:
    """Puts low-bit layers in the place of the linear ones of `llm`, before it has memory; → name of a weight (as in
    `llm.state_dict()` before) → its layer.

    The output head has 8 bits also with int4: it is a small part, and its errors go straight into the choice of words.
    Raises UsageError for sizes that cannot be packed.
    """
    layers: dict[str, LowBitLinear] = {}
    for name, module in list(llm.named_modules()):
        if not isinstance(module, nn.Linear):
            continue
        own: Precision = "int8" if module is llm.output else precision
        if own == "int4" and module.in_features % GROUP:
            raise UsageError(
                f"int4 stores groups of {GROUP} inputs, and {name} has {module.in_features}; use int8 for this model."
            )
        parent, _, leaf = name.rpartition(".")
        with torch.device("meta"):
            layer = LowBitLinear(module.in_features, module.out_features, own)
        setattr(llm.get_submodule(parent), leaf, layer)
        layers[f"{name}.weight"] = layer
    return layers
