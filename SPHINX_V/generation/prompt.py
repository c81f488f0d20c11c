"""A question → what the engine needs of it: ids, slots and the picture's pixels, with keys that tell what is shared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from SPHINX_V.errors import UsageError
from SPHINX_V.generation.prefix import PromptKey
from SPHINX_V.inputs import PromptSlots
from SPHINX_V.processing.conversation import Turn
from SPHINX_V.processing.processor import Processor, Question
from SPHINX_V.processing.square import digest


@dataclass(frozen=True)
class PreparedPrompt:
    """`square` [3, H, H] uint8 is the padded picture, None for text only; `slots` [1, S, …] goes with it;
    `warnings` are those of the question."""

    key: PromptKey
    square: Tensor | None = None
    slots: PromptSlots | None = None
    warnings: tuple[str, ...] = ()


def prepare(processor: Processor, question: Question, context: int, overflow: str = "refuse") -> PreparedPrompt:
    """Everything of a question that needs no model. `context` is how many positions question and answer may take.

    Raises UsageError, with the numbers, where the question leaves no room for an answer. With `overflow` "drop_turns"
    the oldest whole turns are left out until it does.
    """
    config = processor.config
    visual = 0 if question.picture is None else config.visual_length
    turns: Sequence[Turn] = question.turns
    ids = processor.prompt_ids(turns)
    while overflow == "drop_turns" and len(turns) > 1 and visual + len(ids) >= context:
        turns = turns[1:]
        ids = processor.prompt_ids(turns)
    check_room(len(ids), visual, context)
    if question.picture is None:
        return PreparedPrompt(PromptKey(tuple(ids)), warnings=question.warnings)
    slots = processor.slots(question.prompts, question.picture.size)
    key = PromptKey(
        ids=tuple(ids),
        picture=question.picture.key,
        marks=digest(*(part.numpy() for part in (slots.coords, slots.is_point, slots.valid))),
        image_length=config.image_length,
        marks_length=visual - config.image_length,
    )
    return PreparedPrompt(key, question.picture.pixels, slots, question.warnings)


def check_room(text: int, visual: int, context: int) -> None:
    """Raises UsageError where a question of `text` tokens and `visual` ones before them leaves no room for an answer in
    `context` positions."""
    if visual + text >= context:
        raise UsageError(
            f"the question takes {text} tokens and the picture with its marks {visual}, together"
            f" {visual + text}; the model's context is {context} and the answer needs room too."
            f" Shorten the conversation by at least {visual + text - context + 1} tokens."
        )
