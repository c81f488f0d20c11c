"""One object owns the geometry of picture and prompts: picture + prompts + turns → ModelInputs."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from SPHINX_V.config import SphinxVConfig
from SPHINX_V.errors import PromptWarning, UsageError
from SPHINX_V.inputs import ModelInputs, PromptSlots
from SPHINX_V.processing.conversation import Turn, as_turns, misnamed_marks, render
from SPHINX_V.processing.image import SquareFrame, normalise
from SPHINX_V.processing.slots import build_slots
from SPHINX_V.processing.square import SquarePicture, source_of, square_of
from SPHINX_V.processing.tokenizer import Tokenizer
from SPHINX_V.prompts import Prompt, as_prompts, check_prompts, overstepping

MOST_WARNINGS = 16  # of one question, which may name thousands of marks
IGNORE = 0  # label of positions that are no target; it is also <unk>, which is therefore never a target


@dataclass(frozen=True)
class EncodedConversation:
    """Token ids with BOS and EOS, and as many labels, unshifted, `IGNORE` where nothing is to be learnt.

    `answer_ends` are the positions just after each answer's last target: where a text may be cut without harm.
    """

    ids: list[int]
    labels: list[int]
    answer_ends: tuple[int, ...]


@dataclass(frozen=True)
class Question:
    """A conversation whose last turn is open, with typed marks on a picture; checked, but not yet tensors.

    `warnings` are sentences about what is legal but probably not meant. They are handed on and not raised here: who
    answers many at a time must know which question each is about.
    """

    turns: tuple[Turn, ...]
    prompts: tuple[Prompt, ...]
    picture: SquarePicture | None
    warnings: tuple[str, ...] = ()


class Processor:
    """Prepares inputs for inference and training alike, so that they cannot differ."""

    def __init__(self, config: SphinxVConfig, tokenizer: Tokenizer) -> None:
        self.config = config
        self.tokenizer = tokenizer

    def __call__(
        self, image: Any = None, prompts: Iterable[Any] | None = None, turns: Iterable[Any] = ()
    ) -> ModelInputs:
        """Inputs of one question; arguments and errors as of `question`, whose warnings are raised (PromptWarning)."""
        question = self.question(image, prompts, turns)
        for sentence in question.warnings:
            warnings.warn(sentence, PromptWarning, stacklevel=2)
        ids = torch.tensor([self.prompt_ids(question.turns)])
        lengths = torch.tensor([ids.shape[1]])
        if question.picture is None:
            return ModelInputs(ids, lengths)
        slots = self.slots(question.prompts, question.picture.size)
        return ModelInputs(ids, lengths, normalise(question.picture.pixels).unsqueeze(0), slots)

    def question(
        self,
        image: Any = None,
        prompts: Iterable[Any] | None = None,
        turns: Iterable[Any] = (),
        square: Callable[[Any], SquarePicture] | None = None,
    ) -> Question:
        """One question, read and checked.

        `image`: path, PIL image, uint8 array (see `as_picture`), or None for text only; `prompts`: typed prompts or raw
        lists in pixels of that picture; `turns`: `[[question, answer], …, [question, None]]`; `square` is used
        instead of the method of that name.
        Raises UsageError for prompts outside the picture, too many, or without a picture, and for an empty question.
        """
        conversation = as_turns(turns)
        if conversation[-1].answer is not None:
            raise UsageError(
                "the last turn has its answer already; add a turn [question, None] for the model to answer."
            )
        marks = as_prompts(prompts)
        odd = misnamed_marks(conversation, marks)
        picture = None
        if image is not None:
            picture = (square or self.square)(image)
            check_prompts(marks, *picture.size, self.config.prompts.num_slots)
            odd += overstepping(marks, *picture.size)
        elif marks:
            raise UsageError(f"{len(marks)} prompts are given without a picture to mark; give image=.")
        if len(odd) > MOST_WARNINGS:
            odd[MOST_WARNINGS:] = [f"{len(odd) - MOST_WARNINGS} more warnings of this kind are left out."]
        return Question(conversation, marks, picture, tuple(odd))

    def square(self, image: Any) -> SquarePicture:
        """A picture (see `as_picture`) padded and resized, as the model sees it but for normalising."""
        return square_of(source_of(image), self.config.vision.picture_size)

    def slots(self, prompts: Sequence[Prompt], size: tuple[int, int]) -> PromptSlots:
        """Slots [1, S, …] of prompts in pixels of a picture of `size` (width, height)."""
        return build_slots(prompts, SquareFrame(*size), self.config.prompts.num_slots)

    def prompt_ids(self, turns: Sequence[Turn]) -> list[int]:
        """Ids of an open conversation, BOS in front, no EOS."""
        return [self.tokenizer.bos_id, *self.tokenizer.encode(render(turns).text)]

    def conversation_length(self, turns: Sequence[Turn]) -> int:
        """How many ids `encode_conversation` gives, without looking for their targets."""
        return len(self.prompt_ids(turns)) + 1

    def encode_conversation(self, turns: Sequence[Turn]) -> EncodedConversation:
        """Ids and labels for training: the whole conversation tokenised once; targets are found by their offsets."""
        rendered = render(turns)
        encoded = self.tokenizer.encode_with_spans(rendered.text)
        ids = [self.tokenizer.bos_id, *encoded.ids, self.tokenizer.eos_id]
        labels = [IGNORE] * len(ids)
        ends = []
        for start, stop in rendered.targets:
            inside = [
                position
                for position, (begin, end) in enumerate(encoded.spans, start=1)
                if begin < stop and (end > start or begin >= start)
            ]
            for position in inside:
                labels[position] = ids[position]
            ends.append(inside[-1] + 1)
        return EncodedConversation(ids, labels, tuple(ends))
