"""Stored tensors from their bytes in a file straight to where they belong: nothing is mapped and nothing held twice.

Safe to use from several threads at once, and worth it: reading and copying leave the interpreter's lock.
"""

from __future__ import annotations

import json
import math
import struct
import sys
import threading
from collections.abc import Mapping
from io import FileIO
from pathlib import Path

import torch
from torch import Tensor

from SPHINX_V.errors import CheckpointError

# What one thread holds of a tensor that cannot be read into its place: of another type, on another device, or a part.
STAGE_BYTES = 4 << 20
_COMPARED_BYTES = 4096
_HELD = threading.local()


def copy_stored(
    path: Path, offset: int, shape: tuple[int, ...], dtype: torch.dtype, target: Tensor, dimension: int, first: int
) -> None:
    """Fills `target` with what it holds, from `first` on along `dimension`, of a tensor whose bytes begin at `offset`.

    `shape` and `dtype` are those of the stored tensor, which lies there contiguously; `target` may have another type
    and device. Raises CheckpointError where the file ends before, OSError where it cannot be read.
    """
    if not target.numel():
        return
    if not shape:
        shape, target = (1,), target.reshape(1)
    row = math.prod(shape[1:]) * dtype.itemsize
    begin, count = (first, target.shape[0]) if dimension == 0 else (0, shape[0])
    whole_rows = dimension == 0 or target.shape[dimension] == shape[dimension]
    with FileIO(path, "r") as file:
        if whole_rows and target.device.type == "cpu" and target.dtype == dtype and target.is_contiguous():
            _read(file, offset + begin * row, target)
            return
        rows = max(1, STAGE_BYTES // row)
        staged = _stage(min(rows, count) * row, target.is_cuda)
        for at in range(0, count, rows):
            number = min(rows, count - at)
            block = staged[: number * row]
            _read(file, offset + (begin + at) * row, block)
            part = block.view(dtype).view(number, *shape[1:])
            if not whole_rows:
                part = part.narrow(dimension, first, target.shape[dimension])
            target[at : at + number].copy_(part)


def _stage(size: int, pinned: bool) -> Tensor:
    """Bytes to read into, the same again for each call of a thread: allocators keep what is given back again and again.

    Pinned memory goes to a GPU without another copy on the way.
    """
    kind = "pinned" if pinned else "plain"
    held: Tensor | None = getattr(_HELD, kind, None)
    if held is None or held.numel() < size:
        held = torch.empty(max(size, STAGE_BYTES), dtype=torch.uint8, device="cpu", pin_memory=pinned)
        setattr(_HELD, kind, held)
    return held


def _read(file: FileIO, offset: int, into: Tensor) -> None:
    """Fills a contiguous tensor on the CPU with the bytes from `offset` on."""
    left = _bytes_of(into)
    file.seek(offset)
    while left:
        # The system hands out at most 2 GiB at a time.
        size = file.readinto(left)
        if not size:
            raise CheckpointError(f"{file.name}: ended while it was read, {len(left)} bytes early; copy it again.")
        left = left[size:]


def _bytes_of(tensor: Tensor) -> memoryview:
    """The memory of a contiguous tensor on the CPU."""
    return tensor.detach().view(-1).view(torch.uint8).numpy().data


def safetensors_places(path: Path) -> dict[str, int]:
    """Where each tensor's bytes begin in a safetensors file that was found whole when it was opened."""
    if sys.byteorder != "little":  # the files are
        return {}
    with path.open("rb") as file:
        try:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(length))
        except (struct.error, ValueError):
            raise CheckpointError(f"{path}: was changed after it was opened; load it again.") from None
    return {name: 8 + length + entry["data_offsets"][0] for name, entry in header.items() if name != "__metadata__"}


def mapped_places(path: Path, tensors: Mapping[str, Tensor]) -> dict[str, int]:
    """Where the bytes of contiguous tensors begin in the file that they are mapped from.

    Only the system knows where a mapping begins that torch.load made. Empty where it does not tell, or where tensors
    are no mapping of this file: those must be read as they are.
    """
    plain = {name: tensor for name, tensor in tensors.items() if tensor.is_contiguous() and tensor.numel()}
    if not plain:
        return {}
    mapping = _mapping_at(next(iter(plain.values())).data_ptr())
    if mapping is None:
        return {}
    start, end, offset = mapping
    places = {
        name: tensor.data_ptr() - start + offset
        for name, tensor in plain.items()
        if start <= tensor.data_ptr() and tensor.data_ptr() + tensor.nbytes <= end
    }
    if not places:
        return {}
    # Bytes of another order are swapped in memory, and the file may have been replaced.
    with path.open("rb") as file:
        for name in (next(iter(places)), next(reversed(places))):
            held = _bytes_of(plain[name])[:_COMPARED_BYTES]
            file.seek(places[name])
            if file.read(len(held)) != held:
                return {}
    return places


def _mapping_at(address: int) -> tuple[int, int, int] | None:
    """Start, end and offset in its file of the mapping that holds an address; None where none does or nobody tells."""
    try:
        lines = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    for line in lines:
        # "7f00-7f10 r--p 00000000 fe:00 12345 /path"; memory that belongs to no file has the inode 0.
        span, _, offset, _, inode, *_ = line.split(maxsplit=5)
        start, end = (int(edge, 16) for edge in span.split("-"))
        if start <= address < end:
            return (start, end, int(offset, 16)) if inode != "0" else None
    return None
