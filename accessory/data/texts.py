"""The text of an item as training sees it: whole turns that fit, token ids, targets, and what is said of each mark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from accessory.data.annotation import Annotation
from accessory.data.labels import parse_labels, parse_relations
from SPHINX_V.processing.conversation import Turn
from SPHINX_V.processing.processor import Processor
from SPHINX_V.prompts import is_point


@dataclass(frozen=True)
class Text:
    """Token ids, labels and the pieces of marks, all as in `Sample`."""

    ids: list[int]
    labels: list[int]
    slot_pieces: tuple[tuple[int, ...], ...]
    label_pieces: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Fit:
    """How much of a conversation is trained on: its first `turns` turns, which take `length` tokens."""

    turns: int
    length: int


def fit_turns(turns: Sequence[Turn], room: int, processor: Processor) -> Fit | None:
    """As many whole turns as `room` tokens hold; None where not even the first answer fits.

    The reference cuts anywhere, so that the end of an answer is missing and nothing says so. A conversation that ends
    after an earlier answer is one that the model will meet.
    """
    length = processor.conversation_length(turns)
    if length <= room:
        return Fit(len(turns), length)
    fitting, least, most = None, 1, len(turns) - 1
    while least <= most:
        count = (least + most + 1) // 2
        length = processor.conversation_length(turns[:count])
        if length <= room:
            fitting, least = Fit(count, length), count + 1
        else:
            most = count - 1
    return fitting


def encode_text(annotation: Annotation, turns: int, processor: Processor) -> Text:
    """The first `turns` turns of an item."""
    kept = annotation.turns[:turns]
    encoded = processor.encode_conversation(kept)
    labels: dict[int, str] = {}
    said: dict[int, str] = {}
    for turn in kept:
        labels.update(parse_labels(turn.answer or ""))
        said.update(parse_relations(turn.answer or ""))
    said.update(labels)
    marks = range(1, len(annotation.prompts) + 1)
    names = [f"<{'Mark' if is_point(prompt) else 'Region'} {mark}>" for mark, prompt in zip(marks, annotation.prompts)]
    slots = tuple(
        _pieces(f"{name} {said[mark]}", processor) if mark in said else () for mark, name in zip(marks, names)
    )
    return Text(encoded.ids, encoded.labels, slots, tuple(_pieces(labels.get(mark, ""), processor) for mark in marks))


def _pieces(text: str, processor: Processor) -> tuple[int, ...]:
    """Ids of a text's pieces, without those that are nothing but a space."""
    tokenizer = processor.tokenizer
    return tuple(piece for piece in tokenizer.encode(text) if not tokenizer.is_blank(piece))
