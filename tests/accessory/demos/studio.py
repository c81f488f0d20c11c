"""The demo as the tests use it: served from this process over a small model, and driven through its page."""

from __future__ import annotations

import contextlib
import re
import socket

import pytest

from SPHINX_V.generation.options import EngineOptions
from SPHINX_V.sphinx_v import SPHINX_V_Model
from tests.accessory.demos.browser import Hand, expect, picture

pytest.importorskip("gradio", reason="Gradio is not installed: pip install -e '.[demo]'")

from accessory.demos.app import Shown, build, launch
from accessory.demos.session import Sessions

PATIENCE = 120_000  # milliseconds: a bound for what hangs, not for what is slow


class Served:
    """A running demo: `address`, its `model`, its `sessions`."""

    def __init__(self, model, segmenter=None, options=None):
        self.model, self.sessions = model, Sessions()
        self.engine = model.make_engine(options or EngineOptions(max_rows=8, max_waiting=32))
        shown = Shown("tiny", "cpu, float32", model.config.prompts.num_slots, segmenter is not None)
        self.engine.start()
        self.page = build(self.engine, shown, self.sessions, segmenter)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        launch(self.page, "127.0.0.1", port)
        self.address = f"http://127.0.0.1:{port}/"

    def close(self):
        self.sessions.close_all()
        self.page.close(verbose=False)
        self.engine.stop()


@contextlib.contextmanager
def served(model, tokenizer, **options):
    demo = Served(SPHINX_V_Model(model, tokenizer), **options)
    try:
        yield demo
    finally:
        demo.close()


class Studio(Hand):
    """The page in a browser tab of its own."""

    def __init__(self, context, address):
        page = context.new_page()
        super().__init__(page, (1, 1))
        self.requests, self.errors = [], []
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda message: self.errors.append(message.text) if message.type == "error" else None)
        page.set_default_timeout(PATIENCE)
        page.goto(address)
        page.locator(".sx-example").last.wait_for()

    def open(self, size, data=None, name="picture.jpg"):
        """Opens a picture, by default one of `size` that is dark on the left."""
        self.size = size
        file = {"name": name, "mimeType": "image/jpeg", "buffer": data or picture(*size)}
        self.page.locator(".sx-file").set_input_files(file)
        expect(self.page.locator(".sv-status")).to_contain_text(f"{size[0]} × {size[1]}", timeout=PATIENCE)
        self.stage.scroll_into_view_if_needed()

    def set(self, **numbers):
        """Settings, under their names in a request."""
        if not self.page.locator(".sx-settings").evaluate("e => e.open"):
            self.page.locator(".sx-settings summary").click()
        for name, number in numbers.items():
            self.page.locator(f"#sx-{name}").fill(str(number))

    def marks(self):
        """[(kind, numbers), …] as the list below the canvas says."""
        chips = self.page.locator(".sv-chip").all()
        found = [(chip.locator("span").text_content(), chip.locator("small").text_content()) for chip in chips]
        return [(kind, [float(number) for number in re.findall(r"[\d.]+", place)]) for kind, place in found]

    def write(self, question):
        self.page.locator("#sx-question").fill(question)
        self.page.locator("#sx-question").press("Enter")

    def ask(self, question):
        """The answer to a question in one's own words."""
        turns = self.page.locator(".sx-turn").count()
        self.write(question)
        return self.answer(turns + 1)

    def preset(self, name):
        turns = self.page.locator(".sx-turn").count()
        self.page.get_by_role("button", name=name, exact=True).click()
        return self.answer(turns + 1)

    def turn(self, number):
        return self.page.locator(f".sx-turn >> nth={number - 1}")

    def answer(self, number):
        """The finished answer of a turn, counted from 1."""
        self.turn(number).get_by_role("button", name="Copy").wait_for(timeout=PATIENCE)
        assert "sx-failed" not in self.turn(number).get_attribute("class"), self.turn(number).inner_text()
        return self.said(number)

    def said(self, number):
        """What is written of an answer, with the names of marks as the model wrote them or nearly so."""
        return self.turn(number).locator(".sx-text").evaluate("e => e.textContent")

    def saved(self, label):
        """The bytes of the file that a button saves."""
        with self.page.expect_download() as download:
            self.page.get_by_role("button", name=label, exact=True).click()
        path = download.value.path()
        return download.value.suggested_filename, path.read_bytes()


@contextlib.contextmanager
def studios(browser, address):
    """Opens pages of the demo, each in a browser context of its own; at the end none may have met an error."""
    contexts, opened = [], []

    def open_one(address=address, **options):
        contexts.append(browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options}))
        opened.append(Studio(contexts[-1], address))
        return opened[-1]

    yield open_one
    for context in contexts:
        context.close()
    for studio in opened:
        assert studio.errors == []
