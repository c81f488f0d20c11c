"""How likely a model holds each of several texts as the answer to a question: teacher forcing, one pass for all."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from SPHINX_V.errors import UsageError
from SPHINX_V.inputs import ModelInputs
from SPHINX_V.processing.conversation import Turn, clean
from SPHINX_V.processing.image import as_picture
from SPHINX_V.prompts import as_prompts
from SPHINX_V.sphinx_v import SPHINX_V_Model


@dataclass(frozen=True)
class Likelihood:
    """The sum of the log-probabilities of an answer's tokens, and how many they are, the stop string included."""

    total: float
    tokens: int


@torch.inference_mode()
def choice_likelihoods(
    model: SPHINX_V_Model,
    question: str,
    choices: Sequence[str],
    prompts: Iterable[Any] | None = None,
    image: Any = None,
) -> list[Likelihood]:
    """log p(choice | question, picture, marks) of every choice, in natural logarithms.

    The picture is encoded once for all choices. Raises UsageError for a choice without text and for a sequence longer
    than the model's context.
    """
    rows = [_row(model, question, choice) for choice in choices]
    longest = max(len(ids) for ids, _ in rows)
    visual = 0 if image is None else model.config.visual_length
    limit = model.config.llm.max_seq_len
    if longest + visual > limit:
        raise UsageError(
            f"question and choice take {longest} tokens and the picture {visual}, together {longest + visual}; the"
            f" model's context is {limit}."
        )
    inputs = ModelInputs.stack([ModelInputs(torch.tensor([ids]), torch.tensor([len(ids)])) for ids, _ in rows])
    logits = _logits(model, inputs, list(as_prompts(prompts)), image)
    found = []
    for (ids, places), row in zip(rows, logits):
        # The logits at the place before a token predict it.
        targets = torch.tensor([ids[place] for place in places], device=row.device)
        before = torch.tensor([place - 1 for place in places], device=row.device)
        chosen = row[before].float().log_softmax(-1).gather(1, targets.unsqueeze(1))
        found.append(Likelihood(float(chosen.sum(dtype=torch.float64)), len(places)))
    return found


def _row(model: SPHINX_V_Model, question: str, choice: str) -> tuple[list[int], list[int]]:
    """Ids of the conversation without EOS, and the places of the choice's tokens among them."""
    if not clean(choice):
        raise UsageError(f"a choice is {choice!r}; its likelihood needs a text.")
    encoded = model.processor.encode_conversation([Turn(question, choice)])
    end = encoded.answer_ends[-1]
    return encoded.ids[:end], [place for place in range(end) if encoded.labels[place]]


def _logits(model: SPHINX_V_Model, inputs: ModelInputs, prompts: list[Any], image: Any) -> Tensor:
    """Logits [B, T, vocab] after each text token, T counted as in `SPHINX_V_Model.logits`."""
    inputs = inputs.to(model.device)
    network = model.model
    if image is None:
        return network(inputs)
    picture = as_picture(image)
    pixels = model.processor.pixels(picture).unsqueeze(0).to(model.device)
    slots = model.processor.slots(prompts, picture.size).to(model.device)
    prefix = network.visual_prefix(network.encode_image(pixels), network.encode_prompts(slots))
    text = network.llm.tok_embeddings(inputs.token_ids)
    prefix = prefix.to(text.dtype).expand(text.shape[0], -1, -1)
    hidden = network.hidden(torch.cat([text[:, :1], prefix, text[:, 1:]], dim=1))
    return network.llm.output(hidden[:, -inputs.token_ids.shape[1] :])
