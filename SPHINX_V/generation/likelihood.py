"""How likely a model holds each of several texts as an answer: teacher forcing over their common beginning."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile

from SPHINX_V.errors import AnswerError, UsageError
from SPHINX_V.generation.engine import Engine
from SPHINX_V.generation.prompt import check_room, prepare
from SPHINX_V.generation.weighing import Weighing
from SPHINX_V.processing.conversation import Turn, clean
from SPHINX_V.processing.processor import Processor, Question


@dataclass(frozen=True)
class Likelihood:
    """The sum of the natural log-probabilities of an answer's tokens, and their number, the stop string included."""

    total: float
    tokens: int


def likelihoods(
    engine: Engine, processor: Processor, question: Question, continuations: Iterable[str]
) -> list[Likelihood]:
    """log p(continuation | conversation, picture, marks) of every continuation as the answer to the last turn.

    What all of them have in common, picture, marks and question, is computed once, or taken from an earlier request.
    Raises UsageError for no continuation, one without text, and a sequence longer than the context; AnswerError for a
    log-probability that is not finite.
    """
    # A text is a sequence of texts, too: each of its letters would be weighed.
    if isinstance(continuations, str) or not isinstance(continuations, Iterable):
        raise UsageError(f"continuations is {continuations!r}; give a list of texts, also for a single one.")
    continuations = list(continuations)
    if not continuations:
        raise UsageError("no continuation is given; give at least one text to weigh.")
    sequences = [_sequence(processor, question.turns, text) for text in continuations]
    rows = engine.rows
    prompt = prepare(processor, question, rows.length)
    visual = len(prompt.key) - len(prompt.key.ids)
    for ids, _ in sequences:
        check_room(len(ids) - 1, visual, rows.length)
    # The ids before the first one that must be predicted and the first that differs are the common beginning.
    alike = sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, zip(*(ids for ids, _ in sequences))))
    shared = max(1, min(alike, *(places[0] for _, places in sequences)) - 1)
    common = replace(prompt, key=replace(prompt.key, ids=tuple(sequences[0][0][:shared])))
    texts = [(tuple(ids[shared:]), tuple(place - shared for place in places)) for ids, places in sequences]
    totals = engine.weigh(Weighing(common, texts))
    for text, total in zip(continuations, totals, strict=True):
        if not math.isfinite(total):
            raise AnswerError(
                f"the log-probability of {text!r} is not finite ({total}); weights or picture are damaged, or float32"
                " is needed."
            )
    return [Likelihood(total, len(places)) for total, (_, places) in zip(totals, texts, strict=True)]


def _sequence(processor: Processor, turns: Sequence[Turn], answer: str) -> tuple[list[int], list[int]]:
    """Ids of the conversation with this answer, without EOS, and the places of the answer's tokens among them."""
    if not isinstance(answer, str) or not clean(answer):
        raise UsageError(f"a continuation is {answer!r}; its likelihood needs a text.")
    encoded = processor.encode_conversation([*turns[:-1], Turn(turns[-1].question, answer)])
    end, start = encoded.answer_ends[-1], encoded.answer_ends[-2] if len(turns) > 1 else 0
    return encoded.ids[:end], [place for place in range(start, end) if encoded.labels[place]]
