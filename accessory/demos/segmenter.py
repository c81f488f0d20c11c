"""SAM behind the marks of the demo: what lies under each mark, as a mask in pixels of the original picture.

    segmenter = load_segmenter("sam-vit-base")
    for mask in segmenter.masks(picture, [Point(320, 200), Box(10, 10, 90, 120)]):
        outline = mask and mask_outline(mask)

Needs transformers, and no torchvision: pictures are prepared and masks enlarged here, as SAM's own code does it.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from accessory.demos.mask_shapes import mask_outline, mask_png, outline_mask
from accessory.demos.sam_weights import load_sam
from SPHINX_V.errors import CheckpointError
from SPHINX_V.generation.prefix import Kept
from SPHINX_V.parallel import local_device
from SPHINX_V.processing.image import to_rgb
from SPHINX_V.prompts import Box, Mask, Point, Prompt, Scribble, check_prompts

__all__ = ["Segmenter", "load_segmenter", "mask_outline", "mask_png", "outline_mask"]

# The mean and spread of ImageNet's pixels in [0, 1], which all releases of SAM are trained with.
_MEAN = (0.485, 0.456, 0.406)
_SPREAD = (0.229, 0.224, 0.225)

# Of every stroke, so that strokes share a call: points of padding would change the answer.
_STROKE_POINTS = 8
# A stroke is a circle around something where the gap between its ends is at most this share of its length.
_CLOSED_GAP = 0.15
# Marks in one call of the decoder: each holds about 60 MB at the sizes of the releases.
_MARKS_AT_ONCE = 8


def load_segmenter(path: str | os.PathLike[str], device: torch.device | str | None = None) -> Segmenter:
    """SAM from a folder of transformers' SamModel or from an original `sam_vit_{b,l,h}_….pth`, in float32.

    `device`: by default the GPU where there is one. Nothing is fetched from a network. Raises CheckpointError where the
    file is none of SAM, damaged or incomplete, UsageError where transformers is not installed.
    """
    return Segmenter(load_sam(path, local_device(device)), name=os.fspath(path))


@dataclass(frozen=True)
class _Frame:
    """A picture of `width` × `height` pixels scaled so that its long side is `side`, at the top left of a square."""

    width: int
    height: int
    side: int

    @property
    def inner(self) -> tuple[int, int]:
        """Width and height of the scaled picture; SAM's rounding, but never without a pixel."""
        scale = self.side / max(self.width, self.height)
        return max(1, int(self.width * scale + 0.5)), max(1, int(self.height * scale + 0.5))

    def place(self, pairs: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
        """Pixels of the picture → pixels of the square."""
        across, down = self.inner[0] / self.width, self.inner[1] / self.height
        return [(x * across, y * down) for x, y in pairs]


class Segmenter:
    """Answers which pixels marks mean. May be asked from several threads; they wait for each other.

    `remember_bytes`: how much memory on its device the embeddings of pictures may take, least recently used out first;
    one is 4 MiB at the sizes of the releases.
    """

    def __init__(self, model: Any, name: str = "SAM", remember_bytes: int = 64 << 20) -> None:
        """`model`: transformers' SamModel, in evaluation mode on its device; it is not changed."""
        self.name = name
        self._model = model
        self._lock = Lock()
        self._embeddings = Kept(remember_bytes)
        self._side = int(model.config.vision_config.image_size)

    @property
    def device(self) -> torch.device:
        return self._model.shared_image_embedding.positional_embedding.device

    @property
    def parameters(self) -> int:
        """How many numbers the model has: 94 million for vit_b, 312 for vit_l, 641 for vit_h."""
        return sum(parameter.numel() for parameter in self._model.parameters())

    def masks(self, picture: Image.Image, marks: Sequence[Prompt]) -> list[Mask | None]:
        """For each mark the pixels that it means, as large as the picture; None where SAM finds none there.

        `picture` is taken in display orientation (EXIF applied); marks are in pixels of that. It is embedded once and
        kept by its content. What each kind asks:

        - Point: the thing at that pixel. It may be a part or the whole, so SAM gives three masks; the one whose
          overlap SAM itself believes to be best is taken.
        - Box: the thing inside.
        - Scribble: the thing under the stroke, asked by 8 points at equal distances along it; of a stroke that comes
          back to its beginning (a circle around something) the thing inside its bounds, as of a Box; one of no length
          is a Point.
        - Mask: itself, the same object. It already says which pixels are meant.

        Raises UsageError for a mark outside the picture or a mask of another size, DataError for a picture that cannot
        be decoded or is too large, CheckpointError where SAM's results are not finite.
        """
        rgb = to_rgb(picture)
        check_prompts(marks, rgb.width, rgb.height, max_prompts=len(marks))
        found: list[Mask | None] = [mark if isinstance(mark, Mask) else None for mark in marks]
        kinds: dict[str, list[tuple[int, list[tuple[float, float]]]]] = {}
        for place, mark in enumerate(marks):
            if not isinstance(mark, Mask):
                kind, pairs = _asked(mark)
                kinds.setdefault(kind, []).append((place, pairs))
        if not kinds:
            return found
        frame = _Frame(rgb.width, rgb.height, self._side)
        with self._lock, torch.inference_mode():
            embedding = self._embedding(rgb, frame)
            for kind, asked in kinds.items():
                for start in range(0, len(asked), _MARKS_AT_ONCE):
                    part = asked[start : start + _MARKS_AT_ONCE]
                    logits = self._decode(embedding, kind, [frame.place(pairs) for _, pairs in part])
                    for (place, _), small in zip(part, logits):
                        found[place] = _enlarged(small, frame)
        return found

    def _embedding(self, rgb: Image.Image, frame: _Frame) -> Tensor:
        """[1, C, grid, grid] of a picture, from what is kept where it is there."""
        # Two pictures may have the same bytes in other rows.
        key = (rgb.size, hashlib.blake2b(rgb.tobytes(), digest_size=16).digest())
        kept = self._embeddings.get(key)
        if kept is None:
            kept = self._model.get_image_embeddings(_pixels(rgb, frame).to(self.device))
            self._embeddings.put(key, kept)
        return kept

    def _decode(self, embedding: Tensor, kind: str, asked: Sequence[Sequence[tuple[float, float]]]) -> Tensor:
        """Logits [N, h, w] of the N marks of one kind, each given by as many pairs in pixels of the square."""
        pairs = torch.tensor(asked, dtype=torch.float32, device=self.device)[None]  # [1, N, pairs, 2]
        if kind == "box":
            prompts = {"input_boxes": pairs.flatten(2)}
        else:
            labels = torch.ones(pairs.shape[:3], dtype=torch.long, device=self.device)  # 1: a point of the thing
            prompts = {"input_points": pairs, "input_labels": labels}
        answer = self._model(image_embeddings=embedding, multimask_output=kind == "point", **prompts)
        scores, masks = answer.iou_scores[0], answer.pred_masks[0]  # [N, masks], [N, masks, h, w]
        if not (torch.isfinite(scores).all() and torch.isfinite(masks).all()):
            raise CheckpointError(f"{self.name}: SAM's masks are not finite; the file may be damaged, copy it again.")
        best = scores.argmax(dim=1)
        return masks[torch.arange(len(best), device=self.device), best]


def _asked(mark: Point | Box | Scribble) -> tuple[str, list[tuple[float, float]]]:
    """ "point", "box" or "stroke", and the pairs that stand for the mark, in pixels of the picture."""
    if isinstance(mark, Point):
        return "point", [(mark.x, mark.y)]
    if isinstance(mark, Scribble):
        stroke = numpy.asarray(mark.points, dtype=float)
        steps = numpy.hypot(*numpy.diff(stroke, axis=0).T) if len(stroke) > 1 else numpy.zeros(0)
        length = float(steps.sum())
        if not length:
            return "point", [mark.points[0]]
        gap = math.dist(mark.points[0], mark.points[-1])
        width, height = numpy.ptp(stroke, axis=0)
        if gap > _CLOSED_GAP * length or not width or not height:
            travelled = numpy.concatenate([[0.0], steps.cumsum()])
            stops = numpy.linspace(0, length, _STROKE_POINTS)
            xs, ys = (numpy.interp(stops, travelled, stroke[:, axis]) for axis in (0, 1))
            return "stroke", [(float(x), float(y)) for x, y in zip(xs, ys)]
    x0, y0, x1, y1 = mark.bounds()
    return "box", [(x0, y0), (x1, y1)]


def _pixels(rgb: Image.Image, frame: _Frame) -> Tensor:
    """[1, 3, side, side]: the picture scaled, normalised, and zeros to its right and below."""
    scaled = numpy.asarray(rgb.resize(frame.inner, Image.Resampling.BILINEAR), dtype=numpy.float32) / 255
    values = (torch.from_numpy(scaled) - torch.tensor(_MEAN)) / torch.tensor(_SPREAD)
    width, height = frame.inner
    return functional.pad(values.permute(2, 0, 1)[None], (0, frame.side - width, 0, frame.side - height))


def _enlarged(logits: Tensor, frame: _Frame) -> Mask | None:
    """Logits [h, w] of the square → the mask of the picture: to the square's size, the picture's part, its size."""
    width, height = frame.inner
    square = functional.interpolate(logits[None, None].float(), (frame.side, frame.side), mode="bilinear")
    whole = functional.interpolate(square[..., :height, :width], (frame.height, frame.width), mode="bilinear")
    marked = (whole[0, 0] > 0).cpu().numpy()
    return Mask(marked) if marked.any() else None
