"""The report: every card is there, wrong is called wrong, nothing is fetched, nothing is executed."""

from dataclasses import replace
from html.parser import HTMLParser

import pytest
from PIL import Image

from accessory.eval.report import Asked, Example, headline, write_report
from SPHINX_V.errors import UsageError
from SPHINX_V.prompts import Box, Point
from tests.accessory.eval.small_items import item, picture_at

TABLE = {
    "labels, boxes": {"accuracy": 0.971, "marks swapped": 0.042, "items": 150, "regions": 480},
    "relations": {"accuracy": 0.905, "marks swapped": 0.262, "items": 400},
}
ROWS = [{"step": step, "loss": 3 / step, "grad_norm": 1.0, "lr": 1e-3, "mark_loss": 2 / step} for step in range(1, 40)]
EVIL = '<script>alert("1")</script>&'
VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """Elements with their classes and attributes; checks that what is opened is closed."""

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.said = [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.said.append(data)

    def all(self, tag, name=None):
        return [attrs for kind, attrs in self.elements if kind == tag and name in (None, attrs.get("class"))]

    @property
    def text(self):
        return " ".join(" ".join(self.said).split())


@pytest.fixture
def write(tmp_path):
    picture = picture_at(tmp_path / "a.png", (100, 60))
    first = item(
        picture, (Box(5, 5, 30, 30), Box(40, 5, 70, 30)), truth="<Region 1>: red circle\n<Region 2>: blue star"
    )
    second = item(picture, (Point(3, 4), Point(50, 9)), truth="<Mark 1> is above <Mark 2>.", dataset="relation_point")
    given = {
        "title": "A run",
        "table": TABLE,
        "curves": {"stage 1": ROWS, "stage 2": ROWS[:20]},
        "examples": [
            Example(
                first, "<Region 1>: red circle\n<Region 2>: green star", "<Region 1>: black ring", (Box(1, 1, 9, 9),)
            ),
            Example(second, "<Mark 1> is above <Mark 2>."),
        ],
        "asked": [Asked(picture, (Point(3, 4),), "What color is <Mark 1>?", "Red.")],
        "facts": {"seed": "0"},
    }

    def writes(folder="report", **changes):
        path = write_report(tmp_path / folder, **{**given, **changes})
        return path, Page(path.read_text(encoding="utf-8"))

    writes.given = given
    return writes


def test_the_files_are_there(write):
    path, page = write()
    assert path.name == "report.html"
    assert "| labels, boxes | 97.1\u00a0% | 4.2\u00a0% | 150 | 480 |" in (path.parent / "table.md").read_text("utf-8")
    pictures = sorted(file.name for file in (path.parent / "pictures").iterdir())
    assert pictures == ["asked-01.png", "example-01-swapped.png", "example-01.png", "example-02.png"]
    for image in page.all("img"):
        with Image.open(path.parent / image["src"]) as picture:
            assert picture.size == (int(image["width"]), int(image["height"]))
            assert picture.size[0] >= 400, "small pictures are enlarged"


def test_every_question_has_a_card_with_a_described_picture(write):
    _, page = write()
    assert len(page.all("article", "card")) == 3
    assert [image["alt"] for image in page.all("img")] == [
        "Picture with 2 numbered regions",
        "Picture with 1 numbered region",
        "Picture with 2 numbered points",
        "Picture with 1 numbered point",
    ]


def test_a_follow_up_stands_below_the_turns_before_it(write):
    first, *_ = write.given["examples"]
    told = replace(first.item, question="And <Region 2>?", history=(("What is <Region 1>?", f"A {EVIL}."),))
    _, page = write(examples=[replace(first, item=told)])
    assert page.text.count(EVIL) == 1
    assert page.text.index("What is") < page.text.index(f"A {EVIL}.") < page.text.index("And Region")
    assert len(page.all("p", "before")) == 1


def test_right_and_wrong_are_said_in_words_signs_and_classes(write):
    _, page = write()
    assert len(page.all("li", "right")) == 2
    assert len(page.all("li", "wrong")) == 3
    assert "2 green star truth: blue star ✗ wrong" in page.text
    assert "1 red circle ✓ right" in page.text
    assert "1 of 2 right" in page.text


def test_the_answer_to_swapped_marks_is_shown_without_giving_the_truth_away(write):
    _, page = write()
    assert len(page.all("div", "pane swapped")) == 1
    assert "The same question with the marks of another item 1 black ring ✗ wrong 2 no answer ✗ wrong" in page.text


def test_the_table_has_heads_and_bars(write):
    _, page = write()
    assert [head["scope"] for head in page.all("th")] == ["col"] * 5 + ["row"] * 2
    widths = [fill["style"] for tone in (1, 2) for fill in page.all("span", f"fill tone{tone}")]
    assert widths == ["width:97.1%", "width:90.5%", "width:4.2%", "width:26.2%"]


def test_curves_of_every_stage_are_drawn(write):
    _, page = write()
    labels = [svg["aria-label"] for svg in page.all("svg")]
    assert len(labels) == 6
    assert labels[0].startswith("stage 1, loss. loss goes from 3 at step 1")
    assert "; at the marks goes from 2 at step 1" in labels[0]


def test_what_users_and_models_write_is_shown_and_not_executed(write):
    first = write.given["examples"][0]
    bad = item(first.item.picture, first.item.prompts, question=EVIL, truth=f"<Region 1>: {EVIL}", dataset=EVIL)
    asked = [Asked(first.item.picture, (), EVIL, EVIL)]
    _, page = write(
        title=EVIL,
        table={EVIL: {"accuracy": 0.5, EVIL: 0.5}},
        curves={EVIL: ROWS},
        examples=[Example(bad, f"<Region 1>: {EVIL}", f"<Region 2>: {EVIL}", ())],
        asked=asked,
        facts={EVIL: EVIL},
    )
    assert not page.all("script")
    assert page.text.count(EVIL) >= 10


def test_nothing_is_fetched_from_elsewhere(write):
    path, page = write()
    text = path.read_text(encoding="utf-8")
    for word in ("http:", "https:", "//", "@import", "url("):
        assert word not in text
    for tag in ("script", "link", "iframe"):
        assert not page.all(tag)
    assert page.all("html")[0]["lang"] == "en"


def test_the_same_run_gives_the_same_bytes(write):
    (one, _), (other, _) = write("one"), write("other")
    for file in one.parent.rglob("*.*"):
        assert file.read_bytes() == (other.parent / file.relative_to(one.parent)).read_bytes()


def test_pictures_of_an_earlier_report_are_removed_and_others_are_not(write):
    path, _ = write()
    Image.new("RGB", (3, 3)).save(path.parent / "pictures" / "mine.png")
    write(examples=[], asked=[])
    assert [file.name for file in (path.parent / "pictures").iterdir()] == ["mine.png"]


def test_sections_without_content_are_left_out(write):
    _, page = write(examples=[], asked=[], curves={}, facts={}, table={"labels": {"accuracy": 0.5}})
    assert page.all("table")
    assert page.text.count("swapped") == 0
    assert not page.all("article")
    assert len(page.all("section")) == 1


def test_a_model_that_says_nothing_is_reported(write):
    first = write.given["examples"][0].item
    _, page = write(examples=[Example(first, "", "")], asked=[Asked(first.picture, (), "Why?", " ")])
    assert page.text.count("no answer") == 5


HEADLINES = [
    ({"accuracy": 0.97, "marks swapped": 0.04}, "it reads the marks."),
    ({"accuracy": 0.6, "marks swapped": 0.45}, "in part"),
    ({"accuracy": 0.5, "marks swapped": 0.48}, "no proof"),
    ({"accuracy": 0.1, "marks swapped": 0.02}, "no proof"),
]


@pytest.mark.parametrize("row, expected", HEADLINES)
def test_the_headline_claims_only_what_the_control_allows(row, expected):
    assert expected in headline({"labels": row})


def test_a_headline_needs_no_control():
    assert headline({"labels": {"accuracy": 0.5}}).endswith("50.0\u00a0% of the marked places right (labels).")
    assert headline({"labels": {"items": 3}}) == "1 task on pictures that the model has not seen."


def test_a_wrong_share_is_refused_before_anything_is_written(write, tmp_path):
    with pytest.raises(UsageError, match="accuracy"):
        write("never", table={"labels": {"accuracy": 97.1}})
    assert not (tmp_path / "never").exists()
