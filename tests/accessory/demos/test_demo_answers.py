"""What happens to answers while they are written and later, on a model that says what it is told and can be held."""

from __future__ import annotations

import re
import threading

import pytest

from SPHINX_V.generation.options import EngineOptions
from tests.accessory.demos.browser import expect
from tests.accessory.demos.studio import PATIENCE, served, studios
from tests.generation.chain_model import chain_model

SAID = "<Mark 2> big"  # 8 tokens, then "ig" without end


class Gate:
    """Lets `tokens` more tokens through, then holds the model until `open`."""

    def __init__(self, model):
        self.left, self.free = 0, threading.Event()
        self.free.set()
        model.llm.output.register_forward_pre_hook(self.pass_by)

    def close(self, tokens):
        self.left = tokens
        self.free.clear()

    def open(self):
        self.free.set()

    def pass_by(self, *_):
        if not self.free.is_set():
            if self.left == 0:
                self.free.wait()
            else:
                self.left -= 1


@pytest.fixture(scope="module")
def talker(golden_tokenizer):
    """(demo, gate); one row only, so that a second question waits."""
    before = golden_tokenizer.encode(" Assistant:")
    words = golden_tokenizer.encode(f" Assistant:{SAID}")[len(before) :]
    model = chain_model(golden_tokenizer, [before[-1], *words])
    gate = Gate(model)
    with served(model, golden_tokenizer, options=EngineOptions(max_rows=1, max_waiting=8)) as demo:
        yield demo, gate
        gate.open()


@pytest.fixture
def open_studio(browser, talker):
    demo, gate = talker
    with studios(browser, demo.address) as open_one:
        yield open_one
        gate.open()  # before pages are closed, whose answers may stand at it


def draw_two(studio):
    studio.open((800, 600))
    studio.drag((100, 80), (300, 240))
    studio.drag((420, 310), (700, 500))
    studio.set(temperature=0, max_gen_len=8)


def test_an_answer_comes_in_pieces_and_can_be_stopped(open_studio, talker):
    _, gate = talker
    studio = open_studio()
    studio.set(temperature=0, max_gen_len=1500)
    gate.close(9)
    studio.write("Speak")
    # The ninth token and nothing after it: what is there so far is on the page.
    expect(studio.turn(1).locator(".sx-text")).to_contain_text("bigig", timeout=PATIENCE)
    expect(studio.turn(1).locator(".sx-note")).to_have_text("Writing …")
    stop = studio.page.get_by_role("button", name="Stop", exact=True)
    stop.click()
    gate.open()
    studio.answer(1)
    expect(studio.turn(1).locator(".sx-note")).to_contain_text("stopped")
    assert len(studio.said(1)) < 1000
    assert stop.is_hidden()


@pytest.mark.slow
def test_who_waits_is_told_the_place_in_the_queue(open_studio, talker):
    _, gate = talker
    one, two, three = open_studio(), open_studio(), open_studio()
    for studio in (one, two, three):
        studio.set(temperature=0, max_gen_len=8)
    gate.close(7)
    one.write("Speak")
    expect(one.turn(1).locator(".sx-text")).to_contain_text("Mark", timeout=PATIENCE)
    for number, studio in enumerate((two, three), start=1):
        studio.write("Speak")
        expect(studio.turn(1).locator(".sx-note")).to_have_text(
            f"Waiting: number {number} in the queue", timeout=PATIENCE
        )
    two.page.get_by_role("button", name="Stop", exact=True).click()
    gate.open()
    for studio in (one, three):
        assert studio.answer(1) == studio.ask("Speak")
    two.answer(1)
    expect(two.turn(1).locator(".sx-note")).to_contain_text("stopped")


def test_what_is_probably_not_meant_is_said_below_the_question(open_studio):
    studio = open_studio()
    draw_two(studio)
    odd = studio.turn(1).locator(".sx-odd")
    studio.ask("What is <Region 4>?")
    expect(odd).to_have_text("the question names <Region 4>, but 2 prompts are given.")
    expect(studio.page.locator(".sx-spoken")).to_contain_text("but 2 prompts are given.")
    studio.ask("What is <Region 2>?")
    assert studio.turn(2).locator(".sx-odd").is_hidden()  # the first question is part of what is asked, but told
    studio.ask("What is <Mark 2>?")
    expect(studio.turn(3).locator(".sx-odd")).to_have_text(re.compile("^prompt 2 is a Box, .*not <Mark 2>"))


def test_names_of_marks_are_buttons_and_everything_else_is_text(open_studio):
    studio = open_studio()
    draw_two(studio)
    asked = "<img src=x onerror=\"document.title='broken in'\"> <Region 1>"
    studio.ask(asked)
    assert studio.turn(1).locator(".sx-asked").evaluate("e => e.textContent").startswith(asked.partition("<Region")[0])
    assert studio.turn(1).locator("img, b").count() == 0
    assert studio.page.title() == "SPHINX-V"
    assert studio.said(1) == "Mark 2 big"
    mention = studio.turn(1).locator(".sx-text .sx-mention")
    assert mention.inner_text() == "Mark 2"

    def tinted():
        """Is the middle of box 2 filled on the layer of marks?"""
        studio.page.wait_for_timeout(100)
        u, v = studio.at(560, 405)
        return studio.stage.locator("canvas").nth(1).evaluate(
            "(e, [u, v]) => { const r = e.getBoundingClientRect();"
            " return e.getContext('2d').getImageData(u - r.left, v - r.top, 1, 1).data[3] > 0 }",
            [u, v],
        )  # fmt: skip

    studio.page.mouse.move(5, 5)
    assert not tinted()
    mention.click()
    studio.page.mouse.move(5, 5)
    expect(mention).to_have_attribute("aria-pressed", "true")
    assert tinted()
    mention.click()
    studio.page.locator("h1").click()
    assert not tinted()
    # And the other way: the mark under the pointer lights up its name.
    studio.page.mouse.move(*studio.at(420, 400))
    expect(mention).to_have_class("sx-mention sx-lit")
    studio.page.mouse.move(*studio.at(100, 160))
    expect(mention).to_have_class("sx-mention")
    expect(studio.turn(1).locator(".sx-asked .sx-mention")).to_have_class("sx-mention sx-lit")


@pytest.mark.slow
def test_the_keyboard_alone_opens_marks_asks_and_reads(open_studio):
    studio = open_studio()
    page = studio.page
    page.locator(".sx-file").focus()
    page.keyboard.press("Tab")  # the first example
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "Example: Scene"
    page.keyboard.press("Enter")
    page.locator(".sv-chip").nth(2).wait_for()
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.className").startswith("sv-stage"):
            break
    studio.keys("p", "Enter", "ArrowLeft", "Enter")
    assert [kind for kind, _ in studio.marks()] == ["Box", "Box", "Box", "Point"]
    studio.set(temperature=0, max_gen_len=8)
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent") == "Labels":
            break
    page.keyboard.press("Enter")
    studio.answer(1)
    for _ in range(80):
        page.keyboard.press("Shift+Tab")
        if page.evaluate("document.activeElement.className").startswith("sx-mention"):
            break
    page.keyboard.press("Enter")
    expect(studio.turn(1).locator(".sx-text .sx-mention")).to_have_attribute("aria-pressed", "true")
    page.locator("#sx-question").focus()
    page.keyboard.type("Why?")
    page.keyboard.press("Enter")
    studio.answer(2)
    assert studio.turn(2).locator(".sx-asked").text_content() == "Why?"


@pytest.mark.slow
def test_a_name_never_points_to_another_mark_than_the_one_it_was_said_of(open_studio):
    studio = open_studio()
    draw_two(studio)
    studio.ask("Which?")
    mention = studio.turn(1).locator(".sx-text .sx-mention")
    expect(mention).not_to_have_class("sx-mention sx-gone")
    studio.tool("Select")
    studio.page.mouse.click(*studio.at(200, 160))
    studio.tool("Delete")  # what was mark 2 is mark 1 now
    expect(mention).to_have_class("sx-mention sx-gone")
    mention.click()
    expect(mention).to_have_attribute("aria-pressed", "false")
    studio.tool("Undo")
    expect(mention).to_have_class("sx-mention")
    mention.click()
    expect(mention).to_have_attribute("aria-pressed", "true")
