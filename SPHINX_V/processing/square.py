"""A picture as the model takes it: padded and resized, with the size it had and a key by content."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
from PIL import ExifTags, Image
from torch import Tensor

from SPHINX_V.processing.image import MAX_PIXELS, MAX_SIDE, as_picture, open_picture, square_picture

_LARGEST_FILE = 64 * 2**20  # larger ones are opened from where they are


@dataclass(frozen=True)
class SquarePicture:
    """`pixels` [3, H, H] uint8 of a picture of `size` (width, height); equal RGB pixels have the same `key`."""

    pixels: Tensor
    size: tuple[int, int]
    key: str


@dataclass(frozen=True)
class Source:
    """What a picture is given as. `key` tells sources of the same content, "" where only the picture itself can;
    `of_pixels`: it is the key of the RGB pixels too. `open` gives that picture; raises as `as_picture`."""

    key: str
    open: Callable[[], Image.Image]
    of_pixels: bool = False


def source_of(value: Any) -> Source:
    """The source that `as_picture` would open, looked at as far as it takes to tell whether it came before.

    Raises nothing: what cannot be opened raises when it is.
    """
    if isinstance(value, (str, os.PathLike)):
        data = _file_bytes(value)
        if data is not None:
            return Source(f"file {digest(data)}", lambda: open_picture(value, data))
    elif isinstance(value, numpy.ndarray):
        is_rgb = value.dtype == numpy.uint8 and value.ndim == 3 and value.shape[2] == 3
        if is_rgb and 0 < value.size <= 3 * MAX_PIXELS:
            return Source(_pixels_key(value.shape[1::-1], value), lambda: as_picture(value), of_pixels=True)
    elif isinstance(value, Image.Image) and _is_plain(value):
        return Source(_pixels_key(value.size, value.tobytes()), lambda: value, of_pixels=True)
    return Source("", lambda: as_picture(value))


def square_of(source: Source, side: int) -> SquarePicture:
    """Opens a picture and pads and resizes it to `side` × `side` pixels."""
    picture = source.open()
    key = source.key if source.of_pixels else _pixels_key(picture.size, picture.tobytes())
    return SquarePicture(square_picture(picture, side), picture.size, key)


def digest(*parts: numpy.ndarray | bytes) -> str:
    """A hash of contents, by which equal ones are known."""
    found = hashlib.sha256()  # which processors have instructions for
    for part in parts:
        found.update(part if isinstance(part, bytes) else numpy.ascontiguousarray(part).data)
    return found.hexdigest()


def _pixels_key(size: tuple[int, ...], pixels: numpy.ndarray | bytes) -> str:
    return digest(numpy.array(size), pixels)


def _is_plain(picture: Image.Image) -> bool:
    """True for RGB pixels in memory that need nothing done to them."""
    upright = picture.getexif().get(ExifTags.Base.Orientation, 1) == 1
    plain = type(picture) is Image.Image and picture.mode == "RGB" and "transparency" not in picture.info
    return plain and upright and 0 < picture.width * picture.height <= MAX_PIXELS and max(picture.size) <= MAX_SIDE


def _file_bytes(path: str | os.PathLike[str]) -> bytes | None:
    """What a file holds; None where it is none, or too large to be read in one go."""
    try:
        file = Path(path)
        is_whole = file.is_file() and file.stat().st_size <= _LARGEST_FILE
        return file.read_bytes() if is_whole else None
    except (OSError, ValueError):  # a name with a zero byte is a ValueError
        return None
