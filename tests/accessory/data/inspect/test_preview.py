"""`python -m accessory.data preview`: the page shows what the files say, the sheet has a card for every item."""

import json

import numpy
import pytest
import yaml
from PIL import Image

from accessory.data.__main__ import main
from accessory.data.inspect.choice import choose
from accessory.data.inspect.sheet import CARD, EDGE, GAP
from accessory.data.labels import question
from SPHINX_V.overlay import PALETTE
from tests.accessory.eval.test_report import Page
from tests.accessory.runs import talk

EVIL = '<script>alert("1")</script>&'
LABELS = talk(
    f"<image>\n{question('labels', False)}",
    "<Region 1>: cat\nRegion 2: dog",
    image="a.png",
    bbox=[[10, 20, 60, 60], [90, 10, 50, 40]],
)
ITEMS = [
    LABELS,
    talk("What is <Mark 1>?", f"A {EVIL}, left of <Mark 2>.", image="a.png", points=[[20, 20], [100, 50]]),
    talk("Two plus two?", "Four."),
    talk("What is <Region 7>?", "Nothing.", image="a.png", bbox=[[150, 10, 40, 40]]),
    talk("What?", "That.", image="gone.png"),
    {"conversations": EVIL},
]


@pytest.fixture
def preview(tmp_path):
    Image.new("RGB", (160, 100), "white").save(tmp_path / "a.png")

    def previewed(*sources, out="out", arguments=()):
        meta = []
        for number, content in enumerate(sources):
            (tmp_path / f"s{number}.json").write_text(json.dumps(content))
            meta.append({"path": f"s{number}.json", "type": "image_text"})
        config = tmp_path / "data.yaml"
        config.write_text(yaml.safe_dump({"META": meta}))
        assert main(["preview", str(config), "--out", str(tmp_path / out), *arguments]) == 0
        return Page((tmp_path / out / "preview.html").read_text(encoding="utf-8")), tmp_path / out

    previewed.folder = tmp_path
    return previewed


def test_every_item_has_a_card_with_its_texts(preview):
    page, out = preview(ITEMS)
    assert len(page.all("article", "card")) == len(ITEMS)
    assert "6 of 6 items from 1 source, drawn with seed 0." in page.text
    assert "item 0 labels · 160×100" in page.text
    assert "Please identify the labels of each marked region in the image. 1 cat 2 dog" in page.text
    assert f"A {EVIL}, left of Mark 2 ." in page.text
    assert "Two plus two? Four." in page.text
    pictures = page.all("img", "picture")
    assert [picture["alt"] for picture in pictures] == [
        "Picture with 2 numbered regions",
        "Picture with 2 numbered points",
        "Picture with 1 numbered region",
    ]
    for picture in pictures:
        with Image.open(out / picture["src"]) as opened:
            assert opened.size == (int(picture["width"]), int(picture["height"])) == (640, 400)


def test_faults_are_said_beside_what_is_wrong(preview):
    page, _ = preview(ITEMS)
    assert len(page.all("ul", "faults")) == 3
    assert "question 1 names <Region 7>, the item has 1 marks" in page.text
    assert "mark 1, Box(150, 10, 190, 50), reaches 30 pixels outside" in page.text
    assert "gone.png: no such picture" in page.text
    assert "the picture cannot be shown" in page.text
    assert f"conversations is {EVIL!r}" in page.text


def test_nothing_is_executed_or_fetched(preview):
    page, out = preview(ITEMS)
    assert not page.all("script")
    text = (out / "preview.html").read_text(encoding="utf-8")
    for word in ("http:", "https:", "//", "@import", "url("):
        assert word not in text.replace(str(preview.folder), "")


def test_marks_are_drawn_in_their_colours_on_page_and_sheet(preview):
    _, out = preview([LABELS])
    for name in ("pictures/item-001.jpg", "sheet.png"):
        with Image.open(out / name) as picture:
            pixels = numpy.asarray(picture.convert("RGB")).astype(int)
        for colour in PALETTE[:2]:
            assert (abs(pixels - colour).max(axis=2) < 24).sum() > 100, name
        assert not (abs(pixels - PALETTE[2]).max(axis=2) < 24).sum() > 100, name


@pytest.mark.parametrize("count, columns", [(1, 1), (4, 4), (5, 4)])
def test_the_sheet_is_as_wide_as_its_cards(preview, count, columns):
    _, out = preview([LABELS] * count)
    with Image.open(out / "sheet.png") as sheet:
        assert sheet.width == 2 * EDGE + columns * CARD + (columns - 1) * GAP


def test_items_are_spread_over_the_sources_and_decided_by_the_seed(preview):
    many = [talk(f"Question {number}?", "Yes.") for number in range(50)]
    preview(many, many[:3], many[:20])
    config = preview.folder / "data.yaml"

    def numbers(count, seed):
        return [[chosen.number for chosen in choice.chosen] for choice in choose(config, "", count, seed, 10)]

    first = numbers(8, 0)
    assert [len(source) for source in first] == [3, 3, 2]
    assert first[1] == [0, 1, 2], "all that there are"
    assert first == numbers(8, 0)
    assert first != numbers(8, 1)
    assert all(source == sorted(set(source)) for source in first)
    assert [len(source) for source in numbers(1, 0)] == [1, 1, 1]
    drawn = {number for seed in range(40) for number in numbers(6, seed)[0]}
    assert min(drawn) < 5
    assert max(drawn) > 44


def test_the_same_arguments_give_the_same_bytes_and_old_pictures_go(preview):
    _, one = preview(ITEMS)
    (one / "pictures" / "mine.jpg").write_bytes(b"")
    preview(ITEMS[:1])
    assert sorted(path.name for path in (one / "pictures").iterdir()) == ["item-001.jpg", "mine.jpg"]
    _, other = preview(ITEMS[:1], out="other")
    for path in (path for path in other.rglob("*") if path.is_file()):
        assert path.read_bytes() == (one / path.relative_to(other)).read_bytes()


def test_a_broken_file_is_said_and_others_are_shown(preview):
    preview(ITEMS[:1], ITEMS[:1])
    (preview.folder / "s0.json").write_text("{}")
    assert main(["preview", str(preview.folder / "data.yaml"), "--out", str(preview.folder / "out")]) == 0
    page = Page((preview.folder / "out" / "preview.html").read_text(encoding="utf-8"))
    assert "holds a dict" in page.text
    assert len(page.all("article", "card")) == 1


def test_a_wrong_call_is_refused(preview, capsys):
    preview(ITEMS[:1])
    config = str(preview.folder / "data.yaml")
    assert main(["preview", config, "--out", str(preview.folder / "out"), "--items", "0"]) == 2
    assert "--items is 0" in capsys.readouterr().err
    assert main(["preview", config, "--out", str(preview.folder / "a.png")]) == 2
    assert "cannot be written" in capsys.readouterr().err
