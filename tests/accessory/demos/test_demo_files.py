"""Conversations as files: what the page saves is what the benchmark reads, and it opens again as it was."""

from __future__ import annotations

import base64
import io
import json

import numpy
import pytest
from PIL import Image

from accessory.eval.items import read_items
from SPHINX_V.prompts import Box
from tests.accessory.demos.browser import expect, picture
from tests.accessory.demos.studio import PATIENCE, served, studios


@pytest.fixture(scope="module")
def demo(golden_model, golden_tokenizer):
    with served(golden_model, golden_tokenizer) as demo:
        yield demo


@pytest.fixture
def open_studio(browser, demo):
    with studios(browser, demo.address) as open_one:
        yield open_one


def talk(studio):
    """Two turns about two boxes on a picture."""
    studio.open((800, 600), name="harbour.jpg")
    studio.drag((100, 80), (300, 240))
    studio.drag((420, 310), (700, 500))
    studio.set(temperature=0, max_gen_len=6)
    return [studio.ask("What is <Region 1>?"), studio.ask("And <Region 2>?")]


def test_a_saved_conversation_is_a_benchmark_file_and_opens_again(open_studio, tmp_path):
    studio = open_studio()
    said = talk(studio)
    name, data = studio.saved("Save")
    assert name == "harbour.conversation.json"
    items = json.loads(data)
    assert base64.b64decode(items[0]["picture"].partition(",")[2]) == picture(800, 600)

    (tmp_path / "harbour.jpg").write_bytes(picture(800, 600))
    (tmp_path / name).write_bytes(data)
    read = read_items(tmp_path / name, tmp_path)
    assert [item.question for item in read] == ["What is <Region 1>?", "And <Region 2>?"]
    assert [item.truth for item in read] == said
    assert read[1].prompts == (Box(100, 80, 300, 240), Box(420, 310, 700, 500))

    other = open_studio()
    other.page.locator(".sx-conversation").set_input_files(
        {"name": name, "mimeType": "application/json", "buffer": data}
    )
    assert [other.answer(1), other.answer(2)] == said
    assert other.marks() == studio.marks()
    # And the conversation goes on where it was.
    for each in (studio, other):
        each.set(temperature=0, max_gen_len=6)
    assert other.ask("Why?") == studio.ask("Why?")


@pytest.mark.slow
def test_the_marked_picture_remembers_marks_and_conversation(open_studio):
    studio = open_studio()
    said = talk(studio)
    name, data = studio.saved("Save picture")
    assert name == "harbour.marked.png"
    marked = Image.open(io.BytesIO(data))
    marked.load()
    assert marked.size == (800, 600)
    before = numpy.asarray(Image.open(io.BytesIO(picture(800, 600))).convert("RGB"), dtype=int)
    changed = numpy.abs(numpy.asarray(marked.convert("RGB"), dtype=int) - before).max(axis=2) > 40
    assert changed[80:240, 97:104].any(axis=1).all(), "the left side of box 1 is not seen all along"
    assert not changed[510:, :400].any(), "something is painted where nothing is marked"
    assert "picture" not in json.loads(marked.text["sphinx-v"])[0]

    other = open_studio()
    file = {"name": name, "mimeType": "image/png", "buffer": data}
    other.page.locator(".sx-conversation").set_input_files(file)
    expect(other.page.locator(".sx-chat-error")).to_contain_text(
        "about harbour.jpg (800 × 600 pixels)", timeout=PATIENCE
    )
    other.open((800, 600), name="harbour.jpg")
    other.page.locator(".sx-conversation").set_input_files(file)
    assert [other.answer(1), other.answer(2)] == said
    assert other.marks() == studio.marks()


@pytest.mark.parametrize(
    "data, sentence",
    [
        (b"{", "no JSON"),
        (b"[]", "no conversation of the demo"),
        (b'[{"image_name": "a.png"}]', "question"),
    ],
)
def test_other_files_are_refused_with_a_sentence(open_studio, data, sentence):
    studio = open_studio()
    file = {"name": "x.json", "mimeType": "application/json", "buffer": data}
    studio.page.locator(".sx-conversation").set_input_files(file)
    expect(studio.page.locator(".sx-chat-error")).to_contain_text(sentence, timeout=PATIENCE)


def test_markup_in_a_file_stays_text(open_studio):
    studio = open_studio()
    said = "Region 2: <img src=x onerror=\"document.title='broken in'\"><script>document.title='too'</script>"
    item = {
        "image_name": "scene.png", "question": "What <b>is</b> it?", "question_id": 1, "dataset_name": "demo",
        "gt_answers": said, "image_size": [64, 48], "visual_prompts": [{"kind": "point", "coords": [3, 4], "id": 1}],
    }  # fmt: skip
    item["picture"] = "data:image/jpeg;base64," + base64.b64encode(picture(64, 48)).decode()
    file = {"name": "x.json", "mimeType": "application/json", "buffer": json.dumps([item]).encode()}
    studio.page.locator(".sx-conversation").set_input_files(file)
    assert studio.answer(1) == said.replace("Region 2", "Region 2", 1)
    assert studio.turn(1).locator("img, b, script").count() == 0
    assert studio.turn(1).locator(".sx-text .sx-mention").inner_text() == "Region 2"
    assert studio.page.title() == "SPHINX-V"
    assert studio.marks() == [("Point", [3.0, 4.0])]
