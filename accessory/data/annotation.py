"""One item of an annotation file → Annotation: typed, checked, the item itself untouched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from SPHINX_V.errors import DataError, UsageError
from SPHINX_V.processing.conversation import Turn, as_turns, clean
from SPHINX_V.prompts import Box, Point, Prompt, as_prompt

_HUMAN = ("human",)
_ASSISTANT = ("gpt", "assistant")


@dataclass(frozen=True)
class Annotation:
    """A conversation about marked places: picture path (as written, None for text only), prompts in pixels, turns."""

    image: str | None
    prompts: tuple[Prompt, ...]
    turns: tuple[Turn, ...]


def parse_annotation(item: Any, where: str, max_prompts: int) -> Annotation:
    """Reads one item (form: spec of annotations); raises DataError that names `where`, the field and the fault."""
    if not isinstance(item, Mapping):
        raise DataError(f"{where}: the item is a {type(item).__name__}, not an object with conversations.")
    image = item.get("image")
    if image is not None and (not isinstance(image, str) or not image):
        raise DataError(f"{where}: image is {image!r}; give a path, or leave it out for text only.")
    prompts = _prompts(item, where, max_prompts)
    if prompts and image is None:
        raise DataError(f"{where}: {len(prompts)} marks but no image; marks need a picture.")
    return Annotation(image, prompts, _turns(item.get("conversations"), where))


def _prompts(item: Mapping[str, Any], where: str, max_prompts: int) -> tuple[Prompt, ...]:
    boxes, points = _marks(item, "bbox", where), _marks(item, "points", where)
    if boxes and points:
        raise DataError(
            f"{where}: has both bbox ({len(boxes)}) and points ({len(points)}); their order in the answer would be"
            " unknown. Split it into two items."
        )
    field, values, kind = ("bbox", boxes, Box) if boxes else ("points", points, Point)
    if len(values) > max_prompts:
        raise DataError(f"{where}: {len(values)} marks in {field}, the model has {max_prompts} slots; split the item.")
    prompts = []
    for number, value in enumerate(values, start=1):
        try:
            prompt = as_prompt(value, f"{field}[{number - 1}]")
        except UsageError as error:
            raise DataError(f"{where}: {error}") from None
        if not isinstance(prompt, kind):
            raise DataError(f"{where}: {field}[{number - 1}] is {value!r}; {field} holds {_form(field)}.")
        prompts.append(prompt)
    return tuple(prompts)


def _marks(item: Mapping[str, Any], field: str, where: str) -> list[Any]:
    values = item.get(field)
    if values is None:
        return []
    if not isinstance(values, list):
        raise DataError(f"{where}: {field} is {values!r}; give a list of marks.")
    return values


def _form(field: str) -> str:
    return "[x, y, width, height] in pixels" if field == "bbox" else "[x, y] in pixels"


def _turns(conversation: Any, where: str) -> tuple[Turn, ...]:
    if not isinstance(conversation, list) or not conversation:
        raise DataError(f"{where}: conversations is {conversation!r}; give a list that starts with a human turn.")
    if len(conversation) % 2:
        raise DataError(f"{where}: conversations has {len(conversation)} entries; each human turn needs one answer.")
    texts = []
    for number, entry in enumerate(conversation):
        speakers = _ASSISTANT if number % 2 else _HUMAN
        if not isinstance(entry, Mapping) or entry.get("from") not in speakers:
            said = entry.get("from") if isinstance(entry, Mapping) else entry
            raise DataError(f"{where}: conversations[{number}] is from {said!r}; expected {' or '.join(speakers)}.")
        if not isinstance(entry.get("value"), str):
            raise DataError(f"{where}: conversations[{number}].value is {entry.get('value')!r}; give a text.")
        if number % 2 and not clean(entry["value"]):
            raise DataError(f"{where}: conversations[{number}].value is {entry['value']!r}; an answer needs words.")
        texts.append(entry["value"])
    try:
        return as_turns(list(zip(texts[::2], texts[1::2])))
    except UsageError as error:
        raise DataError(f"{where}: {error}") from None
