"""COCO annotations → region items: `python -m accessory.data.convert.coco JSON --images DIR --out DIR`."""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy

from accessory.data.convert.masks import central_pixel, read_panoptic_ids, segmentation_mask
from accessory.data.convert.regions import CONFIG_FILE, CORPUS_FILE, Picture, Region, write_data_set
from SPHINX_V.config import PromptConfig
from SPHINX_V.errors import DataError, SphinxVError, UsageError
from SPHINX_V.processing.image import picture_size

EDGE = 1.0  # pixels by which a box may overstep the picture and be cut: COCO rounds


@dataclass
class Counts:
    """What the conversion met; `without_mask` regions have their box's centre as their point."""

    pictures: int = 0
    regions: int = 0
    crowd: int = 0
    small: int = 0
    without_mask: int = 0


@dataclass(frozen=True)
class Options:
    """Where pictures and panoptic PNGs lie, how picture files are called, and what is too small."""

    images: Path
    image_name: str = "{file_name}"
    min_area: float = 1.0
    panoptic_png: Path | None = None


@dataclass(frozen=True)
class _Segment:
    """One annotation of a picture, in whichever form the file has; `ids` are the panoptic PNG's."""

    values: dict[str, Any]
    where: str
    ids: numpy.ndarray | None = None


class CocoFile:
    """A COCO JSON file, checked as far as it is read; `pictures` gives its labelled regions picture by picture."""

    def __init__(self, path: Path, options: Options) -> None:
        self.path = path
        self.options = options
        self.counts = Counts()
        content = _read_json(path)
        self._images = {_field(image, "id", int, where): image for image, where in self._listed(content, "images")}
        self._names = {
            _field(category, "id", int, where): _name(category, where)
            for category, where in self._listed(content, "categories")
        }
        self._by_image: dict[int, list[tuple[dict[str, Any], str]]] = {}
        for annotation, where in self._listed(content, "annotations"):
            image = _field(annotation, "image_id", int, where)
            if image not in self._images:
                raise DataError(f"{where}: image_id is {image}, which is none of the {len(self._images)} images.")
            self._by_image.setdefault(image, []).append((annotation, where))

    def _listed(self, content: Any, key: str) -> Iterator[tuple[dict[str, Any], str]]:
        """The objects of one of the file's lists, each with the place that messages name."""
        values = content.get(key) if isinstance(content, dict) else None
        if not isinstance(values, list) or not values:
            raise DataError(f"{self.path}: has no list {key!r}; COCO files have images, annotations and categories.")
        for number, value in enumerate(values):
            identity = value.get("id", value.get("image_id")) if isinstance(value, dict) else None
            where = f"{self.path}, {key}[{number}]" + ("" if identity is None else f" (id {identity})")
            if not isinstance(value, dict):
                raise DataError(f"{where}: is {value!r:.80}, not an object.")
            yield value, where

    def pictures(self) -> Iterator[Picture]:
        """Pictures with at least one region that is no crowd and large enough, in the order of the file."""
        for identity, image in self._images.items():
            if identity not in self._by_image:
                continue
            where = f"{self.path}, image {identity}"
            name, width, height = self._picture_file(image, identity, where)
            regions = [
                region
                for annotation, place in self._by_image[identity]
                for segment in self._segments(annotation, place, height, width)
                if (region := self._region(segment, height, width)) is not None
            ]
            if regions:
                self.counts.pictures += 1
                self.counts.regions += len(regions)
                yield Picture(name, str(identity), tuple(regions))

    def _picture_file(self, image: dict[str, Any], identity: int, where: str) -> tuple[str, int, int]:
        """(path below the images' folder, width, height); refuses a picture that is not there or of another size."""
        width, height = _field(image, "width", int, where), _field(image, "height", int, where)
        try:
            name = self.options.image_name.format(file_name=_field(image, "file_name", str, where), id=identity)
        except (KeyError, IndexError, ValueError, AttributeError):
            raise UsageError(
                f"--image_name is {self.options.image_name!r}; it may name {{file_name}} and {{id}}: '{{id}}.jpg'."
            ) from None
        try:
            size = picture_size(self.options.images / name)
        except DataError as error:
            raise DataError(f"{where}: {error} Files may be called otherwise: see --images and --image_name.") from None
        if size != (width, height):
            raise DataError(
                f"{where}: {name} is {size[0]}×{size[1]}, the file says {width}×{height}; its boxes would be wrong."
            )
        return name, width, height

    def _segments(self, annotation: dict[str, Any], where: str, height: int, width: int) -> Iterator[_Segment]:
        if "segments_info" not in annotation:
            yield _Segment(annotation, where)
            return
        ids = None
        if self.options.panoptic_png is not None:
            ids = read_panoptic_ids(
                self.options.panoptic_png / _field(annotation, "file_name", str, where), height, width
            )
        for number, values in enumerate(_field(annotation, "segments_info", list, where)):
            place = f"{where}, segments_info[{number}]"
            if not isinstance(values, dict):
                raise DataError(f"{place}: is {values!r:.80}, not an object.")
            yield _Segment(values, f"{place} (id {values.get('id')})", ids)

    def _region(self, segment: _Segment, height: int, width: int) -> Region | None:
        """The labelled region of an annotation; None, and counted, for a crowd and for what is too small."""
        values, where = segment.values, segment.where
        if values.get("iscrowd"):
            self.counts.crowd += 1
            return None
        category = _field(values, "category_id", int, where)
        if category not in self._names:
            raise DataError(f"{where}: category_id is {category}, which is none of the {len(self._names)} categories.")
        box = _box(values, where, height, width)
        area = values.get("area", box[2] * box[3])
        if not isinstance(area, (int, float)):
            raise DataError(f"{where}: area is {area!r}; give square pixels.")
        if min(area, box[2] * box[3]) < self.options.min_area or not box[2] or not box[3]:
            self.counts.small += 1
            return None
        try:
            if segment.ids is not None:
                mask: numpy.ndarray | None = segment.ids == _field(values, "id", int, where)
            else:
                mask = segmentation_mask(values.get("segmentation"), height, width)
        except DataError as error:
            raise DataError(f"{where}: {error}") from None
        if mask is None:
            self.counts.without_mask += 1
            point: tuple[float, float] = (round(box[0] + box[2] / 2, 2), round(box[1] + box[3] / 2, 2))
        elif not mask.any():
            raise DataError(f"{where}: the mask marks no pixel; mend it or take the annotation out.")
        else:
            point = central_pixel(mask)
        return Region(self._names[category], box, point)


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path}: no such annotation file.") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); give a COCO JSON file.") from None
    except ValueError as error:  # broken JSON or text that is not UTF-8
        raise DataError(f"{path}: not valid JSON: {error}") from None


def _field(values: dict[str, Any], key: str, kind: type, where: str) -> Any:
    """A field of a known type; raises DataError with its value."""
    value = values.get(key)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise DataError(f"{where}: {key} is {value!r:.80}; COCO has a {kind.__name__} there.")
    return value


def _name(category: dict[str, Any], where: str) -> str:
    name: str = _field(category, "name", str, where)
    if not name.strip() or "\n" in name:
        raise DataError(f"{where}: name is {name!r}; a category needs one line of text.")
    return name.strip()


def _box(values: dict[str, Any], where: str, height: int, width: int) -> tuple[float, float, float, float]:
    """x, y, width, height in pixels, cut to the picture where it oversteps by less than `EDGE`."""
    box = _field(values, "bbox", list, where)
    if len(box) != 4 or not all(isinstance(v, (int, float)) and math.isfinite(v) for v in box):
        raise DataError(f"{where}: bbox is {box!r:.80}; COCO has four numbers x, y, width, height there.")
    x, y, w, h = box
    if w < 0 or h < 0:
        raise DataError(f"{where}: bbox is {box!r}; width and height cannot be negative.")
    if x < -EDGE or y < -EDGE or x + w > width + EDGE or y + h > height + EDGE:
        raise DataError(f"{where}: bbox {box!r} reaches outside the picture of {width}×{height} pixels.")
    x0, y0, x1, y1 = max(0, x), max(0, y), min(width, x + w), min(height, y + h)
    return round(x0, 2), round(y0, 2), round(max(0, x1 - x0), 2), round(max(0, y1 - y0), 2)


def convert(annotations: Path, options: Options, out: Path, max_marks: int, seed: int) -> tuple[Counts, int]:
    """Writes the data set (see `write_data_set`) and returns what was met and how many items each file has.

    Raises DataError that names file, annotation and value, and UsageError for a wrong option.
    """
    if max_marks < 1:
        raise UsageError(f"--max_marks is {max_marks}; an item has at least 1 mark.")
    source = CocoFile(annotations, options)
    pictures = list(source.pictures())
    if not pictures:
        raise DataError(
            f"{annotations}: no region is left ({source.counts.crowd} crowds, {source.counts.small} below --min_area)."
        )
    root = os.path.relpath(options.images.resolve(), out.resolve())
    return source.counts, write_data_set(out, pictures, root, max_marks, seed)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m accessory.data.convert.coco", description=__doc__)
    parser.add_argument("annotations", type=Path, metavar="JSON", help="instances_*.json or panoptic_*.json")
    parser.add_argument("--images", type=Path, required=True, metavar="DIR", help="folder of the pictures")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write")
    parser.add_argument(
        "--image_name", default=Options.image_name, help="how files are called, from {file_name} and {id}"
    )
    parser.add_argument(
        "--panoptic_png", type=Path, metavar="DIR", help="masks of a panoptic file; without, box centres"
    )
    parser.add_argument(
        "--max_marks", type=int, default=PromptConfig().num_slots, help="per item (default %(default)s)"
    )
    parser.add_argument("--min_area", type=float, default=Options.min_area, help="square pixels (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="same seed, same bytes (default %(default)s)")
    given = parser.parse_args(argv)
    options = Options(given.images, given.image_name, given.min_area, given.panoptic_png)
    try:
        counts, items = convert(given.annotations, options, given.out, given.max_marks, given.seed)
    except SphinxVError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2
    print(
        f"{given.out}: {counts.pictures} pictures, {counts.regions} regions, {items} items with boxes and as many with"
    )
    print(f"points; left out: {counts.crowd} crowds, {counts.small} smaller than {given.min_area:g} square pixels")
    if counts.without_mask:
        print(f"{counts.without_mask} regions have no mask: their point is the centre of their box")
    print(f"train on {given.out / CONFIG_FILE}; make a tokenizer from {given.out / CORPUS_FILE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
