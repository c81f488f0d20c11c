"""Picture, marks and turns become the model's inputs, for inference and for training alike."""

import copy
import warnings

import numpy
import pytest
import torch
from PIL import Image

from SPHINX_V.config import tiny
from SPHINX_V.errors import DataError, PromptWarning, UsageError
from SPHINX_V.processing.conversation import Turn, as_turns
from SPHINX_V.processing.processor import IGNORE, MOST_WARNINGS, Processor
from SPHINX_V.prompts import Box, Point

PICTURE = Image.new("RGB", (100, 50), (255, 0, 0))
QUESTION = [["What is <Region 1>?", None]]


def turns_of(item):
    texts = [part["value"] for part in item["conversations"]]
    return as_turns(list(zip(texts[::2], texts[1::2])))


def learnt(processor, encoded):
    """The texts that labels teach, one per run of targets."""
    runs, run = [], []
    for label in [*encoded.labels, IGNORE]:
        if label != IGNORE:
            run.append(label)
        elif run:
            runs.append(run)
            run = []
    return [processor.tokenizer.decode(run) for run in runs]


# ---- against the reference


def test_prompt_ids_of_the_reference_exactly(golden_processor, golden_tensors, golden_facts):
    ids = golden_processor.prompt_ids(as_turns([[golden_facts["question"], None]]))
    assert ids == golden_tensors["prompt_ids"].tolist()


@pytest.mark.parametrize("number", range(4))
def test_item_ids_and_labels_of_the_reference_exactly(golden_processor, golden_tensors, golden_facts, number):
    encoded = golden_processor.encode_conversation(turns_of(golden_facts["items"][number]))
    assert encoded.ids == golden_tensors[f"item{number}_input_ids"].tolist()
    assert encoded.labels == golden_tensors[f"item{number}_labels"].tolist()


def test_inputs_of_the_golden_question(golden, golden_processor, golden_tensors, golden_facts):
    turns = [[golden_facts["question"], None]]
    inputs = golden_processor(golden / "image.png", golden_facts["boxes_xywh_px"], turns)
    assert inputs.token_ids.tolist() == [golden_tensors["prompt_ids"].tolist()]
    assert inputs.lengths.tolist() == [inputs.token_ids.shape[1]]
    assert inputs.pixels.shape == (1, 3, 448, 448)
    assert inputs.pixels.dtype == torch.float32
    assert torch.equal(inputs.slots.coords[0], golden_tensors["sparse_vp_boxes"])
    # Back from the normalised pixels to whole numbers, as the reference has them.
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(3, 1, 1)
    std = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(3, 1, 1)
    back = ((inputs.pixels[0] * std + mean) * 255).round().to(torch.uint8)
    assert torch.equal(back, golden_tensors["pixels_u8"])


# ---- labels


def test_labels_teach_every_answer_and_nothing_else(golden_processor):
    turns = as_turns([["Who?", "A cat."], ["Where?", "On the mat."], ["Why?", "It is warm."]])
    encoded = golden_processor.encode_conversation(turns)
    # Decoding takes the space in front of a text away.
    assert learnt(golden_processor, encoded) == ["A cat.\n###", "On the mat.\n###", "It is warm.\n###"]
    assert encoded.ids[0] == golden_processor.tokenizer.bos_id
    assert encoded.ids[-1] == golden_processor.tokenizer.eos_id
    assert encoded.labels[0] == encoded.labels[-1] == IGNORE
    assert len(encoded.labels) == len(encoded.ids)
    assert all(label in (IGNORE, token) for label, token in zip(encoded.labels, encoded.ids))


def test_labels_stand_at_the_answer_where_the_question_repeats_it(golden_processor):
    """Searching for the answer's tokens, as the reference does, would find them in the question."""
    encoded = golden_processor.encode_conversation(as_turns([["A cat.\n### A cat.\n###", "A cat."]]))
    assert learnt(golden_processor, encoded) == ["A cat.\n###"]
    last = max(place for place, label in enumerate(encoded.labels) if label != IGNORE)
    assert last == len(encoded.ids) - 2, "the answer ends just before EOS"


@pytest.mark.parametrize("answer", ["漢字", "é", "😀😀", "a😀", "😀a", "1 é 漢", "\ufffd"])
def test_labels_of_answers_with_bytes_for_characters(golden_processor, answer):
    encoded = golden_processor.encode_conversation(as_turns([["漢 é?", answer], ["é 😀", answer]]))
    assert learnt(golden_processor, encoded) == [f"{answer}\n###"] * 2


def test_an_answer_begins_at_the_piece_with_its_space(golden_processor):
    encoded = golden_processor.encode_conversation(as_turns([["Who?", "cat"]]))
    asked = golden_processor.prompt_ids(as_turns([["Who?", None]]))
    first = next(place for place, label in enumerate(encoded.labels) if label != IGNORE)
    assert encoded.ids[:first] == asked, "what is learnt goes on where a question ends"


def test_answer_ends_are_where_a_text_may_be_cut(golden_processor):
    turns = as_turns([["Who?", "A cat."], ["Where?", "On the mat."]])
    encoded = golden_processor.encode_conversation(turns)
    shorter = golden_processor.encode_conversation(turns[:1])
    assert encoded.answer_ends[0] == shorter.answer_ends[0] == len(shorter.ids) - 1
    assert encoded.answer_ends[1] == len(encoded.ids) - 1
    assert encoded.ids[: encoded.answer_ends[0]] == shorter.ids[:-1]
    assert encoded.labels[: encoded.answer_ends[0]] == shorter.labels[:-1]


def test_an_empty_answer_teaches_to_stop(golden_processor):
    encoded = golden_processor.encode_conversation(as_turns([["Who?", ""]]))
    assert [text.strip() for text in learnt(golden_processor, encoded)] == ["###"]


def test_every_turn_of_one_conversation_has_the_same_marks(golden_processor):
    first = golden_processor(PICTURE, [[10, 10, 20, 20]], QUESTION)
    second = golden_processor(PICTURE, [[10, 10, 20, 20]], [["What is <Region 1>?", "A cat."], ["And now?", None]])
    assert torch.equal(first.slots.coords, second.slots.coords)
    assert second.lengths > first.lengths


# ---- what users hand in


def test_arguments_are_never_changed(golden_processor):
    picture, prompts, turns = PICTURE.copy(), [[10, 10, 20, 20], [5.5, 6]], [["<image> a", "b"], ["c", None]]
    before = picture.tobytes(), copy.deepcopy(prompts), copy.deepcopy(turns)
    inputs = golden_processor(picture, prompts, turns)
    assert (picture.tobytes(), prompts, turns) == before
    again = golden_processor(picture, prompts, turns)
    assert torch.equal(inputs.slots.coords, again.slots.coords)
    assert torch.equal(inputs.token_ids, again.token_ids)


def test_pictures_may_be_files_pil_pictures_or_arrays(golden_processor, tmp_path):
    PICTURE.save(tmp_path / "a.png")
    kinds = [PICTURE, tmp_path / "a.png", str(tmp_path / "a.png"), numpy.asarray(PICTURE)]
    first, *others = [golden_processor(picture, [Box(1, 2, 3, 4)], QUESTION).pixels for picture in kinds]
    assert all(torch.equal(first, other) for other in others)


def test_marks_are_in_pixels_of_the_picture_as_displayed(golden_processor, tmp_path):
    exif = Image.Exif()
    exif[274] = 6  # turned: displayed, it is 50 wide and 100 high
    PICTURE.save(tmp_path / "a.png", exif=exif)
    inputs = golden_processor(tmp_path / "a.png", [Point(25, 100)], [["What is <Mark 1>?", None]])
    assert inputs.slots.coords[0, 0].tolist() == pytest.approx([0.5, 1.0, -1, -1])


def test_sizes_come_from_the_configuration(golden_tokenizer):
    processor = Processor(tiny(), golden_tokenizer)
    assert processor(PICTURE, None, [["Who?", None]]).pixels.shape[-1] == tiny().vision.picture_size == 128


def test_picture_without_marks_and_text_without_picture(golden_processor):
    for prompts in (None, []):
        inputs = golden_processor(PICTURE, prompts, [["What is there?", None]])
        assert inputs.slots.valid.sum() == 0
        assert golden_processor(None, prompts, [["What is there?", None]]).pixels is None


@pytest.mark.parametrize(
    ("arguments", "error", "sentence"),
    [
        (
            (None, [[1, 2]], [["<Mark 1>?", None]]),
            UsageError,
            "1 prompts are given without a picture to mark; give image=",
        ),
        ((PICTURE, [[101, 2]], [["<Mark 1>?", None]]), UsageError, "wholly outside the picture of 100×50"),
        ((PICTURE, [[1, 2]] * 11, [["<Mark 1>?", None]]), UsageError, "11 prompts given, the model has 10 slots"),
        (
            (PICTURE, [], [["Who?", "A cat."]]),
            UsageError,
            r"last turn has its answer already; add a turn \[question, None\]",
        ),
        ((PICTURE, [], []), UsageError, "the conversation is empty"),
        ((PICTURE, [], [["", None]]), UsageError, "turn 1 has no question"),
        (("nowhere.png", [], [["Who?", None]]), DataError, r"nowhere\.png: no such picture"),
        ((5, [], [["Who?", None]]), UsageError, "a picture cannot be a int"),
    ],
)
def test_refusals(golden_processor, arguments, error, sentence):
    with pytest.raises(error, match=sentence):
        golden_processor(*arguments)


def test_names_that_fit_no_mark_are_warned_of(golden_processor):
    with pytest.warns(PromptWarning, match=r"<Region 4>, but 3 prompts"):
        golden_processor(PICTURE, [[1, 2, 3, 4]] * 3, [["What is <Region 4>?", None]])
    with pytest.warns(PromptWarning, match=r"<Region 1>, not <Mark 1>"):
        golden_processor(PICTURE, [[1, 2, 3, 4]], [["What is <Mark 1>?", None]])
    with pytest.warns(PromptWarning, match="reaches outside the picture of 100×50"):
        golden_processor(PICTURE, [[90, 2, 30, 4]], QUESTION)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        golden_processor(PICTURE, [[1, 2, 3, 4]], QUESTION)


def test_a_question_hands_on_what_is_odd_and_raises_no_warning(golden_processor):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = golden_processor.question(PICTURE, [[90, 2, 30, 4]], [["What is <Region 4>?", None]])
    naming, place = found.warnings
    assert "<Region 4>, but 1 prompts" in naming
    assert "reaches outside the picture of 100×50" in place
    assert golden_processor.question(PICTURE, [[1, 2, 3, 4]], QUESTION).warnings == ()


def test_a_question_that_names_thousands_of_marks_is_warned_of_in_a_few_sentences(golden_processor):
    names = " ".join(f"<Region {number}>" for number in range(1, 3001))
    found = golden_processor.question(PICTURE, [[1, 2, 3, 4]], [[names, None]])
    assert len(found.warnings) == MOST_WARNINGS + 1
    assert found.warnings[-1] == f"{2999 - MOST_WARNINGS} more warnings of this kind are left out."


def test_an_open_turn_and_its_answer_share_their_beginning(golden_processor):
    turns = [Turn("Who?", "A cat."), Turn("Where?")]
    open_ids = golden_processor.prompt_ids(turns)
    closed = golden_processor.encode_conversation([turns[0], Turn("Where?", "There.")])
    assert closed.ids[: len(open_ids)] == open_ids
