"""Masks on the page, with a tiny SAM of random weights: shown in the colour of their mark, and made the mark itself."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from accessory.demos.mask_shapes import mask_outline
from SPHINX_V.prompts import Box
from tests.accessory.demos.browser import expect, picture
from tests.accessory.demos.studio import PATIENCE, Studio, served
from tests.accessory.demos.tiny_sam import save_folder

pytest.importorskip("transformers", reason="transformers is not installed: pip install -e '.[test]'")


@pytest.fixture(scope="module")
def demo(golden_model, golden_tokenizer, tmp_path_factory):
    from accessory.demos.segmenter import load_segmenter

    segmenter = load_segmenter(save_folder(tmp_path_factory.mktemp("sam")), "cpu")
    with served(golden_model, golden_tokenizer, segmenter=segmenter) as demo:
        demo.segmenter = segmenter
        yield demo


@pytest.mark.slow
def test_a_mask_is_shown_and_becomes_the_mark(browser, demo):
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    studio = Studio(context, demo.address)
    studio.open((800, 600))
    studio.drag((100, 80), (300, 240))
    taker = studio.page.get_by_role("button", name="Use the mask of mark 1 as the mark")
    taker.wait_for(timeout=PATIENCE)

    [mask] = demo.segmenter.masks(Image.open(io.BytesIO(picture(800, 600))), [Box(100, 80, 300, 240)])
    y, x = (int(line[len(line) // 2]) for line in mask.array.nonzero())  # somewhere in the mask

    def painted():
        studio.page.wait_for_timeout(100)
        u, v = studio.at(x + 0.5, y + 0.5)
        return studio.stage.locator("canvas").nth(1).evaluate(
            "(e, [u, v]) => { const r = e.getBoundingClientRect(), s = e.width / r.width;"
            " return e.getContext('2d').getImageData((u - r.left) * s, (v - r.top) * s, 1, 1).data[3] > 0 }",
            [u, v],
        )  # fmt: skip

    studio.page.mouse.move(5, 5)
    assert painted()
    shown = studio.page.get_by_label("Show masks")
    shown.uncheck()
    assert not painted()
    shown.check()
    taker.click()
    [(kind, _)] = studio.marks()
    assert kind == "Lasso"
    xs, ys = zip(*mask_outline(mask))
    assert studio.marks() == [("Lasso", [min(xs), min(ys), max(xs), max(ys)])]
    expect(taker).to_have_count(0)
    # The model is asked about it as about any other region.
    studio.set(temperature=0, max_gen_len=6)
    said = studio.ask("What is <Region 1>?")
    arguments = {"image": Image.open(io.BytesIO(picture(800, 600))), "max_gen_len": 6, "temperature": 0}
    box = Box(min(xs), min(ys), max(xs), max(ys))
    assert said == demo.model.generate_response([["What is <Region 1>?", None]], [box], **arguments)
    assert studio.errors == []
    context.close()
