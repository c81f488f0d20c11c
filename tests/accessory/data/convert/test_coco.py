"""COCO JSON → region items: a small file made here, the shared photographs where they are, and every refusal."""

import json
from pathlib import Path

import numpy
import pytest
import yaml
from PIL import Image

from accessory.data.convert.coco import main
from accessory.data.convert.masks import segmentation_mask
from accessory.data.index import build_index, index_place
from accessory.data.sources import read_sources
from SPHINX_V.prompts import Box, Point
from tests.house.repo import ROOT

SHARED = ROOT.parent / "shared" / "data"
WIDTH, HEIGHT = 40, 30
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="../shared/data is not here")


def small(count=12):
    """A file of two pictures: the first with `count` boxes of 4 × 3 along the diagonal, the second with one polygon."""
    annotations = [
        {
            "id": 100 + number,
            "image_id": 7,
            "category_id": 1 + number % 2,
            "bbox": [number * 2, number * 2, 4, 3],
            "area": 12,
            "iscrowd": 0,
        }
        for number in range(count)
    ]
    polygon = [[20, 10, 26, 10, 26, 14, 20, 14]]
    annotations.append(
        {"id": 900, "image_id": 8, "category_id": 2, "bbox": [20, 10, 6, 4], "area": 24, "segmentation": polygon}
    )
    return {
        "images": [
            {"id": 7, "file_name": "0007.png", "width": WIDTH, "height": HEIGHT},
            {"id": 8, "file_name": "0008.png", "width": WIDTH, "height": HEIGHT},
        ],
        "annotations": annotations,
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "wall-other-merged"}],
    }


@pytest.fixture
def convert(tmp_path):
    """Converts a COCO file, given as values or as text; returns the exit code and the folder."""
    images = tmp_path / "images"
    images.mkdir()
    for name in ("0007.png", "0008.png"):
        Image.new("RGB", (WIDTH, HEIGHT)).save(images / name)

    def converted(content, *arguments, out="out"):
        source = tmp_path / "coco.json"
        source.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        folder = tmp_path / out
        return main([str(source), "--images", str(images), "--out", str(folder), *map(str, arguments)]), folder

    return converted


def read(folder, name):
    return json.loads((folder / name).read_text(encoding="utf-8"))


def labels(item):
    return [line.split(": ")[1] for line in item["conversations"][1]["value"].split("\n")]


def test_every_region_once_in_items_of_at_most_ten(convert, capsys):
    code, folder = convert(small())
    assert code == 0
    items = read(folder, "labels_box.json")
    assert [(item["image"], len(item["bbox"])) for item in items] == [
        ("0007.png", 10),
        ("0007.png", 2),
        ("0008.png", 1),
    ]
    given = [(tuple(box), label) for item in items[:2] for box, label in zip(item["bbox"], labels(item))]
    wanted = [((n * 2, n * 2, 4, 3), ("cat", "wall-other-merged")[n % 2]) for n in range(12)]
    assert sorted(given) == wanted
    assert given != wanted, "the order is drawn"
    out = capsys.readouterr().out
    assert "2 pictures, 13 regions, 3 items" in out
    assert "12 regions have no mask" in out


def test_items_have_the_wording_of_the_training_data(convert):
    _, folder = convert(small())
    box, point = read(folder, "labels_box.json")[2], read(folder, "labels_point.json")[2]
    assert box["conversations"] == [
        {"from": "human", "value": "<image>\nPlease identify the labels of each marked region in the image."},
        {"from": "gpt", "value": "<Region 1>: wall-other-merged"},
    ]
    assert point["conversations"] == [
        {"from": "human", "value": "<image>\nPlease identify the labels of each marked point in the image."},
        {"from": "gpt", "value": "<Mark 1>: wall-other-merged"},
    ]
    assert "points" not in box
    assert "bbox" not in point


def test_points_are_the_mask_s_or_the_centre_of_the_box(convert):
    _, folder = convert(small())
    boxes, points = read(folder, "labels_box.json"), read(folder, "labels_point.json")
    for (x, y, w, h), (px, py) in zip(boxes[0]["bbox"], points[0]["points"]):
        assert (px, py) == (x + w / 2, y + h / 2)
    x, y = points[2]["points"][0]
    assert 22 <= x <= 23
    assert 11 <= y <= 12


def test_training_reads_what_is_written(convert):
    _, folder = convert(small())
    entries = []
    for source in read_sources(folder / "data.yaml"):
        file = build_index(source.path, index_place(source.path, None))
        entries += [source.entry(file.item(number), file.where(number), 10) for number in file.numbers]
    assert len(entries) == 6
    assert all(entry.picture is not None and entry.picture.is_file() for entry in entries)
    assert {type(prompt) for entry in entries for prompt in entry.annotation.prompts} == {Box, Point}
    root = yaml.safe_load((folder / "data.yaml").read_text(encoding="utf-8"))["META"][0]["root"]
    assert not Path(root).is_absolute()


def test_the_corpus_holds_questions_and_answers(convert):
    _, folder = convert(small())
    lines = (folder / "corpus.txt").read_text(encoding="utf-8").splitlines()
    assert "Please identify the labels of each marked region in the image." in lines
    assert "<Mark 1>: wall-other-merged" in lines
    assert not [line for line in lines if "<image>" in line]
    assert len(lines) == 6 + 26, "a question per item and a line per mark"


def test_one_seed_gives_the_same_bytes(convert):
    first, second, other = (convert(small(), "--seed", seed, out=f"out{n}")[1] for n, seed in enumerate((3, 3, 4)))
    for name in ("labels_box.json", "labels_point.json", "corpus.txt", "data.yaml"):
        assert (first / name).read_bytes() == (second / name).read_bytes()
    assert (first / "labels_box.json").read_bytes() != (other / "labels_box.json").read_bytes()


def test_fewer_marks_per_item(convert):
    _, folder = convert(small(), "--max_marks", 5)
    assert [len(item["bbox"]) for item in read(folder, "labels_box.json")] == [5, 5, 2, 1]


def test_crowds_and_small_regions_are_left_out_and_counted(convert, capsys):
    content = small()
    content["annotations"][0]["iscrowd"] = 1
    content["annotations"][1]["bbox"] = [5, 5, 0, 4]
    content["annotations"][2]["area"] = 3
    code, folder = convert(content, "--min_area", 10)
    assert code == 0
    assert sum(len(item["bbox"]) for item in read(folder, "labels_box.json")) == 10
    assert "left out: 1 crowds, 2 smaller than 10 square pixels" in capsys.readouterr().out


def test_a_box_that_oversteps_by_rounding_is_cut(convert):
    content = small(1)
    content["annotations"][0]["bbox"] = [36.5, -0.004, 3.504, 5.123]
    _, folder = convert(content)
    assert read(folder, "labels_box.json")[0]["bbox"] == [[36.5, 0, 3.5, 5.12]]


def test_picture_names_from_a_template(convert, tmp_path):
    for name in ("0007.png", "0008.png"):
        (tmp_path / "images" / name).rename(tmp_path / "images" / f"{int(name[:4])}.png")
    code, folder = convert(small(), "--image_name", "{id}.png")
    assert code == 0
    assert {item["image"] for item in read(folder, "labels_box.json")} == {"7.png", "8.png"}


def panoptic():
    segments = [{"id": 5, "category_id": 1, "bbox": [2, 2, 10, 10], "area": 36, "iscrowd": 0}]
    content = small(0)
    content["annotations"] = [{"image_id": 7, "file_name": "p.png", "segments_info": segments}]
    return content


def test_panoptic_segments_without_masks(convert, capsys):
    code, folder = convert(panoptic())
    assert code == 0
    assert read(folder, "labels_point.json")[0]["points"] == [[7, 7]]
    assert "1 regions have no mask" in capsys.readouterr().out


def test_panoptic_segments_with_masks(convert, tmp_path):
    """A segment in the form of an L, whose box's centre is not on it."""
    ids = numpy.zeros((HEIGHT, WIDTH, 3), dtype=numpy.uint8)
    ids[2:12, 2:4, 0] = ids[10:12, 2:12, 0] = 5
    (tmp_path / "masks").mkdir()
    Image.fromarray(ids).save(tmp_path / "masks" / "p.png")
    code, folder = convert(panoptic(), "--panoptic_png", tmp_path / "masks")
    assert code == 0
    x, y = read(folder, "labels_point.json")[0]["points"][0]
    assert ids[y, x, 0] == 5


def set_in(values, *path, to):
    *parents, last = path
    for key in parents:
        values = values[key]
    values[last] = to


@pytest.mark.parametrize(
    "path, value, parts",
    [
        (("annotations", 3, "bbox"), [38, 2, 9, 9], ("annotations[3] (id 103)", "[38, 2, 9, 9]", "40×30")),
        (("annotations", 3, "bbox"), [1, 2, -3, 9], ("annotations[3] (id 103)", "[1, 2, -3, 9]", "negative")),
        (("annotations", 3, "bbox"), [1, 2, 3], ("(id 103)", "[1, 2, 3]", "four numbers")),
        (("annotations", 3, "bbox"), None, ("(id 103)", "bbox is None")),
        (("annotations", 3, "category_id"), 77, ("(id 103)", "category_id is 77", "2 categories")),
        (("annotations", 3, "image_id"), 9, ("(id 103)", "image_id is 9", "2 images")),
        (("annotations", 3, "area"), "big", ("(id 103)", "area is 'big'")),
        (("annotations", 12, "segmentation"), {"counts": "1", "size": [30, 40]}, ("(id 900)", "add up to 1")),
        (("annotations", 3), "text", ("annotations[3]", "'text'")),
        (("images", 0, "file_name"), "no.png", ("image 7", "no.png", "no such picture", "--image_name")),
        (("images", 0, "width"), 41, ("image 7", "40×30", "41×30")),
        (("images", 0, "height"), None, ("image 7", "height is None")),
        (("categories", 0, "name"), "", ("categories[0] (id 1)", "name is ''")),
        (("images",), {}, ("has no list 'images'",)),
        (("annotations",), [], ("has no list 'annotations'",)),
    ],
)
def test_refused_with_file_annotation_and_value(convert, tmp_path, capsys, path, value, parts):
    content = small()
    set_in(content, *path, to=value)
    code, folder = convert(content)
    error = capsys.readouterr().err
    assert code == 2
    assert error.startswith(f"DataError: {tmp_path / 'coco.json'}")
    for part in parts:
        assert part in error
    assert not folder.exists(), "nothing is half written"


@pytest.mark.parametrize("text, part", [("{", "not valid JSON"), ("[]", "has no list"), ("3", "has no list")])
def test_files_of_another_form_are_refused(convert, capsys, text, part):
    assert convert(text)[0] == 2
    assert part in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments, part",
    [
        (("--image_name", "{name}.png"), "'{name}.png'; it may name {file_name} and {id}"),
        (("--max_marks", 0), "--max_marks is 0"),
        (("--min_area", 1000), "no region is left"),
    ],
)
def test_wrong_options_are_refused(convert, capsys, arguments, part):
    assert convert(small(), *arguments)[0] == 2
    assert part in capsys.readouterr().err


def test_a_missing_file_is_named(tmp_path, capsys):
    assert main([str(tmp_path / "no.json"), "--images", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert f"{tmp_path / 'no.json'}: no such annotation file" in capsys.readouterr().err


@needs_shared
def test_masks_of_real_annotations_have_the_area_and_box_that_the_file_says():
    content = json.loads((SHARED / "coco_panoptic" / "detection_format.json").read_text(encoding="utf-8"))
    sizes = {image["id"]: (image["height"], image["width"]) for image in content["images"]}
    for annotation in content["annotations"]:
        mask = segmentation_mask(annotation["segmentation"], *sizes[annotation["image_id"]])
        rows, columns = mask.any(axis=1).nonzero()[0], mask.any(axis=0).nonzero()[0]
        box = [columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1]
        assert (mask.sum(), box) == (annotation["area"], annotation["bbox"])


@needs_shared
@pytest.mark.parametrize("name", ["detection_format.json", "panoptic_examples.json"])
def test_the_shared_photographs(tmp_path, name):
    images, source = SHARED / "images", SHARED / "coco_panoptic" / name
    arguments = [str(source), "--images", str(images), "--out", str(tmp_path), "--image_name", "{id}.jpg"]
    assert main(arguments) == 0
    boxes = read(tmp_path, "labels_box.json")
    assert sum(len(item["bbox"]) for item in boxes) == 47, "50 without 3 crowds"
    assert {item["image"] for item in boxes} == {"142238.jpg", "439180.jpg"}
