"""The synthetic data set: what it promises about bytes, formats, truth and balance."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from accessory.data.synthetic import Drawn, Element, Summary, ask, draw_picture, generate
from accessory.data.synthetic.__main__ import main
from accessory.data.synthetic.lettering import MIN_LETTERS, unit
from accessory.data.synthetic.plan import (
    ALL_SERIES,
    DOMAINS,
    DOMINANCE,
    EXTENTS,
    MAX_MARKS,
    series_name,
)
from accessory.data.synthetic.seeds import picture_seed, stream
from accessory.data.synthetic.telling import direction, place
from accessory.data.synthetic.vocabulary import COLORS, DIRECTIONS, SHAPES, WORDS
from SPHINX_V.errors import UsageError

ITEMS, HELDOUT, SEED = 96, 16, 11
LABELS = {f"{color} {shape}" for color in COLORS for shape in SHAPES}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Summary]:
    out = tmp_path_factory.mktemp("synthetic") / "data"
    return out, generate(out, ITEMS, HELDOUT, SEED, workers=1)


@pytest.fixture(scope="module")
def drawn() -> list[Drawn]:
    return [draw_picture(DOMAINS[index % len(DOMAINS)], (5, index)) for index in range(400)]


def digests(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def load(path: Path) -> list[dict[str, Any]]:
    return json.loads(path.read_text(encoding="utf-8"))


def check_marks(record: dict[str, Any], series: str, image: Path) -> list[list[float]]:
    """The marks of a record, after checking that they are of the right kind, few enough and inside the picture."""
    key, other = ("points", "bbox") if series.endswith("point") else ("bbox", "points")
    assert other not in record
    marks = record[key]
    with Image.open(image) as picture:
        assert picture.mode == "RGB"
        width, height = picture.size
    assert 144 <= max(width, height) <= 208
    assert 1 <= len(marks) <= MAX_MARKS
    for mark in marks:
        x, y, w, h = mark if key == "bbox" else (*mark, 0, 0)
        assert 0 <= x < width
        assert 0 <= y < height
        assert x + w <= width
        assert y + h <= height
        assert key == "points" or (w > 0 and h > 0)
    return marks


def check_listed(answer: str, series: str, count: int) -> None:
    """An answer of labels, ocr or brief: one line a mark, numbered from 1, with words of the vocabulary."""
    tag = "Mark" if series.endswith("point") else "Region"
    for number, line in enumerate(answer.split("\n"), start=1):
        head, text = line.split(": ")
        assert head == f"<{tag} {number}>"
        if series.startswith("labels"):
            assert text in LABELS
        elif series.startswith("ocr"):
            assert text in WORDS
        else:
            assert re.fullmatch(r"(an? [a-z]+ [a-z]+|the word [A-Z]+) (in|at|on) the [a-z ]+", text)
    assert number == count


def test_the_same_seed_gives_the_same_bytes_with_one_worker_and_with_two(data, tmp_path):
    generate(tmp_path / "two", ITEMS, HELDOUT, SEED, workers=2)
    assert digests(tmp_path / "two") == digests(data[0])


def test_another_seed_gives_other_pictures(data, tmp_path):
    generate(tmp_path / "other", 8, 0, SEED + 1, workers=1)
    ours, theirs = digests(data[0]), digests(tmp_path / "other")
    assert all(ours[f"train/images/{i:06d}.png"] != theirs[f"train/images/{i:06d}.png"] for i in range(8))


def test_no_seed_is_shared_between_training_and_heldout_pictures():
    train = {picture_seed(0, "train", index) for index in range(5000)}
    heldout = {picture_seed(0, "heldout", index) for index in range(5000)}
    assert len(train) == len(heldout) == 5000
    assert not train & heldout


def test_no_heldout_picture_is_a_training_picture(data):
    ours = digests(data[0])
    pictures = [name for name in ours if name.endswith(".png")]
    assert len({ours[name] for name in pictures}) == len(pictures) == ITEMS + HELDOUT


@pytest.mark.parametrize("series", [series_name(series) for series in ALL_SERIES])
def test_training_annotations_are_of_the_format(data, series):
    out, summary = data
    records = load(out / "train" / "annotations" / f"{series}.json")
    assert len(records) == summary.items["train"][series] > 0
    for record in records:
        marks = check_marks(record, series, out / "train" / record["image"])
        turns = record["conversations"]
        assert [turn["from"] for turn in turns] == ["human", "gpt"] * (len(turns) // 2)
        assert turns[0]["value"].startswith("<image>\n")
        assert "".join(turn["value"] for turn in turns).count("<image>") == 1
        numbers = re.findall(r"<(?:Region|Mark) (\d+)>", "".join(turn["value"] for turn in turns))
        assert all(1 <= int(number) <= len(marks) for number in numbers)
        if series.split("_")[0] in ("labels", "ocr", "brief"):
            check_listed(turns[1]["value"], series, len(marks))


@pytest.mark.parametrize("series", [series_name(series) for series in ALL_SERIES])
def test_heldout_files_are_of_the_benchmark_format(data, series):
    out, summary = data
    records = load(out / "heldout" / f"{series}.json")
    assert len(records) == summary.items["heldout"][series] > 0
    assert len({record["question_id"] for record in records}) == len(records)
    for record in records:
        marks = check_marks(record, series, out / "heldout" / "images" / record["image_name"])
        assert record["dataset_name"] == f"synthetic_{series}"
        assert "<image>" not in record["question"]
        assert record["gt_answers"]
        assert set(record) - {"bbox", "points", "history"} == {
            *("image_name", "question", "question_id", "dataset_name", "gt_answers"),
        }
        assert series.startswith("qa") or "history" not in record
        if series.split("_")[0] in ("labels", "ocr", "brief"):
            check_listed(record["gt_answers"], series, len(marks))


def test_questions_have_the_wording_of_the_benchmarks(data):
    expected = {
        "labels": "Please identify the labels of each marked {} in the image.",
        "ocr": "Please provide the ocr results of each marked {} in the image.",
        "brief": "Please provide a brief description of each marked {} in the image.",
        "relation": "Please analyze the relationship between all marked {}s in the image.",
    }
    for task, wording in expected.items():
        for kind, noun in (("box", "region"), ("point", "point")):
            records = load(data[0] / "heldout" / f"{task}_{kind}.json")
            assert {record["question"] for record in records} == {wording.format(noun)}


def test_stage_configs_list_files_that_exist_beside_them(data):
    out, _ = data
    listed = {}
    for stage in ("stage1", "stage2"):
        entries = yaml.safe_load((out / f"{stage}.yaml").read_text(encoding="utf-8"))["META"]
        for entry in entries:
            assert set(entry) - {"ratio"} == {"path", "type", "root"}
            assert entry["type"] == "image_text"
            first = load(out / entry["path"])[0]
            assert (out / entry["root"] / first["image"]).is_file()
        listed[stage] = {Path(entry["path"]).stem for entry in entries}
    assert listed["stage1"] == {"labels_point", "labels_box", "relation_point", "relation_box"}
    assert listed["stage2"] == {series_name(series) for series in ALL_SERIES}


def test_the_corpus_speaks_of_the_whole_vocabulary_and_has_no_image_tag(data):
    text = (data[0] / "corpus.txt").read_text(encoding="utf-8")
    assert "<image>" not in text
    assert set(COLORS) | set(SHAPES) <= set(re.findall(r"[a-z]+", text))
    assert len(set(WORDS) & set(re.findall(r"[A-Z]+", text))) > 0.8 * len(WORDS)


def test_the_manifest_says_what_was_made(data):
    out, summary = data
    manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["seed"] == SEED
    assert manifest["pictures"] == summary.pictures == {"train": ITEMS, "heldout": HELDOUT}
    assert manifest["items"] == summary.items
    assert manifest["vocabulary"]["words"] == list(WORDS)


def test_no_label_comes_twice_and_no_two_elements_overlap(drawn):
    for picture in drawn:
        labels = [element.label for element in picture.elements]
        assert len(set(labels)) == len(labels)
        assert set(labels) <= LABELS | set(WORDS)
        boxes = [element.box for element in picture.elements]
        for index, (x0, y0, x1, y1) in enumerate(boxes):
            assert all(x0 >= b[2] or b[0] >= x1 or y0 >= b[3] or b[1] >= y1 for b in boxes[:index])


def test_pictures_hold_enough_to_make_reading_the_marks_necessary(drawn):
    least = {"scene": 5, "text": 4, "screen": 9, "panel": 5}
    for picture in drawn:
        assert len(picture.elements) >= least[picture.domain]


def test_elements_are_large_enough_for_the_tiny_model(drawn):
    for picture in drawn:
        pixel = unit(picture.image.size)
        for element in picture.elements:
            x0, y0, x1, y1 = element.box
            assert element.kind == "word" or max(x1 - x0, y1 - y0) >= 16 * pixel
            assert element.kind == "object" or y1 - y0 >= MIN_LETTERS * pixel


def test_points_lie_in_the_box_of_their_element(drawn):
    for index, picture in enumerate(drawn):
        item = ask(picture, ("brief", "point"), stream(index))
        assert item is not None
        for (x, y), mark in zip(item.coordinates, item.marks):
            assert mark.box[0] < x < mark.box[2]
            assert mark.box[1] < y < mark.box[3]


def test_points_lie_on_pixels_of_the_color_that_the_label_names(drawn):
    hits: Counter[bool] = Counter()
    for index, picture in enumerate(drawn):
        item = ask(picture, ("labels", "point"), stream(index))
        for (x, y), mark in zip(item.coordinates, item.marks) if item else ():
            if mark.shape == "ring":  # its centre counts as inside
                continue
            pixel = picture.image.getpixel((int(x), int(y)))
            nearest = min(COLORS, key=lambda name: sum((a - b) ** 2 for a, b in zip(COLORS[name], pixel)))
            hits[nearest == mark.color] += 1
    assert hits[True] / hits.total() > 0.97


def test_boxes_are_those_of_the_elements(drawn):
    for index, picture in enumerate(drawn):
        item = ask(picture, ("brief", "box"), stream(index))
        assert item is not None
        for (x, y, w, h), mark in zip(item.coordinates, item.marks):
            assert (x, y, x + w, y + h) == mark.box


def test_marks_do_not_come_in_reading_order(drawn):
    items = [ask(picture, ("brief", "box"), stream(index)) for index, picture in enumerate(drawn)]
    pairs = [item.marks[:2] for item in items if item is not None and len(item.marks) > 1]
    for axis in (0, 1):
        forward = sum(first.center[axis] < second.center[axis] for first, second in pairs)
        assert 0.4 < forward / len(pairs) < 0.6


def test_relations_agree_with_the_coordinates_and_are_balanced(drawn):
    counts: Counter[str] = Counter()
    for index, picture in enumerate(drawn):
        item = ask(picture, ("relation", "box"), stream(index))
        assert item is not None
        (bx, by), (ax, ay) = (mark.center for mark in item.marks)
        found = re.fullmatch(r"<Region 2> is (.+) <Region 1>\.", item.turns[0][1])
        assert found is not None
        counts[found[1]] += 1
        along, across = (ax - bx, ay - by) if found[1] in ("left of", "right of") else (ay - by, ax - bx)
        assert abs(along) >= DOMINANCE * abs(across)
        assert (along < 0) == (found[1] in ("left of", "above"))
    assert set(counts) == set(DIRECTIONS)
    assert all(0.17 < count / len(drawn) < 0.33 for count in counts.values())


def test_a_training_relation_goes_from_mark_to_mark(drawn):
    lengths: Counter[int] = Counter()
    for index, picture in enumerate(drawn):
        item = ask(picture, ("relation", "point"), stream(index), EXTENTS["train"])
        assert item is not None
        assert len(set(item.marks)) == len(item.marks)
        lengths[len(item.marks)] += 1
        sentences = [
            f"<Mark {number}> is {direction(mark, before)} <Mark {number - 1}>."
            for number, (before, mark) in enumerate(zip(item.marks, item.marks[1:]), start=2)
        ]
        assert item.turns[0][1] == "\n".join(sentences)
    assert set(lengths) == {2, 3, 4, 5}


@pytest.mark.parametrize(
    "offset, expected",
    [((-30, 20), "left of"), ((30, -20), "right of"), ((20, -30), "above"), ((-20, 30), "below"), ((30, 21), None)],
)
def test_a_direction_needs_an_axis_that_clearly_dominates(offset, expected):
    x, y = offset
    first = Element("object", "red star", (50 + x, 50 + y, 60 + x, 60 + y), (0, 0, 0, 0))
    assert direction(first, Element("object", "red ring", (50, 50, 60, 60), (0, 0, 0, 0))) == expected


def test_questions_mostly_have_several_marks_and_sometimes_one_or_nearly_all_slots(drawn):
    items = [ask(picture, ("brief", "box"), stream(7, index)) for index, picture in enumerate(drawn)]
    counts = Counter(len(item.marks) for item in items if item is not None)
    assert sum(counts[number] for number in range(3, 9)) > 0.6 * len(drawn)
    assert counts[1] > 0
    assert max(counts) >= 9


def test_the_place_in_a_caption_is_the_third_that_the_centre_lies_in(drawn):
    for picture in drawn:
        width, height = picture.image.size
        for element in picture.elements:
            where = place(element, (width, height))
            assert ("left" in where) == (element.center[0] < width / 3)
            assert ("bottom" in where) == (element.center[1] >= 2 * height / 3)


def test_a_picture_is_the_same_for_the_same_seed():
    first, again = draw_picture("screen", (3, 4)), draw_picture("screen", (3, 4))
    assert first.elements == again.elements
    assert first.image.tobytes() == again.image.tobytes()


def test_an_unknown_domain_is_named():
    with pytest.raises(UsageError, match="unknown domain 'street'"):
        draw_picture("street", 0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "name, arguments",
    [("items", (0, 0, 0, 1)), ("heldout", (1, -1, 0, 1)), ("seed", (1, 0, -1, 1)), ("workers", (1, 0, 0, 0))],
)
def test_numbers_out_of_range_are_named(tmp_path, name, arguments):
    with pytest.raises(UsageError, match=name):
        generate(tmp_path / "out", *arguments)
    assert not list(tmp_path.iterdir())


def test_a_folder_with_other_things_is_never_overwritten(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work", encoding="utf-8")
    with pytest.raises(UsageError, match="not empty"):
        generate(tmp_path, 4, 0, 0, workers=1)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_an_earlier_data_set_is_replaced_unless_something_was_put_beside_it(tmp_path):
    out = tmp_path / "data"
    generate(out, 8, 0, 0, workers=1)
    generate(out, 4, 0, 0, workers=1)
    assert len(list((out / "train" / "images").iterdir())) == 4
    (out / "tokenizer.model").write_bytes(b"made later")
    with pytest.raises(UsageError, match="not empty"):
        generate(out, 4, 0, 0, workers=1)
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_nothing_is_left_behind_by_an_error(tmp_path, monkeypatch):
    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("accessory.data.synthetic.build.write_corpus", fail)
    with pytest.raises(OSError, match="disk full"):
        generate(tmp_path / "data", 4, 0, 0, workers=1)
    assert not list(tmp_path.iterdir())


def test_the_command_prints_a_summary_and_reports_errors(tmp_path, capsys):
    out = tmp_path / "data"
    assert main([str(out), "--items", "4", "--heldout", "4", "--seed", "2", "--workers", "1"]) == 0
    assert "train: 4 pictures" in capsys.readouterr().out
    (out / "notes.txt").write_text("mine", encoding="utf-8")
    assert main([str(out), "--items", "4", "--workers", "1"]) == 2
    assert "notes.txt" not in capsys.readouterr().out
