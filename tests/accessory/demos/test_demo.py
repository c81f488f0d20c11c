"""The demo in a real browser: draw, ask, go on; what comes out is what Python gets, and nothing leaves the machine."""

from __future__ import annotations

import io
import tempfile
import time
from pathlib import Path

import pytest
from PIL import Image

from SPHINX_V.prompts import Box, Point
from tests.accessory.demos.browser import expect, picture
from tests.accessory.demos.studio import PATIENCE, served, studios

BOXES = [("Box", [100.0, 80.0, 300.0, 240.0]), ("Box", [420.0, 310.0, 700.0, 500.0])]


@pytest.fixture(scope="module")
def demo(golden_model, golden_tokenizer):
    """An untrained model: what it says is noise, but the same noise wherever it is asked."""
    with served(golden_model, golden_tokenizer) as demo:
        yield demo


@pytest.fixture
def open_studio(browser, demo):
    with studios(browser, demo.address) as open_one:
        yield open_one


def jpeg(*arguments):
    return Image.open(io.BytesIO(picture(*arguments)))


def test_two_boxes_and_a_point_are_drawn_and_asked_about_over_turns(open_studio, demo):
    on_disk = set(Path(tempfile.gettempdir(), "gradio").rglob("*"))
    studio = open_studio()
    studio.open((800, 600))
    studio.drag((100, 80), (300, 240))
    studio.drag((420, 310), (700, 500))
    assert studio.marks() == BOXES
    assert set(Path(tempfile.gettempdir(), "gradio").rglob("*")) <= on_disk, "a copy of the picture lies on the disk"
    studio.set(temperature=0, max_gen_len=12)
    first = studio.ask("What is <Region 1>?")
    marks = [Box(100, 80, 300, 240), Box(420, 310, 700, 500)]
    arguments = {"image": jpeg(800, 600), "max_gen_len": 12, "temperature": 0}
    assert first == demo.model.generate_response([["What is <Region 1>?", None]], marks, **arguments)
    assert first, "the model says nothing, so that nothing was compared"

    # A new mark in a later turn: what was said before still counts.
    studio.tool("Point")
    studio.page.mouse.click(*studio.at(50.5, 560.5))
    assert studio.marks() == [*BOXES, ("Point", [50.0, 560.0])]
    second = studio.ask("And <Mark 3>?")
    turns = [["What is <Region 1>?", first], ["And <Mark 3>?", None]]
    assert second == demo.model.generate_response(turns, [*marks, Point(50, 560)], **arguments)

    # Undone: the turn about the point is no longer part of the conversation, the one before it is.
    studio.tool("Undo")
    assert studio.marks() == BOXES
    expect(studio.page.locator(".sx-past")).to_have_count(2)
    alone = studio.ask("What is <Region 1>?")
    assert alone == first
    base = demo.address.rstrip("/")
    assert all(url.startswith((base, "data:", "blob:")) for url in studio.requests), "a request left the machine"


def test_the_buttons_ask_in_the_wording_for_regions_or_for_points(open_studio, demo):
    studio = open_studio()
    studio.open((800, 600))
    studio.set(temperature=0, max_gen_len=6)
    expect(studio.page.get_by_role("button", name="Labels")).to_have_attribute("aria-disabled", "true")
    studio.tool("Point")
    studio.page.mouse.click(*studio.at(50.5, 560.5))
    said = studio.preset("Brief")
    question = "Please provide a brief description of each marked point in the image."
    assert studio.turn(1).locator(".sx-asked").text_content() == question
    arguments = {"image": jpeg(800, 600), "max_gen_len": 6, "temperature": 0}
    assert said == demo.model.generate_response([[question, None]], [Point(50, 560)], **arguments)
    studio.tool("Box")
    studio.drag((100, 80), (300, 240))
    studio.preset("Relations")
    asked = studio.turn(2).locator(".sx-asked").text_content()
    assert asked == "Please analyze the relationship between all marked regions in the image."


@pytest.mark.slow
def test_the_last_answer_is_given_again(open_studio, demo):
    studio = open_studio()
    studio.set(temperature=0, max_gen_len=9)
    studio.ask("Say it")
    studio.set(max_gen_len=5)
    studio.turn(1).get_by_role("button", name="Again").click()
    note = "5 tokens, cut: the longest answer was reached"
    expect(studio.turn(1).locator(".sx-note")).to_have_text(note, timeout=PATIENCE)
    expected = demo.model.generate_response([["Say it", None]], max_gen_len=5, temperature=0)
    assert studio.said(1) == expected
    # Drawn at random, the same question is answered anew: with the next seed.
    studio.set(max_gen_len=6, temperature=5, top_p=1, seed=3)
    studio.turn(1).get_by_role("button", name="Again").click()
    expect(studio.turn(1).locator(".sx-note")).to_contain_text("6 tokens", timeout=PATIENCE)
    options = {"max_gen_len": 6, "temperature": 5, "top_p": 1}
    again = [demo.model.generate_response([["Say it", None]], seed=seed, **options) for seed in (3, 5)]
    assert again[0] != again[1] == studio.said(1)
    expect(studio.page.locator(".sx-turn")).to_have_count(1)


def test_two_pages_side_by_side_know_nothing_of_each_other(open_studio, demo):
    one, two = open_studio(), open_studio()
    one.open((800, 600))
    two.open((400, 300), picture(400, 300, 3))
    one.drag((100, 80), (300, 240))
    two.drag((50, 50), (350, 250))
    for studio in (one, two):
        studio.set(temperature=0, max_gen_len=8)
        studio.write("What is <Region 1>?")
    said = one.answer(1), two.answer(1)
    arguments = {"max_gen_len": 8, "temperature": 0}
    question = [["What is <Region 1>?", None]]
    assert said == (
        demo.model.generate_response(question, [Box(100, 80, 300, 240)], jpeg(800, 600), **arguments),
        demo.model.generate_response(question, [Box(50, 50, 350, 250)], jpeg(400, 300, 3), **arguments),
    )
    assert one.marks() == [BOXES[0]]
    assert two.marks() == [("Box", [50.0, 50.0, 350.0, 250.0])]


def test_what_the_server_refuses_is_said_and_changes_nothing(open_studio):
    studio = open_studio()
    studio.open((800, 600))
    studio.drag((100, 80), (300, 240))
    file = {"name": "evil.png", "mimeType": "image/png", "buffer": b"<svg onload='alert(1)'/>"}
    studio.page.locator(".sx-file").set_input_files(file)
    expect(studio.page.locator(".sx-picture-error")).to_contain_text("evil.png")
    assert studio.marks() == [BOXES[0]]
    studio.set(temperature=-1)
    studio.write("Why?")
    expect(studio.turn(1)).to_contain_text("temperature is -1")


@pytest.mark.slow
def test_a_forgotten_session_is_begun_again_without_the_reader_noticing(open_studio, demo):
    studio = open_studio()
    studio.open((800, 600))
    studio.drag((100, 80), (300, 240))
    studio.set(temperature=0, max_gen_len=4)
    said = studio.ask("What is <Region 1>?")
    demo.sessions.close_all()
    assert len(demo.sessions) == 0
    studio.turn(1).get_by_role("button", name="Again").click()
    studio.turn(1).locator(".sx-acts").wait_for(state="hidden", timeout=PATIENCE)
    assert studio.answer(1) == said


def test_a_forgotten_session_is_begun_again_for_a_question_without_a_picture(open_studio, demo):
    studio = open_studio()
    studio.set(temperature=0, max_gen_len=4)
    said = studio.ask("Why?")
    demo.sessions.close_all()
    studio.turn(1).get_by_role("button", name="Again").click()
    studio.turn(1).locator(".sx-acts").wait_for(state="hidden", timeout=PATIENCE)
    assert studio.answer(1) == said


def test_a_closed_page_leaves_nothing_behind(open_studio, demo):
    studio = open_studio()
    studio.open((800, 600))
    key, session = next(reversed(demo.sessions._all.items()))
    assert session.picture is not None
    studio.page.close()
    end = time.monotonic() + PATIENCE / 1000
    while key in demo.sessions._all and time.monotonic() < end:
        time.sleep(0.05)
    assert key not in demo.sessions._all
    assert session.picture is None
