"""Pictures: safe opening, padding to a square, resizing and normalising to the model's pixels."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy
import torch
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from SPHINX_V.errors import DataError, SphinxVError, UsageError

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
PAD_COLOR = tuple(int(mean * 255) for mean in CLIP_MEAN)  # (122, 116, 104)

# MPO, the form of many cameras, is opened by the JPEG reader and is no name that PIL knows before that.
ALLOWED_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")
MAX_PIXELS = 64_000_000
MAX_SIDE = 16_384  # a picture is padded to a square of its long side, which then takes 1 GiB
_TURNED = (5, 6, 7, 8)  # EXIF orientations that lie on their side
_DEEP_MODES = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")


@dataclass(frozen=True)
class SquareFrame:
    """The square that a picture of `width` × `height` pixels is padded to; converts pixels to its unit frame."""

    width: int
    height: int

    @property
    def side(self) -> int:
        return max(self.width, self.height)

    @property
    def left(self) -> int:
        """Columns of padding left of the picture; an odd difference puts the larger half right."""
        return (self.side - self.width) // 2

    @property
    def top(self) -> int:
        return (self.side - self.height) // 2

    def to_unit(self, x: float, y: float) -> tuple[float, float]:
        """Pixels of the original picture → [0, 1] of the padded square, rounded to 3 decimals.

        Quirk kept for released weights: they were trained on coordinates with 3 decimals.
        """
        return round((x + self.left) / self.side, 3), round((y + self.top) / self.side, 3)


def open_picture(path: str | os.PathLike[str], data: bytes | None = None) -> Image.Image:
    """Opens a picture file as RGB in display orientation; `data` is what it holds, where that has been read already.

    Format and pixel count are checked on the header, before any pixel is decoded. Raises DataError that names the file.
    """
    name = os.fspath(path)
    file = path if data is None else io.BytesIO(data)
    with _as_data_errors(name), Image.open(file, formats=ALLOWED_FORMATS) as picture:
        return to_rgb(picture, name)


def read_picture(
    file: BinaryIO, name: str, *, formats: tuple[str, ...] = ALLOWED_FORMATS, most_pixels: int = MAX_PIXELS
) -> Image.Image:
    """As `open_picture`, of an open file that errors call `name`; RGBA where it has an alpha channel.

    `formats` and `most_pixels` may be narrower than a picture of one's own disk is allowed.
    """
    with _as_data_errors(name, formats), Image.open(file, formats=formats) as picture:
        width, height = picture.size
        if width * height > most_pixels:
            raise DataError(f"{name}: {width}×{height} pixels, the limit is {most_pixels}; make it smaller.")
        return _upright(picture, name, "RGBA" if picture.has_transparency_data else "RGB")


def picture_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Width and height in display orientation, as `open_picture` will give them, without decoding a pixel.

    Raises DataError that names the file for whatever the header shows to be wrong.
    """
    name = os.fspath(path)
    with _as_data_errors(name), Image.open(path, formats=ALLOWED_FORMATS) as picture:
        _check_header(picture, name)
        # PNG's own getexif() decodes the picture in search of a late chunk.
        turned = Image.Image.getexif(picture).get(ExifTags.Base.Orientation) in _TURNED
        # PIL reports the stored size, except of TIFF, which it reports as displayed; TIFF's tags have the stored one.
        tags = getattr(picture, "tag_v2", None)
        stored = picture.size if tags is None else (tags[ExifTags.Base.ImageWidth], tags[ExifTags.Base.ImageLength])
        return (stored[1], stored[0]) if turned else stored


@contextmanager
def _as_data_errors(name: str, formats: tuple[str, ...] = ALLOWED_FORMATS) -> Iterator[None]:
    """Whatever opening and decoding `name` raises becomes a DataError that names it."""
    try:
        yield
    except SphinxVError:
        raise
    except FileNotFoundError:
        raise DataError(f"{name}: no such picture; check the path and the root it is joined to.") from None
    except UnidentifiedImageError:
        raise DataError(f"{name}: not a picture of {', '.join(formats)}; convert it first.") from None
    except Image.DecompressionBombError as error:
        raise DataError(f"{name}: {error}; the limit is {MAX_PIXELS} pixels, make it smaller.") from None
    except Exception as error:
        # Damaged files bring TypeError, IndexError, struct.error and others out of PIL's readers.
        raise DataError(f"{name}: cannot be decoded ({error}); the file may be damaged or truncated.") from error


def to_rgb(picture: Image.Image, name: str = "picture") -> Image.Image:
    """RGB in display orientation (EXIF applied).

    Raises DataError for no pixels or too many, animations, deep modes, and data that cannot be decoded.
    """
    return _upright(picture, name, "RGB")


def _upright(picture: Image.Image, name: str, mode: str) -> Image.Image:
    _check_header(picture, name)
    with _as_data_errors(name):
        picture.load()
        upright = picture
        if picture.getexif().get(ExifTags.Base.Orientation, 1) != 1:  # else it would be a copy beside that of `convert`
            upright = ImageOps.exif_transpose(picture)
        if mode == "RGB" and "transparency" in upright.info:
            # The colour below a transparent pixel is what counts; of a palette's, PIL would warn at every picture.
            upright = upright.copy()
            del upright.info["transparency"]
        return upright.convert(mode)


def _check_header(picture: Image.Image, name: str) -> None:
    width, height = picture.size
    if not width or not height:
        raise DataError(f"{name}: {width}×{height} pixels, an empty picture; give one of at least 1×1.")
    if width * height > MAX_PIXELS:
        raise DataError(f"{name}: {width}×{height} pixels, the limit is {MAX_PIXELS}; make it smaller.")
    side = max(width, height)
    if side > MAX_SIDE:
        raise DataError(
            f"{name}: {width}×{height} pixels, padded to a square {side}×{side} = {side**2}; the limit is"
            f" {MAX_SIDE}×{MAX_SIDE} = {MAX_SIDE**2}, so make the long side at most {MAX_SIDE}."
        )
    if getattr(picture, "n_frames", 1) > 1 and picture.format != "MPO":
        raise DataError(f"{name}: an animation or a file of several pages; save the frame you mean as a picture.")
    if picture.mode in _DEEP_MODES:
        raise DataError(f"{name}: mode {picture.mode} has more than 8 bits a channel; convert it to 8-bit RGB first.")


def as_picture(value: Any) -> Image.Image:
    """A picture from a path, a PIL image or a uint8 array: [H, W] grey, [H, W, 3] RGB or [H, W, 4] RGBA; as RGB."""
    if isinstance(value, (str, os.PathLike)):
        return open_picture(value)
    if isinstance(value, Image.Image):
        return to_rgb(value)
    is_bytes = isinstance(value, numpy.ndarray) and value.dtype == numpy.uint8
    if is_bytes and (value.ndim == 2 or (value.ndim == 3 and value.shape[2] in (3, 4))):
        return to_rgb(Image.fromarray(value))
    shape = f" of shape {value.shape}, {value.dtype}" if isinstance(value, numpy.ndarray) else ""
    raise UsageError(
        f"a picture cannot be a {type(value).__name__}{shape}; give a path, a PIL image or a uint8 array of shape"
        " [H, W], [H, W, 3] or [H, W, 4]."
    )


def square_picture(picture: Image.Image, size: int) -> Tensor:
    """RGB picture → padded with CLIP's mean colour and resized (PIL bicubic): [3, size, size] uint8."""
    frame = SquareFrame(*picture.size)
    width = frame.side
    if frame.width > frame.height:
        # PIL resizes along rows first, and a row of padding stays one colour: put in between, it costs nothing there.
        width = size
        picture = picture.resize((width, frame.height), Image.Resampling.BICUBIC)
    if frame.width != frame.height:
        square = Image.new("RGB", (width, frame.side), PAD_COLOR)
        square.paste(picture, (frame.left, frame.top))
        picture = square
    resized = picture.resize((size, size), Image.Resampling.BICUBIC)
    return torch.from_numpy(numpy.array(resized)).permute(2, 0, 1).contiguous()


def normalise(square: Tensor) -> Tensor:
    """[..., 3, H, H] uint8 → float32, to [0, 1], then CLIP's mean and deviation."""
    mean = torch.tensor(CLIP_MEAN, device=square.device).view(3, 1, 1)
    std = torch.tensor(CLIP_STD, device=square.device).view(3, 1, 1)
    # In place: a batch of pictures is large, and three more copies of it take longer than the sums.
    return square.to(torch.float32, copy=True).div_(255).sub_(mean).div_(std)
