"""SAM behind the marks: the same masks as transformers' own pipeline gives, each picture embedded once."""

from __future__ import annotations

from pathlib import Path
from threading import Thread
from typing import Any

import numpy
import pytest
import torch
from PIL import Image

from accessory.demos.segmenter import Segmenter, load_segmenter
from SPHINX_V.errors import CheckpointError, DataError, UsageError
from SPHINX_V.prompts import Box, Mask, Point, Scribble
from tests.accessory.demos import tiny_sam

pytest.importorskip("transformers", reason="transformers is not installed: pip install -e '.[test]'")

SIDE = tiny_sam.TINY.grid * tiny_sam.TINY.patch


@pytest.fixture(scope="module")
def model() -> Any:
    return tiny_sam.tiny_sam(seed=3)


@pytest.fixture
def segmenter(model: Any) -> Segmenter:
    return Segmenter(model)


def picture_of(width: int, height: int, seed: int = 0) -> Image.Image:
    """Large smooth blots, so that masks have shapes."""
    rng = numpy.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=numpy.uint8))
    return small.resize((width, height), Image.Resampling.BICUBIC)


def by_transformers(model: Any, picture: Image.Image, **asked: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Masks [N, M, H, W] and scores [N, M] by SamProcessor on its PIL backend, SamModel, and its post-processing."""
    from transformers import SamProcessor
    from transformers.models.sam.image_processing_pil_sam import SamImageProcessorPil

    square = {"height": SIDE, "width": SIDE}
    processor = SamProcessor(SamImageProcessorPil(size={"longest_edge": SIDE}, pad_size=square))
    inputs = processor(picture, return_tensors="pt", **asked)
    several = inputs.pop("input_points", None)
    sizes = inputs.pop("original_sizes"), inputs.pop("reshaped_input_sizes")
    if several is not None:
        inputs["input_points"] = several.float()
    if "input_boxes" in inputs:
        inputs["input_boxes"] = inputs["input_boxes"].float()
    one_point = several is not None and several.shape[2] == 1
    with torch.no_grad():
        answer = model(**inputs, multimask_output=one_point)
    masks = processor.post_process_masks(answer.pred_masks, *sizes, pad_size=square)
    return masks[0], answer.iou_scores[0]


def assert_same(mask: Mask | None, expected: torch.Tensor) -> None:
    """At most one pixel in a thousand differs: those whose logit is zero but for rounding."""
    found = numpy.zeros(expected.shape, dtype=bool) if mask is None else mask.array
    assert found.shape == tuple(expected.shape)
    assert (found != expected.numpy()).mean() <= 0.001


@pytest.mark.parametrize("size", [(90, 120), (120, 90), (64, 64), (33, 257), (500, 301)])
def test_masks_are_those_of_transformers_pipeline_in_pixels_of_the_picture(
    segmenter: Segmenter, model: Any, size: tuple[int, int]
) -> None:
    picture, (width, height) = picture_of(*size), size
    points = [[width * 0.25, height * 0.5], [width * 0.8, height * 0.1]]
    boxes = [[1.0, 2.0, width * 0.5, height * 0.75], [0.0, 0.0, float(width), float(height)]]
    stroke = [[width * (0.1 + 0.1 * step), height * 0.5] for step in range(8)]
    marks = [Point(*points[0]), Box(*boxes[0]), Scribble((tuple(stroke[0]), tuple(stroke[-1]))), Box(*boxes[1])]
    found = segmenter.masks(picture, [*marks, Point(*points[1])])

    several, scores = by_transformers(model, picture, input_points=[[[point] for point in points]])
    assert scores.shape == (2, 3)
    assert_same(found[0], several[0, scores[0].argmax()])
    assert_same(found[4], several[1, scores[1].argmax()])
    single, _ = by_transformers(model, picture, input_boxes=[boxes])
    assert_same(found[1], single[0, 0])
    assert_same(found[3], single[1, 0])
    along, _ = by_transformers(model, picture, input_points=[[stroke]], input_labels=[[[1] * 8]])
    assert_same(found[2], along[0, 0])
    # Masks that are everything or nothing would be the same for any code.
    shares = [mask.array.mean() for mask in found if mask is not None]
    assert any(0.02 < share < 0.98 for share in shares)


@pytest.mark.parametrize("size", [(90, 120), (120, 90), (257, 33), (3, 2), (1, 1)])
def test_the_model_sees_what_transformers_processor_makes(
    segmenter: Segmenter, model: Any, size: tuple[int, int]
) -> None:
    from transformers.models.sam.image_processing_pil_sam import SamImageProcessorPil

    picture, seen = picture_of(*size), []
    hook = model.vision_encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    segmenter.masks(picture, [Point(0, 0)])
    hook.remove()
    processor = SamImageProcessorPil(size={"longest_edge": SIDE}, pad_size={"height": SIDE, "width": SIDE})
    expected = processor(picture, return_tensors="pt", input_data_format="channels_last")["pixel_values"]
    # Both are float32 with values up to 2.7.
    torch.testing.assert_close(seen[0], expected, rtol=0, atol=1e-6)


def test_the_mean_picture_is_nearly_zero_and_padding_is_zero(segmenter: Segmenter, model: Any) -> None:
    """By hand: (124 / 255 − 0.485) / 0.229 = 0.0056, (116 / 255 − 0.456) / 0.224 = −0.0049, (104 / 255 − 0.406) /
    0.225 = 0.0082."""
    seen: list[torch.Tensor] = []
    hook = model.vision_encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    segmenter.masks(Image.new("RGB", (100, 50), (124, 116, 104)), [Point(1, 1)])
    hook.remove()
    assert seen[0].shape == (1, 3, SIDE, SIDE)
    assert seen[0][0, :, 31, 63].tolist() == pytest.approx([0.00557, -0.00490, 0.00819], abs=1e-5)
    assert not seen[0][0, :, 32:].any()


def test_a_picture_is_embedded_once_whatever_is_asked(segmenter: Segmenter, model: Any) -> None:
    calls: list[int] = []
    hook = model.vision_encoder.register_forward_hook(lambda *_: calls.append(1))
    picture = picture_of(80, 60)
    first = segmenter.masks(picture, [Point(10, 10), Box(1, 1, 40, 40)])
    again = segmenter.masks(picture.copy(), [Point(10, 10)])
    assert len(calls) == 1
    assert first[0] is not None
    assert again[0] is not None
    assert (first[0].array == again[0].array).all()
    segmenter.masks(picture_of(80, 60, seed=1), [Point(10, 10)])
    assert len(calls) == 2
    # The same bytes in other rows are another picture.
    flat = Image.frombytes("RGB", (60, 80), picture.tobytes())
    segmenter.masks(flat, [Point(10, 10)])
    assert len(calls) == 3
    hook.remove()


def test_the_embedding_that_was_asked_for_longest_ago_goes_first(model: Any) -> None:
    calls: list[int] = []
    hook = model.vision_encoder.register_forward_hook(lambda *_: calls.append(1))
    # An embedding is 16 × 8 × 8 numbers of 4 bytes: there is room for two.
    segmenter = Segmenter(model, remember_bytes=2 * 4096)
    one, two, three = (picture_of(64, 64, seed) for seed in range(3))
    for picture in (one, two, one, three):
        segmenter.masks(picture, [Point(1, 1)])
    assert len(calls) == 3
    segmenter.masks(one, [Point(1, 1)])
    assert len(calls) == 3
    segmenter.masks(two, [Point(1, 1)])
    assert len(calls) == 4
    hook.remove()


def test_marks_of_one_kind_share_calls_of_the_decoder(segmenter: Segmenter, model: Any) -> None:
    sizes: list[int] = []
    hook = model.mask_decoder.register_forward_hook(lambda *call: sizes.append(call[-1][0].shape[1]))
    picture = picture_of(80, 60)
    marks = [Point(n, n) for n in range(10)]
    together = segmenter.masks(picture, [*marks, Box(1, 1, 30, 30), Box(5, 5, 30, 50)])
    hook.remove()
    assert sizes == [8, 2, 2]
    for mark, mask in zip(marks, together):
        [alone] = segmenter.masks(picture, [mark])
        expected = numpy.zeros((60, 80), dtype=bool) if alone is None else alone.array
        assert_same(mask, torch.tensor(expected))


def test_nothing_is_computed_without_marks_or_for_masks(segmenter: Segmenter, model: Any) -> None:
    calls: list[int] = []
    hook = model.vision_encoder.register_forward_hook(lambda *_: calls.append(1))
    picture = picture_of(20, 10)
    given = Mask(numpy.eye(10, 20))
    assert segmenter.masks(picture, []) == []
    assert segmenter.masks(picture, [given]) == [given]
    hook.remove()
    assert calls == []


def test_a_closed_stroke_asks_as_its_box_and_a_dot_as_a_point(segmenter: Segmenter) -> None:
    picture = picture_of(100, 80)
    turn = numpy.linspace(0, 2 * numpy.pi, 40)
    circle = Scribble(tuple(zip(50 + 20 * numpy.cos(turn), 40 + 20 * numpy.sin(turn))))
    found = segmenter.masks(picture, [circle, Box(*circle.bounds()), Scribble(((7, 9), (7, 9))), Point(7, 9)])
    for one, other in ((found[0], found[1]), (found[2], found[3])):
        assert (one is None) == (other is None)
        assert one is None or other is None or (one.array == other.array).all()
    # So that there is something to compare.
    assert any(mask is not None for mask in found)


def test_an_empty_mask_is_none_in_its_place() -> None:
    model = tiny_sam.tiny_sam(seed=3)
    with torch.no_grad():
        for perceptron in model.mask_decoder.output_hypernetworks_mlps:
            perceptron.proj_out.weight.zero_()
            perceptron.proj_out.bias.zero_()
    given = Mask(numpy.ones((30, 40)))
    assert Segmenter(model).masks(picture_of(40, 30), [Point(1, 1), given, Box(0, 0, 9, 9)]) == [None, given, None]


def test_results_that_are_not_finite_are_named() -> None:
    model = tiny_sam.tiny_sam(seed=3)
    with torch.no_grad():
        model.mask_decoder.iou_token.weight.fill_(float("nan"))
    with pytest.raises(CheckpointError, match=r"small\.pth: SAM's masks are not finite; .*copy it again"):
        Segmenter(model, name="small.pth").masks(picture_of(40, 30), [Point(1, 1)])


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (2000, 1), (4000, 3000)])
def test_tiny_thin_and_big_pictures_get_masks_of_their_size(segmenter: Segmenter, size: tuple[int, int]) -> None:
    width, height = size
    found = segmenter.masks(picture_of(width, height), [Point(0, 0), Box(0, 0, width, height)])
    assert all(mask is None or mask.array.shape == (height, width) for mask in found)
    assert any(mask is not None for mask in found)


def test_a_picture_on_its_side_is_taken_as_displayed(segmenter: Segmenter, tmp_path: Path) -> None:
    upright = picture_of(40, 60)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90° to be seen upright
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)
    marks = [Point(30, 50), Box(2, 3, 30, 50)]
    with Image.open(tmp_path / "turned.png") as turned:
        assert turned.size == (60, 40)
        found = segmenter.masks(turned, marks)
    for mask, expected in zip(found, segmenter.masks(upright, marks)):
        assert mask is not None
        assert expected is not None
        assert (mask.array == expected.array).all()


def test_marks_that_are_not_of_the_picture_are_refused(segmenter: Segmenter) -> None:
    with pytest.raises(UsageError, match=r"prompt 2 .* outside the picture of 40×30"):
        segmenter.masks(picture_of(40, 30), [Point(1, 1), Point(400, 1)])
    with pytest.raises(UsageError, match=r"the mask is 5×5"):
        segmenter.masks(picture_of(40, 30), [Mask(numpy.ones((5, 5)))])
    with pytest.raises(DataError, match=r"empty picture"):
        segmenter.masks(Image.new("RGB", (0, 5)), [Point(0, 0)])


def test_threads_that_ask_at_once_get_their_own_answers_and_embed_once(segmenter: Segmenter, model: Any) -> None:
    pictures = [picture_of(64, 48, seed) for seed in range(2)]
    expected = [Segmenter(model).masks(picture, [Point(9, 9), Box(1, 1, 40, 40)]) for picture in pictures]
    calls: list[int] = []
    hook = model.vision_encoder.register_forward_hook(lambda *_: calls.append(1))
    answers: dict[int, list[Mask | None]] = {}

    def ask(number: int) -> None:
        answers[number] = segmenter.masks(pictures[number % 2], [Point(9, 9), Box(1, 1, 40, 40)])

    threads = [Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    hook.remove()
    assert len(calls) == 2
    assert sorted(answers) == list(range(8))
    for number, masks in answers.items():
        for mask, same in zip(masks, expected[number % 2]):
            assert mask is not None
            assert same is not None
            assert (mask.array == same.array).all()


def test_it_is_loaded_from_both_forms(tmp_path: Path) -> None:
    picture, marks = picture_of(50, 70), [Point(20, 30), Box(4, 4, 40, 60)]
    folder = load_segmenter(tiny_sam.save_folder(tmp_path / "sam", seed=3), device="cpu")
    file = load_segmenter(str(tiny_sam.save_original(tmp_path / "sam.pth", seed=3)), device="cpu")
    assert file.name == str(tmp_path / "sam.pth")
    assert file.device == torch.device("cpu")
    assert (
        file.parameters
        == folder.parameters
        == sum(torch.Size(shape).numel() for shape in tiny_sam.original_shapes().values())
    )
    for one, other in zip(folder.masks(picture, marks), file.masks(picture, marks)):
        assert one is not None
        assert other is not None
        assert (one.array == other.array).all()
