"""The drawing canvas in a real browser: what is drawn comes out in pixels of the original picture."""

from __future__ import annotations

import base64
import functools
import io
import json
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from PIL import Image

from tests.accessory.demos.browser import Hand, expect, picture
from tests.house.repo import ROOT

PAGE = ROOT / "accessory/demos/canvas"


class Handler(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def address():
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(PAGE)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/index.html"
    server.shutdown()
    server.server_close()
    thread.join()


class Canvas(Hand):
    """The page with a picture on it, driven by positions in pixels of that picture while it is seen whole."""

    def __init__(self, page, address, size, jpeg=None):
        super().__init__(page, size)
        self.requests, self.errors = [], []
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.goto(address)
        file = {"name": "picture.jpg", "mimeType": "image/jpeg", "buffer": jpeg or picture(*size)}
        page.set_input_files("#file", file)
        expect(page.locator(".sv-status")).to_contain_text("Picture of")
        self.stage.scroll_into_view_if_needed()

    def marks(self):
        return [(mark["kind"], mark["coords"]) for mark in json.loads(self.page.locator("#marks").inner_text())]


@pytest.fixture
def open_canvas(browser, address):
    contexts, opened = [], []

    def open_one(size=(800, 600), jpeg=None, url=address, **options):
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        contexts.append(context)
        opened.append(Canvas(context.new_page(), url, size, jpeg))
        return opened[-1]

    yield open_one
    for context in contexts:
        context.close()
    for canvas in opened:
        assert canvas.errors == []


def test_boxes_and_a_point_come_out_in_picture_pixels_and_stay_when_the_window_changes(open_canvas, address):
    canvas = open_canvas()
    canvas.drag((100, 80), (300, 240))
    canvas.drag((700, 500), (420, 310))
    canvas.tool("Point")
    canvas.page.mouse.click(*canvas.at(50.5, 560.5))
    drawn = [("box", [100, 80, 300, 240]), ("box", [420, 310, 700, 500]), ("point", [50, 560])]
    assert canvas.marks() == drawn
    canvas.page.set_viewport_size({"width": 390, "height": 800})
    canvas.page.wait_for_timeout(100)
    assert canvas.marks() == drawn
    # And the narrow display draws in the same pixels: its own are larger than one, so the hand aims within one of them.
    canvas.tool("Box")
    canvas.drag((200, 200), (600, 400))
    kind, coords = canvas.marks()[3]
    assert kind == "box"
    assert all(abs(a - b) <= 1.5 for a, b in zip(coords, (200, 200, 600, 400)))
    base = address.rsplit("/", 1)[0]
    assert all(url.startswith((base, "data:", "blob:")) for url in canvas.requests), "a request left the page"


def test_a_large_picture_is_marked_in_its_own_pixels(open_canvas):
    canvas = open_canvas((4000, 3000))
    canvas.drag((0, 0), (4000, 3000))
    assert canvas.marks() == [("box", [0, 0, 4000, 3000])]


def test_exif_orientation_turns_the_picture_before_it_is_marked(open_canvas):
    canvas = open_canvas((300, 400), picture(400, 300, orientation=6))
    expect(canvas.page.locator(".sv-status")).to_contain_text("300 × 400")
    canvas.drag((30, 300), (270, 380))
    [(kind, coords)] = canvas.marks()
    assert kind == "box"
    assert coords == [30, 300, 270, 380]
    # Orientation 6 is a quarter turn clockwise: what is stored on the left (dark) is seen on top.
    png = canvas.page.evaluate(
        "async () => [...new Uint8Array(await (await board.exportPng()).arrayBuffer())]",
    )
    shown = Image.open(io.BytesIO(bytes(png))).convert("L")
    assert shown.size == (300, 400)
    assert shown.getpixel((150, 20)) < 80 < 180 < shown.getpixel((150, 250))


def test_the_picture_is_seen_and_masks_tint_it_until_their_mark_changes(open_canvas):
    canvas = open_canvas((800, 600))

    def color(x, y, layer):
        canvas.page.wait_for_timeout(100)
        u, v = canvas.at(x, y)
        return (
            canvas.stage.locator("canvas")
            .nth(layer)
            .evaluate(
                "(e, [u, v]) => { const r = e.getBoundingClientRect();"
                " return [...e.getContext('2d').getImageData(u - r.left, v - r.top, 1, 1).data] }",
                [u, v],
            )
        )

    assert color(600, 300, 0) == pytest.approx([220, 210, 190, 255], abs=3)  # JPEG rounds
    canvas.page.set_viewport_size({"width": 700, "height": 700})
    assert color(600, 300, 0) == pytest.approx([220, 210, 190, 255], abs=3)
    canvas.drag((100, 100), (300, 300))
    mask = Image.new("RGBA", (800, 600))
    mask.paste((0, 0, 0, 255), (400, 400, 600, 500))
    file = io.BytesIO()
    mask.save(file, "PNG")
    address = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
    canvas.page.evaluate("source => board.showMasks([{id: 1, source}])", address)
    red, green, blue, alpha = color(500, 450, 1)
    assert 0 < alpha < 255
    assert [red, green, blue] == pytest.approx([255, 64, 140], abs=4)  # the first colour; alpha rounds
    assert color(700, 450, 1)[3] == 0
    canvas.tool("Select")
    canvas.drag((200, 200), (240, 200))
    assert color(500, 450, 1)[3] == 0, "the mask of the mark's old place is still seen"
    canvas.tool("Undo")
    assert color(500, 450, 1)[3] > 0


def test_shapes_keep_their_kind_and_extent(open_canvas):
    canvas = open_canvas()
    canvas.tool("Scribble")
    canvas.drag((100.5, 100.5), (300.5, 100.5), (300.5, 250.5))
    canvas.tool("Lasso")
    canvas.drag((400, 300), (600, 300), (600, 500), (400, 500))
    assert canvas.marks() == [
        ("scribble", [[100, 100], [300, 100], [300, 250]]),
        ("mask", [[400, 300], [600, 300], [600, 500], [400, 500]]),
    ]


def test_marks_are_moved_resized_deleted_and_brought_back(open_canvas):
    canvas = open_canvas()
    canvas.drag((100, 100), (300, 200))
    canvas.drag((400, 300), (500, 400))
    canvas.tool("Select")
    canvas.page.mouse.click(*canvas.at(200, 150))
    canvas.drag((200, 150), (230, 190))
    assert canvas.marks()[0] == ("box", [130, 140, 330, 240])
    canvas.drag((330, 240), (390, 300))
    assert canvas.marks()[0] == ("box", [130, 140, 390, 300])
    canvas.tool("Delete")
    assert canvas.marks() == [("box", [400, 300, 500, 400])]
    for _ in range(3):
        canvas.tool("Undo")
    assert canvas.marks() == [("box", [100, 100, 300, 200]), ("box", [400, 300, 500, 400])]
    canvas.tool("Redo")
    assert canvas.marks()[0] == ("box", [130, 140, 330, 240])
    canvas.tool("Clear all")
    assert canvas.marks() == []


def test_a_zoomed_view_draws_in_picture_pixels(open_canvas):
    canvas = open_canvas()
    x, y = canvas.at(400, 300)
    canvas.tool("Zoom in")
    for _ in range(4):
        canvas.tool("Zoom in")
    canvas.page.mouse.move(x - 200, y - 100)
    canvas.page.mouse.down()
    canvas.page.mouse.move(x + 200, y + 100, steps=3)
    canvas.page.mouse.up()
    width = canvas.stage.evaluate("e => e.clientWidth")
    height = canvas.stage.evaluate("e => e.clientHeight")
    scale = min(width / 800, height / 600) * 1.25**5
    expected = [400 - 200 / scale, 300 - 100 / scale, 400 + 200 / scale, 300 + 100 / scale]
    assert canvas.marks() == [("box", [round(v) for v in expected])]


def test_escape_gives_up_what_is_being_drawn(open_canvas):
    canvas = open_canvas()
    canvas.page.mouse.move(*canvas.at(100, 100))
    canvas.page.mouse.down()
    canvas.page.mouse.move(*canvas.at(200, 200))
    canvas.keys("Escape")
    canvas.page.mouse.move(*canvas.at(300, 300))
    canvas.page.mouse.up()
    assert canvas.marks() == []


def test_no_more_marks_than_slots_are_taken(open_canvas):
    canvas = open_canvas()
    canvas.tool("Point")
    for i in range(11):
        canvas.page.mouse.click(*canvas.at(60.5 + 60 * i, 100.5))
    assert canvas.marks() == [("point", [60 + 60 * i, 100]) for i in range(10)]
    expect(canvas.page.get_by_role("status")).to_contain_text("All 10 marks are used")


def test_fingers_draw_and_two_of_them_zoom(open_canvas):
    canvas = open_canvas(viewport={"width": 390, "height": 800}, has_touch=True)
    client = canvas.page.context.new_cdp_session(canvas.page)

    def touch(kind, *positions):
        points = [dict(zip("xy", canvas.at(*position)), id=i) for i, position in enumerate(positions)]
        client.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", (100, 100))
    touch("touchMove", (250, 200))
    touch("touchMove", (400, 300))
    touch("touchEnd")
    [(kind, coords)] = canvas.marks()
    assert kind == "box"
    # One display pixel is 2.2 of the picture, and a touch lies on a whole one or between two.
    assert all(abs(a - b) <= 2.5 for a, b in zip(coords, (100, 100, 400, 300)))
    touch("touchStart", (350, 300))
    touch("touchStart", (350, 300), (450, 300))
    touch("touchMove", (300, 300), (500, 300))
    touch("touchEnd")
    assert len(canvas.marks()) == 1, "two fingers drew a mark"
    assert int(canvas.page.locator(".sv-percent").text_content().split()[0]) > 150


def test_the_keyboard_alone_draws_chooses_moves_and_removes(open_canvas):
    canvas = open_canvas()
    canvas.stage.focus()
    canvas.keys("b", "Enter", "ArrowLeft", "ArrowLeft", "Enter", "Shift+ArrowRight", "ArrowDown", "ArrowDown", "Enter")
    # From the middle (400, 300) two to the left; a large step is a fortieth of 800.
    assert canvas.marks() == [("box", [398, 300, 418, 302])]
    canvas.keys("p", "ArrowUp", "Enter")
    assert canvas.marks()[1] == ("point", [418, 301])
    canvas.keys("Escape", "Escape", "Tab", "ArrowRight", "Alt+ArrowDown", "Tab")
    assert canvas.marks()[0] == ("box", [399, 300, 419, 303])
    expect(canvas.page.get_by_role("status")).to_contain_text("2: Point 418, 301, selected")
    canvas.keys("Delete")
    assert [kind for kind, _ in canvas.marks()] == ["box"]
    canvas.keys("Control+z")
    assert [kind for kind, _ in canvas.marks()] == ["box", "point"]
    canvas.keys("Tab", "Tab", "Tab")
    assert not canvas.stage.evaluate("e => e === document.activeElement"), "the Tab key is caught in the canvas"


def test_marks_set_by_a_program_are_kept_to_the_bit_and_bad_ones_refused(open_canvas):
    canvas = open_canvas()
    given = [{"kind": "box", "coords": [0.1, 0.2, 0.30000000000000004, 599.9], "id": 1}]
    assert canvas.page.evaluate("given => { board.setMarks(given); return board.marks() }", given) == given
    refused = canvas.page.evaluate(
        "() => { try { board.setMarks([{kind: 'box', coords: [5, 5, 5, 9]}]) } catch (e) { return e.message } }"
    )
    assert "has no area" in refused
    assert canvas.page.evaluate("() => board.marks()") == given


def test_the_page_opens_from_disk(open_canvas):
    canvas = open_canvas(url=Path(PAGE / "index.html").as_uri())
    canvas.drag((100, 80), (300, 240))
    assert canvas.marks() == [("box", [100, 80, 300, 240])]
