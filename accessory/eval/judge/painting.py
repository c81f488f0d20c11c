"""The picture as a judge sees it: darkened, numbered marks painted on it, small enough to send."""

from __future__ import annotations

import base64
import functools
import hashlib
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from accessory.page.pictures import scaled
from SPHINX_V.errors import DataError, UsageError
from SPHINX_V.overlay import draw_marks
from SPHINX_V.processing.image import open_picture, picture_size
from SPHINX_V.prompts import Mask, Prompt, Scribble, check_prompts, is_point

# The protocol of MDVP-Bench. A darker ground makes the marks stand out; without marks there is nothing to stand out.
BOX_BRIGHTNESS = 0.8
POINT_BRIGHTNESS = 0.7
# A small picture is enlarged a whole number of times up to this longer side, so that numbers can be read on it.
GROWN_SIDE = 1024
# Some endpoints refuse pictures above 5 MB, and base64 adds a third.
MAX_BYTES = 3_500_000
# Part of the cache's key. Raise it with any change to what this module or SPHINX_V.overlay paints.
VERSION = 1


@dataclass(frozen=True)
class PaintedPicture:
    """A picture file with marks in its pixels (display orientation), and how large it may be sent.

    It is opened, painted and encoded only when it is sent: a judgement that is replayed needs nothing but `digest`.
    """

    path: Path
    prompts: tuple[Prompt, ...]
    max_side: int

    @property
    def brightness(self) -> float:
        if not self.prompts:
            return 1.0
        return POINT_BRIGHTNESS if all(is_point(prompt) for prompt in self.prompts) else BOX_BRIGHTNESS

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 of all that decides what is painted: the file's bytes, the marks, and this module's settings.

        Not of the painted pixels: decoders and fonts of another version differ by a shade, and would have every
        judgement paid again. Raises DataError for a file that cannot be read.
        """
        recipe = {**painting_settings(self.max_side), "marks": [_described(prompt) for prompt in self.prompts]}
        try:
            content = self.path.read_bytes()
        except OSError as error:
            raise DataError(f"{self.path}: the picture cannot be read ({error.strerror}).") from None
        return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode() + b"\n" + content).hexdigest()

    def size(self) -> tuple[int, int]:
        """(width, height) in pixels as sent, from the file's header alone."""
        return _fitted(picture_size(self.path), self.max_side)[1]

    def check(self) -> None:
        """Raises DataError for a file that is no picture and for a mark outside it; no pixel is decoded."""
        try:
            check_prompts(self.prompts, *picture_size(self.path), max_prompts=len(self.prompts))
        except UsageError as error:
            raise DataError(f"{self.path}: {error}") from None

    def paint(self) -> Image.Image:
        """The RGB picture with marks 1, 2, … as in `prompts`; raises DataError as `check` does."""
        self.check()
        picture = open_picture(self.path)
        scale, size = _fitted(picture.size, self.max_side)
        if size != picture.size:
            picture = picture.resize(size, Image.Resampling.LANCZOS)
        if self.brightness != 1.0:
            picture = picture.point([round(value * self.brightness) for value in range(256)] * 3)
        return draw_marks(picture, [scaled(prompt, scale) for prompt in self.prompts], fine=True)

    def jpeg(self) -> bytes:
        return as_jpeg(self.paint())

    def data_url(self) -> str:
        return "data:image/jpeg;base64," + base64.b64encode(self.jpeg()).decode("ascii")


def painting_settings(max_side: int) -> dict[str, Any]:
    """What decides how a picture is painted, apart from the picture and its marks."""
    return {
        "version": VERSION,
        "box_brightness": BOX_BRIGHTNESS,
        "point_brightness": POINT_BRIGHTNESS,
        "grown_side": GROWN_SIDE,
        "max_bytes": MAX_BYTES,
        "max_side": max_side,
    }


def as_jpeg(picture: Image.Image, max_bytes: int = MAX_BYTES) -> bytes:
    """The picture as JPEG of at most `max_bytes`: first at lower quality, then at smaller size.

    Colour is kept at full resolution, else thin coloured lines wash out.
    """
    while True:
        for quality in (92, 82, 70):
            buffer = io.BytesIO()
            picture.save(buffer, "JPEG", quality=quality, subsampling=0)
            if buffer.tell() <= max_bytes or max(picture.size) == 1:
                return buffer.getvalue()
        smaller = (max(1, round(picture.width * 0.8)), max(1, round(picture.height * 0.8)))
        picture = picture.resize(smaller, Image.Resampling.LANCZOS)


def _fitted(size: tuple[int, int], max_side: int) -> tuple[float, tuple[int, int]]:
    """The factor and the size in pixels that a picture of `size` is sent at."""
    longer = max(size)
    scale: float = max_side / longer if longer > max_side else max(1, min(GROWN_SIDE, max_side) // longer)
    return scale, (max(1, round(size[0] * scale)), max(1, round(size[1] * scale)))


def _described(prompt: Prompt) -> list[Any]:
    """A mark as plain values, different for different marks."""
    kind = type(prompt).__name__
    if isinstance(prompt, Mask):
        return [kind, prompt.array.shape, hashlib.sha256(prompt.array.tobytes()).hexdigest()]
    return [kind, prompt.points if isinstance(prompt, Scribble) else prompt.bounds()]
