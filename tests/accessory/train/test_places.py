"""Where losses look, in padded and in packed rows: exact small batches, and packed losses equal to unpacked ones."""

import pytest
import torch

from accessory.data.collate import NO_PIECE, Batch
from accessory.train.loss import batch_losses
from accessory.train.places import Places
from SPHINX_V.config import tiny
from SPHINX_V.inputs import ModelInputs, PromptSlots
from SPHINX_V.model.packing import Packing
from SPHINX_V.processing.processor import IGNORE
from SPHINX_V.weights.load import build_random

CONFIG = tiny().model_copy(update={"llm": tiny().llm.model_copy(update={"vocab_size": 40})})
VISUAL, SLOTS = CONFIG.visual_length, CONFIG.prompts.num_slots
SIDE = CONFIG.vision.picture_size


def a_batch(picture=True):
    """Rows of 5, 2 and 4 tokens; targets at 3 and 4, at 1, and at 2 and 3; marks in rows 0 and 2."""
    ids = torch.tensor([[1, 7, 8, 9, 2], [1, 5, 0, 0, 0], [1, 6, 3, 4, 0]])
    labels = torch.full((3, 5), IGNORE)
    labels[0, 3:], labels[1, 1], labels[2, 2:4] = ids[0, 3:], 5, ids[2, 2:4]
    noise = torch.Generator().manual_seed(0)
    slots = PromptSlots(
        torch.rand(3, SLOTS, 4, generator=noise).sort(-1).values,
        torch.zeros(3, SLOTS, dtype=torch.bool),
        torch.ones(3, SLOTS, dtype=torch.bool),
    )
    pixels = torch.randn(3, 3, SIDE, SIDE, generator=noise)
    pieces = torch.full((3, SLOTS, 2), NO_PIECE)
    if picture:
        pieces[0, 1, 0], pieces[2, 4] = 11, torch.tensor([12, 13])
    inputs = ModelInputs(ids, torch.tensor([5, 2, 4]), pixels if picture else None, slots if picture else None)
    return Batch(inputs, labels, pieces, pieces.clone(), (0, 1, 2))


def test_places_of_padded_rows():
    places = Places.of(a_batch(), CONFIG)
    row = VISUAL + 5
    # Label t is predicted one before it, behind BOS and the visual prefix.
    text = [VISUAL + 2, VISUAL + 3, row + VISUAL, 2 * row + VISUAL + 1, 2 * row + VISUAL + 2]
    assert places.predictors.tolist() == text
    assert places.targets.tolist() == [9, 2, 5, 3, 4]
    # The prefix ends with the slots and end_vp, whose place is VISUAL.
    assert places.mark_states.tolist() == [VISUAL - SLOTS + 1, 2 * row + VISUAL - SLOTS + 4]
    assert (places.label_rows.tolist(), places.label_slots.tolist()) == ([0, 2], [1, 4])
    assert (places.tokens, places.packing) == (None, None)


def test_places_of_packed_rows():
    places = Places.of(a_batch(picture=False), CONFIG, "sdpa", multiple=4)
    assert places.packing.lengths == (5, 2, 4, 1)
    assert places.packing.offsets.tolist() == [0, 5, 7, 11, 12]
    assert places.packing.positions.tolist() == [[0, 1, 2, 3, 4, 0, 1, 0, 1, 2, 3, 0]]
    assert places.tokens.tolist() == [0, 1, 2, 3, 4, 5, 6, 10, 11, 12, 13]
    assert places.predictors.tolist() == [2, 3, 5, 8, 9]
    assert places.mark_states.tolist() == []


def test_a_packed_row_holds_the_rows_without_padding():
    places = Places.of(a_batch(picture=False), CONFIG, "sdpa", multiple=4)
    embedded = torch.arange(15.0).view(3, 5, 1)
    assert places.pack(embedded).flatten().tolist() == [0, 1, 2, 3, 4, 5, 6, 10, 11, 12, 13, 0]
    assert Places.of(a_batch(picture=False), CONFIG, "sdpa", multiple=1).pack(embedded).shape == (1, 11, 1)


@pytest.fixture(scope="module")
def model():
    return build_random(CONFIG, seed=1)


def losses_and_gradients(model, batch, *packed):
    model.zero_grad()
    losses = batch_losses(model, batch, Places.of(batch, CONFIG, *packed), marks=True, patches=True)
    losses.sum().backward()
    gradients = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    return losses.detach(), gradients


@pytest.mark.parametrize("picture", [True, False])
@pytest.mark.parametrize("multiple", [1, 64])
def test_packed_losses_and_gradients_equal_unpacked_ones(model, picture, multiple):
    batch = a_batch(picture)
    expected, gradients = losses_and_gradients(model, batch)
    losses, packed = losses_and_gradients(model, batch, "sdpa", multiple)
    assert losses.tolist() == pytest.approx(expected.tolist(), rel=1e-6)
    assert (losses > 0).tolist() == [True, picture, picture]
    assert packed.keys() == gradients.keys()
    for name, gradient in gradients.items():
        scale = gradient.abs().max().clamp_min(1e-6)
        assert (packed[name] - gradient).abs().max() <= 1e-5 * scale + 1e-7, name


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_flex_attends_as_sdpa_does():
    """Forward only: torch has no backward of it on the CPU."""
    noise = torch.Generator().manual_seed(0)
    rows = [torch.randn(1, heads, 12, 16, generator=noise) for heads in (4, 2, 2)]
    sdpa, flex = (Packing.of([5, 1, 6], torch.device("cpu"), kernel).attend(*rows) for kernel in ("sdpa", "flex"))
    assert torch.allclose(sdpa, flex, atol=1e-6)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="kernels for CUDA")
@pytest.mark.parametrize("kernel", ["varlen", "flash", "flex"])
def test_kernels_on_a_gpu_equal_sdpa(kernel):
    if kernel == "flash":
        pytest.importorskip("flash_attn")
    device = torch.device("cuda")
    rows = [torch.randn(1, heads, 300, 64, device=device, dtype=torch.bfloat16) for heads in (4, 2, 2)]
    results = [Packing.of([100, 1, 199], device, which).attend(*rows) for which in ("sdpa", kernel)]
    assert torch.allclose(*results, atol=2e-2)
