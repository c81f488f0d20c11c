"""x Wᵀ for W of 8 bits and few rows on NVIDIA GPUs, in Triton: a weight is read once, as codes, and wide in registers
only. No GPU has run them yet: they are tested in Triton's interpreter and compiled for GPUs that are not there.

With few rows a product takes as long as reading W does, so half the bytes are to be half the time. torch's own kernel
(`_weight_int8pack_mm` on CUDA, pytorch/pytorch#159325) gives each output to one thread, whose neighbours read other
rows of W, and turns x and scales into float32 at each call: it cannot be near that. Nothing is tuned while it runs:
after a first call a CUDA graph can capture all of it. No sum depends on how many rows there are or on what ran before:
within each kernel a row comes out as it does alone.
"""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from subprocess import SubprocessError
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    import triton.language as tl

WORD = 4  # codes that are read as one number: inputs are a multiple of it
_FEW_ROWS = 4  # from more rows on tensor cores are worth their detour: one output tile needs 16 rows to be full

# `_few`: a block computes 8 (or 16) outputs from 1,024 inputs at a time. Two such tiles of codes are on their way while
# a third is multiplied: 16 KiB per block and, with the 640 blocks of the narrowest layer of the 13B (5,120 outputs),
# 78 KiB per multiprocessor; 25 KiB hide the latency of an H200's memory (4.8 TB/s · 0.7 µs / 132).
_INPUTS, _OUTPUTS, _STAGES = 1024, 8, 3
_OUTPUTS_IF_MANY = 16  # where there are blocks enough: x is read from the cache half as often
_MANY_OUTPUTS = 8192
# `_many`: 4 warps of 16 outputs, the height of a tensor core's tile; 128 inputs are one cache line of codes.
_TILE_OUTPUTS, _TILE_INPUTS, _TILE_STAGES = 64, 128, 4
_BLOCKS = 300  # inputs are split until there are so many blocks, two for each multiprocessor of an H200


def _few(  # type: ignore[no-untyped-def]
    x, words, scales, added, out, rows, outputs, inputs,
    ADDED: tl.constexpr, ROWS: tl.constexpr, OUTPUTS: tl.constexpr, INPUTS: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """ROWS rows of x by OUTPUTS channels, without tensor cores. `words` are the codes, four in an int32.

    Instructions that convert integers are too slow for 20 weights in a cycle. So a byte goes, where it stands, into the
    mantissa of 2²³, which makes it 2²³ + byte · 2⁰ or 2⁸; its sign bit is turned over, so that it is the code + 128.
    """
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    channel = tl.program_id(1) * OUTPUTS + tl.arange(0, OUTPUTS)
    place = tl.arange(0, INPUTS)
    word = tl.arange(0, INPUTS // 4)
    there = row < rows
    exists = channel < outputs
    codes_at = words + channel.to(tl.int64)[:, None] * (inputs // 4) + word[None, :]
    x_at = x + row[:, None] * inputs + place[None, :]
    total = tl.zeros([ROWS, OUTPUTS, INPUTS // 4], tl.float32)
    for start in tl.range(0, inputs, INPUTS, num_stages=STAGES):
        left = inputs - start
        # The mask is compared word by word: by inputs, the compiler would not see that 16 bytes can be read at once.
        four = tl.load(codes_at + start // 4, mask=exists[:, None] & (word < left // 4)[None, :], other=0)
        wide = tl.load(x_at + start, mask=there[:, None] & (place < left)[None, :], other=0).to(tl.float32)
        even, odd = tl.split(tl.reshape(wide, [ROWS, INPUTS // 4, 2, 2]))
        x0, x2 = tl.split(even)
        x1, x3 = tl.split(odd)
        upper = four >> 16
        w0 = ((four & 0xFF) ^ 0x4B000080).to(tl.float32, bitcast=True) - 8388736.0  # 2²³ + 2⁷
        w1 = ((four & 0xFF00) ^ 0x4B008000).to(tl.float32, bitcast=True) - 8421376.0  # 2²³ + 2¹⁵: 256 times the code
        w2 = ((upper & 0xFF) ^ 0x4B000080).to(tl.float32, bitcast=True) - 8388736.0
        w3 = ((upper & 0xFF00) ^ 0x4B008000).to(tl.float32, bitcast=True) - 8421376.0
        total = tl.fma(w0[None, :, :], x0[:, None, :], total)
        total = tl.fma(w1[None, :, :], x1[:, None, :] * 0.00390625, total)  # 1 / 256
        total = tl.fma(w2[None, :, :], x2[:, None, :], total)
        total = tl.fma(w3[None, :, :], x3[:, None, :] * 0.00390625, total)
    result = tl.sum(total, 2) * tl.load(scales + channel, mask=exists, other=0).to(tl.float32)[None, :]
    out_at = row[:, None] * outputs + channel[None, :]
    inside = there[:, None] & exists[None, :]
    if ADDED:
        result += tl.load(added + out_at, mask=inside, other=0).to(tl.float32)
    tl.store(out + out_at, result.to(out.dtype.element_ty), mask=inside)


def _many(  # type: ignore[no-untyped-def]
    x, codes, scales, added, out, rows, outputs, inputs, part,
    ADDED: tl.constexpr, ROWS: tl.constexpr, OUTPUTS: tl.constexpr, INPUTS: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """All rows by OUTPUTS channels and `part` inputs, on tensor cores; parts of a sum go side by side into `out`.

    Codes become x's 16-bit type, which has all of them, so that products are exact; sums are float32.
    """
    first = tl.program_id(1) * part
    row = tl.arange(0, ROWS)
    channel = tl.program_id(0) * OUTPUTS + tl.arange(0, OUTPUTS)
    place = first + tl.arange(0, INPUTS)
    end = tl.minimum(inputs, first + part)
    there = row < rows
    exists = channel < outputs
    codes_at = codes + channel.to(tl.int64)[:, None] * inputs + place[None, :]
    x_at = x + row[None, :] * inputs + place[:, None]
    total = tl.zeros([OUTPUTS, ROWS], tl.float32)
    for start in tl.range(0, part, INPUTS, num_stages=STAGES):
        inside = place < end - start
        code = tl.load(codes_at + start, mask=exists[:, None] & inside[None, :], other=0)
        some = tl.load(x_at + start, mask=inside[:, None] & there[None, :], other=0)
        byte = code.to(tl.uint8, bitcast=True).to(tl.uint32) ^ 0x4B000080  # as in `_few`
        wide = byte.to(tl.float32, bitcast=True) - 8388736.0
        total = tl.dot(wide.to(x.dtype.element_ty), some, total)
    result = total * tl.load(scales + channel, mask=exists, other=0).to(tl.float32)[:, None]
    out_at = row[None, :] * outputs + channel[:, None]
    inside = exists[:, None] & there[None, :]
    if ADDED:
        result += tl.load(added + out_at, mask=inside, other=0).to(tl.float32)
    out += tl.program_id(1).to(tl.int64) * rows * outputs
    tl.store(out + out_at, result.to(out.dtype.element_ty), mask=inside)


def _sum(  # type: ignore[no-untyped-def]
    parts, added, out, count, size,
    ADDED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """`count` parts of `size` numbers, one after another, into one."""
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = place < size
    total = tl.zeros([BLOCK], tl.float32)
    for number in range(count):
        total += tl.load(parts + number * size + place, mask=inside, other=0)
    if ADDED:
        total += tl.load(added + place, mask=inside, other=0).to(tl.float32)
    tl.store(out + place, total.to(out.dtype.element_ty), mask=inside)


@cache
def compiled() -> tuple[Any, Any, Any]:
    """The kernels as Triton launches them; it needs its names among this module's."""
    global tl
    import triton
    import triton.language as tl

    return triton.jit(_few), triton.jit(_many), triton.jit(_sum)


def most_rows(dtype: torch.dtype) -> int:
    """With more rows, unpacking the weight once for all of them is faster, as far as arithmetic tells."""
    return 16 if dtype == torch.float32 else 64


def product(x: Tensor, codes: Tensor, scales: Tensor, added: Tensor | None = None) -> Tensor:
    """x [N, in] → x Wᵀ (+ `added` [N, out]) [N, out], W[o, i] = scales[o] · codes[o, i], for at most `most_rows`
    rows and `in` divisible by `WORD`. All of x's type but the codes, int8; all contiguous and on the same device."""
    out = x.new_empty(len(x), len(codes))
    use = _use_tensor_cores if len(x) > _FEW_ROWS and x.dtype != torch.float32 else _use_lanes
    if x.is_cuda:
        with torch.cuda.device(x.device):
            use(x, codes, scales, added, out)
    else:
        use(x, codes, scales, added, out)
    return out


def _use_lanes(x: Tensor, codes: Tensor, scales: Tensor, added: Tensor | None, out: Tensor) -> None:
    outputs, inputs = codes.shape
    rows = min(_FEW_ROWS, 1 << (len(x) - 1).bit_length())
    width = _OUTPUTS_IF_MANY if outputs > _MANY_OUTPUTS and rows <= 2 else _OUTPUTS  # 4 by 16 are too many registers
    # Blocks of the same weights follow each other, so that all but the first find them in the cache.
    compiled()[0][-(-len(x) // rows), -(-outputs // width)](
        x, codes.view(torch.int32), scales, out if added is None else added, out, len(x), outputs, inputs,
        ADDED=added is not None, ROWS=rows, OUTPUTS=width, INPUTS=_INPUTS, STAGES=_STAGES, num_warps=4,
    )  # fmt: skip


def _use_tensor_cores(x: Tensor, codes: Tensor, scales: Tensor, added: Tensor | None, out: Tensor) -> None:
    _, many, sum_up = compiled()
    outputs, inputs = codes.shape
    tiles = -(-outputs // _TILE_OUTPUTS)
    part = -(-inputs // (_TILE_INPUTS * -(-_BLOCKS // tiles))) * _TILE_INPUTS
    parts = -(-inputs // part)
    whole = parts == 1
    target = out if whole else x.new_empty(parts, *out.shape, dtype=torch.float32)
    many[tiles, parts](
        x, codes, scales, added if whole and added is not None else out, target, len(x), outputs, inputs, part,
        ADDED=whole and added is not None, ROWS=max(16, 1 << (len(x) - 1).bit_length()), OUTPUTS=_TILE_OUTPUTS,
        INPUTS=_TILE_INPUTS, STAGES=_TILE_STAGES, num_warps=4,
    )  # fmt: skip
    if not whole:
        sum_up[-(-out.numel() // 1024),](
            target, out if added is None else added, out, parts, out.numel(), ADDED=added is not None, BLOCK=1024
        )


def tensor_cores(device: torch.device) -> bool:
    """Is this an NVIDIA GPU with tensor cores for bfloat16 (Ampere or later)?"""
    return device.type == "cuda" and torch.version.hip is None and torch.cuda.get_device_capability(device) >= (8, 0)


@cache
def usable(device: torch.device) -> bool:
    """Do the kernels run on this device, and are they right there? Found out at the first question, by small products.
    Where a GPU could run them and does not there is a RuntimeWarning, and weights are unpacked at each use."""
    if not tensor_cores(device):
        return False
    trouble = _trouble(device)
    if trouble:
        warnings.warn(
            f"the kernels for weights of 8 bits do not work on {torch.cuda.get_device_name(device)}: {trouble}. The"
            " weights are unpacked at each use instead, which gives the same answers but is slower than bfloat16.",
            RuntimeWarning,
            stacklevel=2,
        )
    return not trouble


def _trouble(device: torch.device) -> str:
    if find_spec("triton") is None:
        return "Triton is not installed; run pip install triton"
    if os.environ.get("CC") is None and shutil.which("gcc") is None and shutil.which("clang") is None:
        return "Triton finds no C compiler; install gcc, or name one in CC"
    from triton.errors import TritonError

    try:
        return fault(device, product)
    except torch.OutOfMemoryError:
        raise
    except (TritonError, RuntimeError, OSError, SubprocessError) as error:
        return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"


def fault(device: torch.device, use: Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]) -> str:
    """What is wrong with a product, by small ones of all its ways; nothing where it is right."""
    generator = torch.Generator().manual_seed(0)
    for rows, outputs, inputs in ((1, 70, 2052), (4, 70, 2052), (16, 70, 2052), (16, 64 * _BLOCKS, 132)):
        codes = torch.randint(-127, 128, (outputs, inputs), generator=generator, dtype=torch.int8).to(device)
        x = torch.randn(rows, inputs, generator=generator).to(device, torch.bfloat16)
        scales = torch.full((outputs,), 2.0**-7, device=device, dtype=torch.bfloat16)
        added = torch.ones(rows, outputs, device=device, dtype=torch.bfloat16)
        expected = (x.double() @ codes.double().T) * 2.0**-7 + 1
        wrong = (use(x, codes, scales, added).double() - expected).abs().max() / expected.abs().max()
        if not wrong < 0.01:  # results are rounded to bfloat16, by 1/256 at most
            return f"{rows} rows of {inputs} inputs by {outputs} outputs come out wrong by {float(wrong):.2g}"
    return ""
