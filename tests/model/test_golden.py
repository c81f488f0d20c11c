"""The model computes what the reference computes, and mixes batches, kinds and absent parts without a trace."""

import pytest
import torch

from SPHINX_V.inputs import ModelInputs, PromptSlots
from SPHINX_V.processing.conversation import Turn
from SPHINX_V.prompts import Box
from tests.golden_model import golden_model as load_golden_model

# Two independent implementations of the reference reached 3e-6 in float32; looser bounds let wrong epsilons through.
TOLERANCE = 1e-5
KINDS = {"boxes": "boxes_xywh_px", "points": "points_px"}


def distance(first, second):
    assert first.shape == second.shape
    return (first - second).abs().max().item()


@pytest.fixture(scope="module")
def asked(golden, golden_facts, golden_processor):
    """kind → the golden's question about its picture, as model inputs; "none" has a picture and no prompts."""
    turns = [[golden_facts["question"], None]]
    inputs = {kind: golden_processor(golden / "image.png", golden_facts[key], turns) for kind, key in KINDS.items()}
    return {**inputs, "none": golden_processor(golden / "image.png", None, turns)}


@pytest.fixture(scope="module")
def portrait(golden, golden_facts, golden_processor):
    return golden_processor(
        golden / "portrait.png", golden_facts["portrait"]["points_px"], [["What is <Mark 2>?", None]]
    )


@pytest.fixture(scope="module")
def logits(golden_model, asked):
    return {kind: golden_model(inputs)[0] for kind, inputs in asked.items()}


def test_image_tokens(golden_model, golden_tensors, asked):
    tokens = golden_model.encode_image(asked["boxes"].pixels)
    assert distance(tokens[0], golden_tensors["image_tokens"]) < TOLERANCE


@pytest.mark.parametrize("kind", KINDS)
def test_prompt_tokens(golden_model, golden_tensors, asked, kind):
    tokens = golden_model.encode_prompts(asked[kind].slots)
    assert distance(tokens, golden_tensors[f"vp_tokens_{kind}"]) < TOLERANCE


@pytest.mark.parametrize("kind", KINDS)
def test_logits(golden_tensors, logits, kind):
    assert distance(logits[kind], golden_tensors[f"logits_{kind}"]) < TOLERANCE


def test_logits_of_text_only(golden_model, golden_tensors, golden_facts, golden_processor):
    inputs = golden_processor(turns=[[golden_facts["question"], None]])
    assert inputs.pixels is None
    assert inputs.slots is None
    assert distance(golden_model(inputs)[0], golden_tensors["logits_text_only"]) < TOLERANCE


def test_a_picture_without_prompts_is_ten_invalid_box_slots(golden_model, asked, logits):
    inputs = asked["none"]
    slots = PromptSlots(
        coords=torch.zeros(1, 10, 4),
        is_point=torch.zeros(1, 10, dtype=torch.bool),
        valid=torch.zeros(1, 10, dtype=torch.bool),
    )
    by_hand = ModelInputs(inputs.token_ids, inputs.lengths, inputs.pixels, slots)
    assert torch.equal(golden_model(by_hand)[0], logits["none"])
    assert distance(logits["none"], logits["boxes"]) > 1e-3, "the marks must matter"


def test_an_invalid_box_slot_is_the_filler_through_the_encoder(golden_model, asked):
    encoder = golden_model.prompt_encoder
    # (0, 0) is shifted to (0.5, 0.5) and scaled to (0, 0): every sine is 0 and every cosine is 1.
    corner = torch.cat([torch.zeros(128), torch.ones(128)])
    box = torch.cat([corner + encoder.corner0, corner + encoder.corner1]) + encoder.box_invalid
    expected = golden_model.vp_proj(box).expand(1, 10, -1)
    assert distance(golden_model.encode_prompts(asked["none"].slots), expected) < TOLERANCE


def test_unused_slots_take_the_kind_of_the_sample(golden_model, asked):
    boxes = golden_model.encode_prompts(asked["boxes"].slots)[0, -1]
    points = golden_model.encode_prompts(asked["points"].slots)[0, -1]
    none = golden_model.encode_prompts(asked["none"].slots)[0, -1]
    assert distance(boxes, points) > 1e-2, "the kind of a filler changes the numbers"
    assert torch.equal(boxes, none), "with no marks the slots are boxes"


def test_mixed_kinds_equal_single_kinds_slot_by_slot(golden, golden_model, golden_facts, golden_processor):
    boxes, points = golden_facts["boxes_xywh_px"], golden_facts["points_px"]
    turns = [["What is there?", None]]

    def tokens(prompts):
        return golden_model.encode_prompts(golden_processor(golden / "image.png", prompts, turns).slots)[0]

    pure_boxes, pure_points = tokens(boxes), tokens(points)
    mixed = tokens([points[0], boxes[0], boxes[1], points[1], boxes[2]])
    expected = [pure_points[0], pure_boxes[0], pure_boxes[1], pure_points[1], pure_boxes[2]]
    # Rows of a matrix product may differ in the last bit with their neighbours' number.
    assert distance(mixed[:5], torch.stack(expected)) < 1e-6
    assert distance(mixed[5:], pure_points[5:].mean(0).expand(5, -1)) < 1e-6, "the first mark is a point"
    turned = tokens([boxes[0], points[0]])
    assert distance(turned[:2], torch.stack([pure_boxes[0], pure_points[0]])) < 1e-6
    assert distance(turned[2:], pure_boxes[-1].expand(8, -1)) < 1e-6, "the first mark is a box"


def test_a_box_at_the_origin_is_valid(golden_model, golden_processor):
    """The reference reads an all-zero slot as unused; a validity of its own keeps a tiny box in the corner a mark."""
    slots = golden_processor.slots([Box(0, 0, 0.1, 0.1)], (1000, 1000))
    assert slots.coords[0, 0].tolist() == [0, 0, 0, 0]
    tokens = golden_model.encode_prompts(slots)[0]
    assert distance(tokens[0], tokens[1]) > 1e-2


def test_a_batch_gives_every_row_its_own_answer(golden_model, asked, portrait, logits):
    """Pictures of two shapes, texts of two lengths, two kinds: attention never runs across the batch."""
    batch = ModelInputs.stack([portrait, asked["boxes"], asked["points"]])
    assert len(set(batch.lengths.tolist())) == 2
    together = golden_model(batch)
    for row, alone in zip(together, (golden_model(portrait)[0], logits["boxes"], logits["points"])):
        # With padding on the right, a row's logits stand at the front of the last T positions.
        assert distance(row[: len(alone)], alone) < TOLERANCE


def test_portrait_answers_depend_on_the_whole_picture(golden_model, portrait):
    tokens = golden_model.encode_image(portrait.pixels)[0]
    changed = portrait.pixels.clone()
    changed[..., -1, 224] += 1.0
    moved = (golden_model.encode_image(changed)[0] - tokens).abs().amax(dim=(1, 2)) > 1e-4
    # The last row at the middle column lies in the whole view and in the bottom-right crop only.
    assert moved.tolist() == [True, False, False, False, True]


def test_the_picture_and_the_marks_come_before_the_text(golden_model, asked, golden_facts):
    inputs, model = asked["boxes"], golden_model
    embeddings = model.embed(inputs)[0]
    text = model.llm.tok_embeddings(inputs.token_ids)[0]
    image, marks = model.encode_image(inputs.pixels)[0], model.encode_prompts(inputs.slots)[0]
    views = [piece for view in image for piece in (model.start_img[0], view, model.end_img[0])]
    expected = torch.cat([text[:1], *views, model.start_vp[0], marks, model.end_vp[0], text[1:]])
    assert distance(embeddings, expected) < TOLERANCE
    assert torch.equal(embeddings[1467], model.end_vp[0, 0]), "the first logits stand at end_vp"
    assert len(embeddings) == 1467 + len(text)


def test_greedy_first_token_of_the_reference(golden_tokenizer, golden_facts, logits):
    for kind in KINDS:
        assert golden_facts["texts"][f"greedy_{kind}"].startswith(
            golden_tokenizer.decode([int(logits[kind][-1].argmax())])
        )


def test_earlier_turns_are_part_of_the_question(golden_model, golden_processor, golden):
    """Two turns about one picture: the sequence holds the marks once and both questions."""
    turns = [Turn("What is <Region 1>?", "A cat."), Turn("Where is it?")]
    inputs = golden_processor(golden / "image.png", [[49, 139, 196, 182]], turns)
    forgotten = golden_processor(golden / "image.png", [[49, 139, 196, 182]], [turns[1]])
    assert torch.equal(inputs.slots.coords, forgotten.slots.coords)
    assert distance(golden_model(inputs)[0, -1], golden_model(forgotten)[0, -1]) > 1e-3


def test_bfloat16_stays_close_to_float32(asked, logits):
    model = load_golden_model().to(torch.bfloat16)
    rounded = model(asked["boxes"])[0].float()
    assert rounded.isfinite().all()
    # bfloat16 keeps 8 bits: a relative error of the order of 1 % over the whole vector, far from uncorrelated.
    error = (rounded - logits["boxes"]).norm() / logits["boxes"].norm()
    assert 0 < error < 0.05
