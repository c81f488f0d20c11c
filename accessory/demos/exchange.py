"""A conversation as a file: a list of benchmark items, one per question, that the page can read again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from accessory.eval.items import check_fields
from accessory.serve.marks import parse_marks
from SPHINX_V.errors import UsageError
from SPHINX_V.processing.conversation import as_turns
from SPHINX_V.prompts import Point, Prompt

DATASET = "demo"
MOST_ITEMS = 1000

Item = dict[str, Any]


def as_items(turns: Any, image_name: str, size: tuple[int, int], slots: int) -> list[Item]:
    """Turns `[{"question", "answer", "marks", "alone"}, …]` about a picture of `size` (width, height) as benchmark
    items, which `accessory.eval.items` reads.

    `gt_answers` is what the model said: correct it before it is taken for the truth. `bbox` holds boxes x, y, width,
    height around boxes and shapes, `points` the points where all marks are; marks of both kinds stand together in
    `bbox`, which the benchmark reader refuses, for it knows one kind per item. `visual_prompts` are the marks as drawn,
    and `alone` says that the question was asked without those before it. Raises UsageError for other forms.
    """
    items: list[Item] = []
    for number, (question, answer, marks, alone) in enumerate(_turns(turns), start=1):
        prompts = parse_marks(marks, size, slots)
        item: Item = {
            "image_name": image_name,
            "question": question,
            "question_id": number,
            "dataset_name": DATASET,
            "gt_answers": answer,
            "image_size": list(size),
            "visual_prompts": list(marks),
            "alone": alone,
        }
        if prompts:
            item["points" if _all_points(prompts) else "bbox"] = [_numbers(prompt) for prompt in prompts]
        items.append(item)
    return items


def from_items(values: Any, slots: int) -> dict[str, Any]:
    """`{"image_name", "image_size": [width, height], "turns": […]}` of a file that `as_items` wrote, turns as there.
    Raises DataError or UsageError with the item for another one."""
    if not isinstance(values, list) or not 1 <= len(values) <= MOST_ITEMS:
        raise UsageError("this is no conversation of the demo: give the JSON file, or the PNG, that it saved.")
    turns = []
    for number, value in enumerate(values):
        where = f"item {number}"
        check_fields(value, where, image_name=str, question=str, gt_answers=str, image_size=list, visual_prompts=list)
        same = all(value[field] == values[0][field] for field in ("image_name", "image_size"))
        width, height = _size(value["image_size"], where)
        if not same:
            raise UsageError(f"{where} is about another picture than item 0; a conversation has one.")
        parse_marks(value["visual_prompts"], (width, height), slots)
        as_turns([[value["question"], value["gt_answers"]]])
        said = {"question": value["question"], "answer": value["gt_answers"], "marks": value["visual_prompts"]}
        turns.append({**said, "alone": value.get("alone") is True})
    return {"image_name": values[0]["image_name"], "image_size": values[0]["image_size"], "turns": turns}


def _turns(values: Any) -> list[tuple[str, str, Any, bool]]:
    if not isinstance(values, list) or not 1 <= len(values) <= MOST_ITEMS:
        raise UsageError("there is nothing to save yet: ask a question first.")
    turns = []
    for number, value in enumerate(values, start=1):
        fields = ("question", "answer", "marks")
        if not isinstance(value, dict) or any(field not in value for field in fields):
            raise UsageError(f"turn {number} lacks one of {', '.join(fields)}.")
        [turn] = as_turns([[value["question"], value["answer"]]])
        turns.append((turn.question, turn.answer or "", value["marks"], value.get("alone") is True))
    return turns


def _size(value: Sequence[Any], where: str) -> tuple[int, int]:
    if len(value) != 2 or not all(isinstance(side, int) and 0 < side < 2**31 for side in value):
        raise UsageError(f"{where}: image_size is not [width, height] in pixels.")
    return value[0], value[1]


def _all_points(prompts: Sequence[Prompt]) -> bool:
    return all(isinstance(prompt, Point) for prompt in prompts)


def _numbers(prompt: Prompt) -> list[float]:
    x0, y0, x1, y1 = prompt.bounds()
    return [x0, y0] if isinstance(prompt, Point) else [x0, y0, x1 - x0, y1 - y0]
