"""Pictures as they come over a wire: bytes or data URIs, limited before a pixel is decoded."""

from __future__ import annotations

import base64
import binascii
import io

from PIL import Image

from SPHINX_V.errors import DataError, UsageError
from SPHINX_V.processing.image import read_picture

MOST_BYTES = 16 * 2**20  # of a picture's file
MOST_PIXELS = 40_000_000
# Fewer than a picture from one's own disk may have: no camera or browser needs the others, and each is one more reader.
WIRE_FORMATS = ("JPEG", "PNG", "WEBP")
_TYPES = tuple(f"image/{name.lower()}" for name in WIRE_FORMATS)


def picture_from_bytes(data: bytes, name: str = "picture") -> Image.Image:
    """The picture in a file's bytes, RGB, or RGBA where it has an alpha channel, in display orientation.

    What it is called or said to be does not count, only what its first bytes are. Raises DataError for other formats,
    too many bytes or pixels, animations and damage; size and format are looked at before anything is decoded.
    """
    if len(data) > MOST_BYTES:
        raise DataError(f"{name}: {len(data)} bytes, the limit is {MOST_BYTES}; make the picture smaller.")
    return read_picture(io.BytesIO(data), name, formats=WIRE_FORMATS, most_pixels=MOST_PIXELS)


def picture_from_data_uri(uri: str, name: str = "picture") -> Image.Image:
    """The picture in `data:image/png;base64,…`; also image/jpeg, which many call image/jpg, and image/webp.

    Raises UsageError for another kind of address or text that is not base64, else as `picture_from_bytes`.
    """
    head, comma, body = uri.partition(",")
    words = head[:100].lower().removeprefix("data:").split(";")
    if not head[:5].lower() == "data:" or not comma or words[-1] != "base64" or words[0] not in (*_TYPES, "image/jpg"):
        raise UsageError(
            f"{name}: the address begins with {uri[:30]!r}; give data:TYPE;base64,… with {', '.join(_TYPES)}."
        )
    if len(body) * 3 // 4 > MOST_BYTES + 3:
        raise DataError(
            f"{name}: about {len(body) * 3 // 4} bytes, the limit is {MOST_BYTES}; make the picture smaller."
        )
    try:
        data = base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError) as error:
        raise UsageError(f"{name}: the data after the comma is not base64 ({error}).") from None
    return picture_from_bytes(data, name)
