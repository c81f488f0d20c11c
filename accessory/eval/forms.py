"""Benchmark files of others, in the form their authors publish → benchmark items."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from accessory.eval.files import read_json, read_json_items
from accessory.eval.items import BenchmarkItem, OnBadItem, check_fields, make_item, with_unique_ids
from SPHINX_V.errors import DataError

LETTERS = "ABCDEFGHIJ"
DETAILED = "Please provide a detailed description of each marked region in the image."


def read_pope(path: Path, image_root: Path, dataset: str, on_bad_item: OnBadItem) -> list[BenchmarkItem]:
    """POPE: lines of `question_id`, `image`, `text`, `label` (yes or no), without marks."""
    items = []
    for number, value in enumerate(read_json_items(path), start=1):
        where = f"{path}, line {number}"
        check_fields(value, where, question_id=(int, str), image=str, text=str, label=str)
        if value["label"].lower() not in ("yes", "no"):
            raise DataError(f"{where}: label is {value['label']!r}; POPE knows yes and no.")
        fields = _fields(value["question_id"], value["image"], value["text"], value["label"].lower())
        items.append(make_item(fields, where, image_root, dataset, on_bad_item))
    return with_unique_ids(items, path)


def read_osprey(
    path: Path, answers: Path | None, image_root: Path, dataset: str, on_bad_item: OnBadItem
) -> list[BenchmarkItem]:
    """Osprey-80 and Ferret-Bench: `question_id`, `image`, `category`, `text` with `<region>`, `annotation.bbox`.

    Reference answers stand in a second file, by `question_id` and `text`; without it the truth is empty.
    """
    references = {} if answers is None else _references(answers)
    items = []
    for number, value in enumerate(read_json_items(path)):
        where = f"{path}, item {number}"
        check_fields(value, where, question_id=(int, str), image=str, category=str, text=str, annotation=dict)
        key = value["question_id"]
        if answers is not None and key not in references:
            raise DataError(f"{answers}: has no answer to question {key} of {path}.")
        question = value["text"].replace("<region>", "<Region 1>")
        fields = _fields(key, value["image"], question, references.get(key, ""), [value["annotation"].get("bbox")])
        items.append(make_item(fields, where, image_root, dataset, on_bad_item, category=value["category"]))
    return with_unique_ids(items, path)


def read_dlc(path: Path, image_root: Path, dataset: str, on_bad_item: OnBadItem) -> list[BenchmarkItem]:
    """DLC-Bench: COCO's `images` and `annotations`; every annotation's box is one region to describe.

    What is right is not written down: a judge asks multiple-choice questions about the description.
    """
    values = read_json(path, "benchmark file")
    check_fields(values, str(path), images=list, annotations=list)
    names = {}
    for number, image in enumerate(values["images"]):
        check_fields(image, f"{path}, image {number}", id=(int, str), file_name=str)
        names[image["id"]] = image["file_name"]
    items = []
    for number, value in enumerate(values["annotations"]):
        where = f"{path}, annotation {number}"
        check_fields(value, where, id=(int, str), image_id=(int, str), bbox=list)
        if value["image_id"] not in names:
            raise DataError(f"{where}: image_id {value['image_id']} is none of the file's images.")
        # The judge's questions are filed under the id as a text.
        fields = _fields(str(value["id"]), names[value["image_id"]], DETAILED, "", [value["bbox"]])
        items.append(make_item(fields, where, image_root, dataset, on_bad_item))
    return with_unique_ids(items, path)


def read_vcr(path: Path, image_root: Path, dataset: str, on_bad_item: OnBadItem) -> list[BenchmarkItem]:
    """VCR: two items a line, `ID:Q-A` and `ID:QA-R`, with the objects that are spoken of as `<Region n>`.

    Texts are lists of words and of indices into `objects`; the boxes stand in the file `metadata_fn` as x0, y0, x1, y1
    and a score. Only objects that the question or a choice names are marked, in the order of their first naming.
    """
    items = []
    for number, value in enumerate(read_json_items(path), start=1):
        where = f"{path}, line {number}"
        check_fields(value, where, img_fn=str, metadata_fn=str, objects=list, question=list, answer_choices=list)
        check_fields(value, where, rationale_choices=list, answer_label=int, rationale_label=int)
        boxes = _vcr_boxes(image_root / value["metadata_fn"], len(value["objects"]), where)
        texts = [value["question"], *value["answer_choices"], *value["rationale_choices"]]
        named = list(dict.fromkeys(index for text in texts for index in _indices(text, len(boxes), where)))
        tags = {index: f"<Region {place}>" for place, index in enumerate(named, start=1)}
        question = _words(value["question"], tags, value["objects"])
        answers = [_words(text, tags, value["objects"]) for text in value["answer_choices"]]
        reasons = [_words(text, tags, value["objects"]) for text in value["rationale_choices"]]
        marks = [boxes[index] for index in named]
        identity = value.get("annot_id", number)
        right = _choice(answers, value["answer_label"], f"{where}, answer_label")
        parts = (
            ("Q-A", question, answers, value["answer_label"]),
            ("QA-R", f"{question} The answer is: {right} Why?", reasons, value["rationale_label"]),
        )
        for part, stem, choices, label in parts:
            _choice(choices, label, f"{where}, {part}")
            fields = _fields(
                f"{identity}:{part}", value["img_fn"], multiple_choice(stem, choices), LETTERS[label], marks
            )
            items.append(
                make_item(fields, where, image_root, dataset, on_bad_item, part, choices=tuple(choices), stem=stem)
            )
    return with_unique_ids(items, path)


def multiple_choice(stem: str, choices: Sequence[str]) -> str:
    """A question with its lettered choices, to be answered with a letter."""
    lines = [f"{letter}. {choice}" for letter, choice in zip(LETTERS, choices)]
    return "\n".join([stem, *lines, "Answer with the letter of the right choice."])


def _fields(
    key: int | str, image: str, question: str, truth: str, boxes: Sequence[Any] | None = None
) -> dict[str, Any]:
    return {
        "question_id": key,
        "image_name": image,
        "question": question,
        "gt_answers": truth,
        "bbox": list(boxes or []),
    }


def _references(path: Path) -> dict[int | str, str]:
    found: dict[int | str, str] = {}
    for number, value in enumerate(read_json_items(path, "file of reference answers")):
        check_fields(value, f"{path}, item {number}", question_id=(int, str), text=str)
        if value["question_id"] in found:
            raise DataError(f"{path}: question_id {value['question_id']} stands twice.")
        found[value["question_id"]] = value["text"]
    return found


def _vcr_boxes(path: Path, objects: int, where: str) -> list[list[float]]:
    """x, y, width, height of every object."""
    value = read_json(path, "VCR metadata file")
    boxes = value.get("boxes") if isinstance(value, Mapping) else None
    if not isinstance(boxes, list) or len(boxes) != objects:
        raise DataError(f"{path}: has not the {objects} boxes of the objects in {where}.")
    try:
        return [[box[0], box[1], box[2] - box[0], box[3] - box[1]] for box in boxes]
    except (TypeError, IndexError):
        raise DataError(f"{path}: boxes are lists of x0, y0, x1, y1 and a score.") from None


def _indices(text: Any, objects: int, where: str) -> list[int]:
    found = [index for word in text if isinstance(word, list) for index in word] if isinstance(text, list) else None
    if found is None or any(not isinstance(index, int) or not 0 <= index < objects for index in found):
        raise DataError(f"{where}: {text!r} is no list of words and of indices below {objects}.")
    return found


def _words(text: Sequence[Any], tags: Mapping[int, str], objects: Sequence[str]) -> str:
    """The text in one line, objects with their kind: `the person <Region 1>`; no space in front of punctuation."""
    parts = [
        " and ".join(f"{objects[index]} {tags[index]}" for index in word) if isinstance(word, list) else str(word)
        for word in text
    ]
    return re.sub(r" (?=(?:[.,?!:;]|n't|'\w+)(?:\s|$))", "", " ".join(parts)).strip()


def _choice(choices: Sequence[str], label: int, where: str) -> str:
    if not 0 <= label < len(choices) or len(choices) > len(LETTERS):
        raise DataError(f"{where} is {label}; there are {len(choices)} choices, counted from 0.")
    return choices[label]
