"""A real browser for the tests of the canvas and of the demo: chromium, pictures to open, and a hand on the stage."""

from __future__ import annotations

import io
import shutil

import pytest
from PIL import Image

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")
CHROMIUM = shutil.which("chromium")
if CHROMIUM is None:
    pytest.skip("chromium is not installed: apt-get install chromium", allow_module_level=True)

QUIET = (
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
expect = sync_api.expect


def picture(width, height, orientation=None):
    """JPEG bytes: the left half dark, the right half bright, as stored."""
    image = Image.new("RGB", (width, height), (30, 40, 60))
    image.paste((220, 210, 190), (width // 2, 0, width, height))
    exif = Image.Exif()
    if orientation:
        exif[0x0112] = orientation
    file = io.BytesIO()
    image.save(file, "JPEG", exif=exif)
    return file.getvalue()


class Hand:
    """Draws on the stage of a page, by positions in pixels of its picture, while that is seen whole."""

    def __init__(self, page, size):
        self.page, self.size = page, size
        self.stage = page.locator(".sv-stage")

    def at(self, x, y):
        """Where a position of the picture is in the window, worked out from the element alone: the picture fits it."""
        left, top, width, height = self.stage.evaluate(
            "e => { const r = e.getBoundingClientRect();"
            " return [r.left + e.clientLeft, r.top + e.clientTop, e.clientWidth, e.clientHeight] }"
        )
        scale = min(width / self.size[0], height / self.size[1])
        return (
            left + width / 2 + (x - self.size[0] / 2) * scale,
            top + height / 2 + (y - self.size[1] / 2) * scale,
        )

    def drag(self, *positions):
        self.page.mouse.move(*self.at(*positions[0]))
        self.page.mouse.down()
        for position in positions[1:]:
            self.page.mouse.move(*self.at(*position), steps=4)
        self.page.mouse.up()

    def touch(self, *positions):
        """One finger along positions."""
        client = self.page.context.new_cdp_session(self.page)
        for kind, position in zip(("touchStart", *["touchMove"] * (len(positions) - 1)), positions):
            points = [dict(zip("xy", self.at(*position)), id=0)]
            client.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
        client.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        self.page.wait_for_timeout(500)  # a tap sooner than any hand can is taken for a part of this gesture

    def tool(self, name):
        self.page.get_by_role("button", name=name, exact=True).click()

    def keys(self, *names):
        for name in names:
            self.page.keyboard.press(name)
