"""Benchmark items: one question about marks on a picture, with the true answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from accessory.eval.files import read_json_items
from SPHINX_V.errors import DataError, UsageError
from SPHINX_V.processing.conversation import Turn
from SPHINX_V.processing.image import picture_size
from SPHINX_V.prompts import Box, Point, Prompt, as_prompt, check_prompts

OnBadItem = Literal["refuse", "unanswered"]


@dataclass(frozen=True)
class BenchmarkItem:
    """A question with its marks in pixels of the picture, and what counts as right.

    `image_name` is the picture as the benchmark names it, `picture` where it lies. `category` is the benchmark's own
    division, such as "reason". `choices` are the texts of a multiple-choice question, and `stem` is the question
    without them. `history` are the turns (question, answer) before it, as given. `fault` says why the item cannot be
    asked; it then has no marks and counts as unanswered.
    """

    question_id: int | str
    dataset: str
    picture: Path
    question: str
    truth: str
    prompts: tuple[Prompt, ...]
    image_name: str = ""
    category: str = ""
    choices: tuple[str, ...] = ()
    stem: str = ""
    history: tuple[tuple[str, str], ...] = ()
    fault: str = ""

    def __post_init__(self) -> None:
        if not self.image_name:
            object.__setattr__(self, "image_name", self.picture.name)

    @property
    def turns(self) -> tuple[Turn, ...]:
        """The conversation as the model is asked: the turns before, then the question."""
        return (*(Turn(*turn) for turn in self.history), Turn(self.question))

    @property
    def points(self) -> bool:
        return all(isinstance(prompt, Point) for prompt in self.prompts)


def read_items(path: Path, image_root: Path, on_bad_item: OnBadItem = "refuse") -> list[BenchmarkItem]:
    """The items of a benchmark file in our own form (spec of evaluation).

    Raises DataError that names file, item and field. With `on_bad_item` "unanswered", an item with a mark that cannot
    be shown to the model, or with a picture that cannot be read, is kept with its `fault` instead.
    """
    items = []
    for number, value in enumerate(read_json_items(path)):
        where = f"{path}, item {number}"
        check_fields(value, where, image_name=str, question=str, question_id=(int, str), dataset_name=str)
        check_fields(value, where, gt_answers=str)
        items.append(make_item(value, where, image_root, value["dataset_name"], on_bad_item))
    return with_unique_ids(items, path)


def make_item(
    value: Mapping[str, Any],
    where: str,
    image_root: Path,
    dataset: str,
    on_bad_item: OnBadItem,
    category: str = "",
    choices: tuple[str, ...] = (),
    stem: str = "",
) -> BenchmarkItem:
    """An item from checked fields `image_name`, `question_id`, `question` and `gt_answers`, and from `bbox` or `points`
    and `history`, which may be absent."""
    picture = image_root / value["image_name"]
    prompts: tuple[Prompt, ...] = ()
    fault = ""
    try:
        prompts = _marks(value, where)
        _check_picture(picture, prompts, where)
    except DataError as error:
        if on_bad_item == "refuse":
            raise DataError(
                f"{error} Mend the file, or set on_bad_item to unanswered: the item then counts as unanswered and is"
                " named in the report."
            ) from None
        prompts, fault = (), str(error).removeprefix(f"{where}: ")
    return BenchmarkItem(
        value["question_id"],
        dataset,
        picture,
        value["question"],
        value["gt_answers"],
        prompts,
        image_name=value["image_name"],
        category=category,
        choices=choices,
        stem=stem,
        history=_history(value, where),
        fault=fault,
    )


def check_fields(value: Any, where: str, **kinds: Any) -> None:
    """Raises DataError where `value` is no object, or a field is not of its kind."""
    if not isinstance(value, dict):
        raise DataError(f"{where}: is a {type(value).__name__}, not an object.")
    for field, kind in kinds.items():
        if not isinstance(value.get(field), kind) or isinstance(value[field], bool):
            raise DataError(f"{where}: {field} is {value.get(field)!r}; the item form needs it.")


def with_unique_ids(items: list[BenchmarkItem], path: Path) -> list[BenchmarkItem]:
    """The items; raises DataError for an id that stands twice, by which two answers would be taken for one."""
    seen: set[int | str] = set()
    for item in items:
        if item.question_id in seen:
            raise DataError(f"{path}: question_id {item.question_id} stands twice; ids must be unique within a file.")
        seen.add(item.question_id)
    return items


def _history(value: Mapping[str, Any], where: str) -> tuple[tuple[str, str], ...]:
    history = value.get("history", [])
    if not isinstance(history, list) or not all(
        isinstance(turn, list) and len(turn) == 2 and all(isinstance(text, str) and text for text in turn)
        for turn in history
    ):
        raise DataError(
            f"{where}: history is {history!r}; give the turns before the question as [[question, answer], …]."
        )
    return tuple((question, answer) for question, answer in history)


def _marks(value: Mapping[str, Any], where: str) -> tuple[Prompt, ...]:
    marks = value.get("bbox") or value.get("points") or []
    if value.get("bbox") and value.get("points"):
        raise DataError(f"{where}: has bbox and points; an item's marks are of one kind.")
    if not isinstance(marks, list):
        raise DataError(f"{where}: the marks are {marks!r}; give a list of [x, y, w, h] or of [x, y].")
    expected = Box if value.get("bbox") else Point
    try:
        prompts = tuple(as_prompt(mark, f"mark {number}") for number, mark in enumerate(marks, start=1))
    except UsageError as error:
        raise DataError(f"{where}: {error}") from None
    if any(not isinstance(prompt, expected) for prompt in prompts):
        raise DataError(f"{where}: bbox holds [x, y, w, h], points hold [x, y]; got {marks!r}.")
    return prompts


def _check_picture(picture: Path, prompts: tuple[Prompt, ...], where: str) -> None:
    """Looks at the picture's header, so that hours of answering do not end at a picture that is not there."""
    if not picture.is_file():
        raise DataError(f"{where}: picture {picture} does not exist; check the image root.")
    try:
        check_prompts(prompts, *picture_size(picture), max_prompts=len(prompts))
    except (DataError, UsageError) as error:
        raise DataError(f"{where}: {error}") from None
