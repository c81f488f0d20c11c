"""The likelihood of continuations equals the model's own logits, read token by token."""

import copy

import pytest
import torch

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
    found = model.score([[question, None]], CHOICES, prompts, image)
    for choice, one in zip(CHOICES, found, strict=True):
        total, tokens = by_logits(model, question, choice, prompts, image)
        # Rows of one batch are padded to the longest; in float32 sums of about 100 then differ in the last bits.
        assert (one.total, one.tokens) == (pytest.approx(total, rel=1e-5), tokens)


def test_ids_beyond_the_tokenizer_take_no_probability(model):
    """Answers are never drawn from the padding of a vocabulary, so its weight must not count, whatever it is."""
    padded, pieces = copy.deepcopy(model.model), model.tokenizer.vocab_size
    padded.llm.output = torch.nn.Linear(padded.config.llm.dim, pieces + 32, bias=False)
    with torch.no_grad():
        padded.llm.output.weight[:pieces] = model.model.llm.output.weight
        padded.llm.output.weight[pieces:] = 50 * model.model.llm.output.weight[:32]
    expected = [one.total for one in model.score([["Why?", None]], CHOICES)]
    found = SPHINX_V_Model(padded, model.tokenizer).score([["Why?", None]], (choice for choice in CHOICES))
    assert [one.total for one in found] == pytest.approx(expected, rel=1e-6)


def test_the_shared_beginning_is_computed_once(model, golden):
    model.engine.forget()
    before = model.engine.stats()
    first = model.score([["What is it?", None]], CHOICES, None, golden / "image.png")
    again = model.score([["What is it?", None]], CHOICES[::-1], None, golden / "image.png")
    after = model.engine.stats()
    assert after.picture_misses - before.picture_misses == 1
    assert [one.total for one in again] == pytest.approx([one.total for one in reversed(first)], rel=1e-6)


def test_earlier_turns_are_part_of_the_question_and_not_weighed(model):
    turns = [["Is it red?", "yes"], ["Sure?", None]]
    (found,) = model.score(turns, ["no"])
    open_ids = model.processor.prompt_ids([_turns("Is it red?", "yes")[0], _turns("Sure?")[0]])
    assert found.tokens == len(model.tokenizer.encode(" Assistant: no\n###")) - len(
        model.tokenizer.encode(" Assistant:")
    )
    assert found.total == pytest.approx(_by_ids(model, open_ids, "no"), rel=1e-5)


def _by_ids(model, ids, text):
    from SPHINX_V.inputs import ModelInputs

    new = model.tokenizer.encode(f" Assistant: {text}\n###")[len(model.tokenizer.encode(" Assistant:")) :]
    whole = torch.tensor([[*ids, *new]])
    table = model.logits(ModelInputs(whole, torch.tensor([whole.shape[1]]))).log_softmax(-1)
    return sum(float(table[len(ids) + place - 1, token]) for place, token in enumerate(new))


def test_a_choice_without_text_none_at_all_and_one_that_is_too_long_are_refused(model):
    with pytest.raises(UsageError, match="needs a text"):
        model.score([["Why?", None]], ["yes", " "])
    with pytest.raises(UsageError, match="no continuation"):
        model.score([["Why?", None]], [])
    with pytest.raises(UsageError, match="continuations is 'yes'; give a list of texts"):
        model.score([["Why?", None]], "yes")
    with pytest.raises(UsageError, match="the model's context is"):
        model.score([["Why?", None]], ["word " * 20_000])
