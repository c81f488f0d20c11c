"""Linear layers whose weights are stored in 8 or 4 bits: less memory, and in bfloat16 faster decoding.

int8: each output channel w of a weight is `scale · code`, code in −127 … 127, scale = max |w| / 127. int4: each `GROUP`
neighbouring inputs of an output channel are `low + scale · code`, code in 0 … 15, between their least and greatest
value. Scales are rounded to the layer's type before codes are chosen, so a code is the nearest there is.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from SPHINX_V.errors import UsageError
from SPHINX_V.model import lowbit_kernels
from SPHINX_V.model.llama import Llama

Precision = Literal["int8", "int4"]
PRECISIONS: tuple[Precision, ...] = ("int8", "int4")
Order = Literal["plain", "cpu", "cuda"]  # of codes; of 4 bits in bfloat16 as torch's kernel of that device reads them
Way = Literal["unpack", "cpu_int8", "cuda_int8", "cpu_int4", "cuda_int4"]

GROUP = 32  # inputs that share a scale, int4
# Weights that are filled at a time: on a CPU so many that all steps between stay in its cache, three times faster.
_CPU_NUMBERS, _GPU_NUMBERS = 2**18, 2**24
_CENTER = 8  # int4 kernels count codes from here
# torch's kernels on CPUs.
_CPU_ROWS = 12  # int8: with more, unpacking the weights once is faster (2 cores with bfloat16 products)
_CPU_INPUTS = 32  # they read this many inputs at a time, beyond the end of a weight if need be
_CPU_OUTPUTS = 16
# torch's int4 kernel on GPUs (tinygemm), which has tiles of 8 outputs by 16 inputs, on tensor cores of bfloat16.
_CUDA_OUTPUTS, _CUDA_INPUTS = 8, 16
_CUDA_ROWS = 64  # with more, it reads the weight once again for each 16


def order_of(precision: Precision, outputs: int, dtype: torch.dtype, device: str, tensor_cores: bool) -> Order:
    """The order in which codes of such a layer are kept on a device of this type."""
    if precision == "int8" or dtype != torch.bfloat16:
        return "plain"
    if device == "cpu" and outputs % _CPU_OUTPUTS == 0:
        return "cpu"
    return "cuda" if device == "cuda" and outputs % _CUDA_OUTPUTS == 0 and tensor_cores else "plain"


def way_of(
    precision: Precision,
    order: Order,
    inputs: int,
    dtype: torch.dtype,
    device: str,
    rows: int,
    usable: Callable[[], bool],
) -> Way:
    """How a layer is multiplied with so many rows on a device of this type; `usable` says of GPUs whether our kernels
    work there, and is asked only where they would be used."""
    if order == "cpu":
        # For prompts it is about three times slower than bfloat16; unpacking would need a second copy.
        return "cpu_int4"
    if order == "cuda":
        return "cuda_int4" if rows <= _CUDA_ROWS else "unpack"
    if precision == "int4":
        return "unpack"
    if device == "cuda":
        fits = rows <= lowbit_kernels.most_rows(dtype) and inputs % lowbit_kernels.WORD == 0
        return "cuda_int8" if fits and usable() else "unpack"
    # In float32 the kernel is slower than unpacking; float16 could overflow before it is scaled.
    fits = dtype == torch.bfloat16 and rows <= _CPU_ROWS and inputs % _CPU_INPUTS == 0
    return "cpu_int8" if device == "cpu" and fits else "unpack"


class LowBitLinear(nn.Module):
    """x [..., in] → x Wᵀ [..., out], without a bias. It has no weight until `fill`, and cannot be trained."""

    def __init__(self, inputs: int, outputs: int, precision: Precision) -> None:
        super().__init__()
        self.inputs, self.outputs, self.precision = inputs, outputs, precision
        self.order: Order = "plain"  # until it is filled
        self.codes: Tensor
        self.scales: Tensor  # int8 [out]; int4 [in / GROUP, out, 2], a group's scale and its value at code 8
        if precision == "int8":
            self.register_buffer("codes", torch.zeros(outputs, inputs, dtype=torch.int8))
            self.register_buffer("scales", torch.zeros(outputs))
        else:
            self.register_buffer("codes", torch.zeros(outputs, inputs // 2, dtype=torch.uint8))
            self.register_buffer("scales", torch.zeros(inputs // GROUP, outputs, 2))

    @classmethod
    def over(cls, precision: Precision, order: Order, codes: Tensor, scales: Tensor) -> LowBitLinear:
        """A layer of memory that is filled already."""
        inputs = codes.shape[1] * (1 if precision == "int8" else 2)
        with torch.device("meta"):
            layer = cls(inputs, codes.shape[0], precision)
        layer.codes, layer.scales, layer.order = codes, scales, order
        return layer

    @torch.no_grad()
    def fill(self, weight: Tensor) -> None:
        """Takes the values of `weight` [out, in]; device and type are the layer's own."""
        device = self.codes.device
        self.order = order_of(
            self.precision, self.outputs, self.scales.dtype, device.type, lowbit_kernels.tensor_cores(device)
        )
        codes = self.codes
        if self.order == "cpu":
            codes = torch.empty(self.outputs, self.inputs, dtype=torch.int32)  # as torch packs them
        at_once = max(1, (_CPU_NUMBERS if device.type == "cpu" else _GPU_NUMBERS) // self.inputs)
        for first in range(0, self.outputs, at_once):
            rows = slice(first, first + at_once)
            part = weight[rows].to(device, torch.float32)
            if self.precision == "int8":
                codes[rows], self.scales[rows] = _eight_bits(part, self.scales.dtype)
            else:
                found, self.scales[:, rows] = _four_bits(part, self.scales.dtype)
                codes[rows] = found if self.order == "cpu" else found[:, ::2] + 16 * found[:, 1::2]
        if self.order == "cpu":
            self.codes.copy_(torch._convert_weight_to_int4pack_for_cpu(codes, 1))
        if self.order == "cuda":
            packed = packed_for_cuda(self.codes, torch._convert_weight_to_int4pack)
            if packed is None:
                self.order = "plain"
            else:
                self.codes.copy_(packed)

    def forward(self, x: Tensor) -> Tensor:
        return self._product(x.reshape(-1, self.inputs).contiguous(), None).unflatten(0, x.shape[:-1])

    def added_to(self, base: Tensor, x: Tensor) -> Tensor:
        """base [N, out] + x Wᵀ for x [N, in], by one kernel where there is one."""
        return self._product(x.contiguous(), base.contiguous())

    def _product(self, x: Tensor, base: Tensor | None) -> Tensor:
        codes, scales = self.codes, self.scales  # looked up once: that takes a module longer than anything here
        way = self._way(x, scales.dtype, codes.device)
        if way == "cuda_int8":
            return lowbit_kernels.product(x, codes, scales, base)
        if way == "cpu_int4":
            product = torch._weight_int4pack_mm_for_cpu(x, codes, GROUP, scales)
        elif way == "cpu_int8":
            product = torch._weight_int8pack_mm(x, codes, scales)
        elif way == "cuda_int4":
            product = torch._weight_int4pack_mm(x, tiled(codes), GROUP, scales.contiguous())
        else:
            product = functional.linear(x, self.dequantised())
        return product if base is None else base + product

    def _way(self, x: Tensor, dtype: torch.dtype, device: torch.device) -> Way:
        if self.order != "plain" and (self.order, torch.bfloat16) != (device.type, dtype):
            raise UsageError(
                f"a layer of 4 bits was filled on {self.order} in bfloat16 and is now on {device.type} in {dtype}; its"
                " codes cannot be read there. Load the model onto the device and in the type that it is to run in."
            )
        if (x.requires_grad and torch.is_grad_enabled()) or x.dtype != dtype:
            return "unpack"  # kernels have no gradient, and no mixed types
        usable = partial(lowbit_kernels.usable, device)
        return way_of(self.precision, self.order, self.inputs, dtype, device.type, x.shape[0], usable)

    def dequantised(self) -> Tensor:
        """The weight [out, in] that the layer stands for."""
        dtype = self.scales.dtype
        if self.precision == "int8":
            if self.codes.is_cuda:
                return self.codes * self.scales[:, None]  # in one pass over memory; on CPUs in float32 that is slow
            return self.codes.to(dtype).mul_(self.scales[:, None])
        if self.order == "cpu":
            one = torch.eye(self.inputs, dtype=dtype)
            return torch._weight_int4pack_mm_for_cpu(one, self.codes, GROUP, self.scales).t()
        codes = untiled(self.codes) if self.order == "cuda" else self.codes
        codes = torch.stack([codes & 15, codes >> 4], dim=-1).flatten(1)
        groups = (codes.to(dtype) - _CENTER).unflatten(1, (-1, GROUP))
        steps, center = self.scales.transpose(0, 1).unbind(-1)
        return groups.mul_(steps[..., None]).add_(center[..., None]).flatten(1)

    def extra_repr(self) -> str:
        return f"inputs={self.inputs}, outputs={self.outputs}, precision={self.precision}"


def _depth(inputs: int) -> int:
    """Tiles of inputs that lie together in the order "cuda": as many as divide them, at most the kernel's 8."""
    return next(depth for depth in (8, 4, 2) if inputs % (_CUDA_INPUTS * depth) == 0)


def packed_for_cuda(codes: Tensor, convert: Callable[[Tensor, int], Tensor]) -> Tensor | None:
    """Plain codes [out, in / 2] uint8 in the order "cuda", which `convert` of torch makes. Prompts read them back, so
    where a torch has changed its order they are None, and a RuntimeWarning says so."""
    packed = convert(codes >> 4 | codes << 4, _depth(2 * codes.shape[1])).view(torch.uint8).view_as(codes)
    if torch.equal(untiled(packed), codes):
        return packed
    warnings.warn(
        f"torch {torch.__version__} has another order of codes of 4 bits than we know: they are unpacked at each"
        " use, which gives the same answers but is slower than bfloat16. Take int8, or a torch of 2.11 to 2.13.",
        RuntimeWarning,
        stacklevel=2,
    )
    return None


def tiled(codes: Tensor) -> Tensor:
    """Codes [out, in / 2] uint8 in the order "cuda" as torch's kernel takes them, the same memory:
    [out / 8, in / (16 · depth), 32 lanes, depth / 2] int32."""
    outputs, inputs = codes.shape[0], 2 * codes.shape[1]
    depth = _depth(inputs)
    return codes.view(torch.int32).view(outputs // _CUDA_OUTPUTS, inputs // (_CUDA_INPUTS * depth), 32, depth // 2)


def untiled(codes: Tensor) -> Tensor:
    """Codes [out, in / 2] uint8 in the order "cuda" → in the plain one.

    Lane 4 · n + q has output n of a tile; of two tiles of 16 inputs it has those numbered 16 · tile + 8 · half + 2 · q
    + odd, in eight places of 4 bits of an int32, the lowest first: those of half 0 and 1 of the first tile, then of the
    second, first the even ones and then the odd.
    """
    outputs, inputs = codes.shape[0], 2 * codes.shape[1]
    depth = _depth(inputs)
    shape = (outputs // _CUDA_OUTPUTS, inputs // (_CUDA_INPUTS * depth), _CUDA_OUTPUTS, 4, depth // 2, 2, 2)
    lanes = codes.reshape(shape)  # …, outputs, q, pairs of tiles, odd, tile
    even, odd = torch.stack([lanes & 15, lanes >> 4], dim=-1).unbind(5)  # …, outputs, q, pairs, tile, half
    return (even | odd << 4).permute(0, 2, 1, 4, 5, 6, 3).reshape(codes.shape)


def _eight_bits(weight: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Weights [out, in] float32 → codes [out, in] and scales [out] of 8 bits."""
    scales = (weight.abs().amax(1) / 127).to(dtype)
    return _nearest(weight, scales.float()[:, None], -127, 127), scales


def _four_bits(weight: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Weights [out, in] float32 → codes [out, in] and scales [in / GROUP, out, 2] of 4 bits."""
    groups = weight.unflatten(1, (-1, GROUP))
    low, high = groups.amin(-1), groups.amax(-1)
    steps = ((high - low) / 15).to(dtype)
    center = (low + _CENTER * steps.float()).to(dtype)
    codes = _nearest(groups - center.float()[..., None], steps.float()[..., None], -_CENTER, 15 - _CENTER) + _CENTER
    return codes.flatten(1), torch.stack([steps, center], dim=-1).transpose(0, 1)


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
