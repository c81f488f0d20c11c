"""The likelihood of choices equals the model's own logits, read token by token."""

import pytest
import torch

from accessory.eval.likelihood import choice_likelihoods
from SPHINX_V.errors import UsageError
from SPHINX_V.prompts import Box
from SPHINX_V.sphinx_v import SPHINX_V_Model

CHOICES = ["yes", "He is waiting for the bus.", "no"]


@pytest.fixture(scope="module")
def model(golden_model, golden_tokenizer):
    return SPHINX_V_Model(golden_model, golden_tokenizer)


def by_logits(model, question, choice, prompts, image):
    """Sum over the choice's tokens of log p, one row at a time, from `SPHINX_V_Model.logits`."""
    from SPHINX_V.inputs import ModelInputs

    open_ids = model.processor.prompt_ids(_turns(question))
    encoded = model.processor.encode_conversation(_turns(question, choice))
    ids = encoded.ids[: encoded.answer_ends[-1]]
    inputs = model.processor(image, prompts, [[question, None]])
    whole = ModelInputs(torch.tensor([ids]), torch.tensor([len(ids)]), inputs.pixels, inputs.slots)
    table = model.logits(whole).log_softmax(-1)
    assert ids[: len(open_ids)] == open_ids, "the question's tokens do not depend on the answer here"
    return sum(float(table[place - 1, ids[place]]) for place in range(len(open_ids), len(ids))), len(ids) - len(
        open_ids
    )


def _turns(question, answer=None):
    from SPHINX_V.processing.conversation import Turn

    return [Turn(question, answer)]


@pytest.mark.parametrize("with_picture", [True, False])
def test_likelihoods_are_those_of_the_logits(model, golden, with_picture):
    image = golden / "image.png" if with_picture else None
    prompts = [Box(49, 139, 245, 321)] if with_picture else []
    question = f"Why is {'<Region 1>' if with_picture else 'it'} here?"
    found = choice_likelihoods(model, question, CHOICES, prompts, image)
    for choice, one in zip(CHOICES, found, strict=True):
        total, tokens = by_logits(model, question, choice, prompts, image)
        # Rows of one batch are padded to the longest; in float32 sums of about 100 then differ in the last bits.
        assert (one.total, one.tokens) == (pytest.approx(total, rel=1e-5), tokens)


def test_a_choice_without_text_and_one_that_is_too_long_are_refused(model):
    with pytest.raises(UsageError, match="needs a text"):
        choice_likelihoods(model, "Why?", ["yes", " "])
    with pytest.raises(UsageError, match="the model's context is"):
        choice_likelihoods(model, "Why?", ["word " * 20_000])
