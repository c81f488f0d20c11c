"""The page of benchmarks: numbers, counts, notes and examples are there; nothing is fetched and nothing executed."""

from dataclasses import replace

import pytest
from PIL import Image

from accessory.eval.benchmark_page import write_benchmark_report
from accessory.eval.example_cards import choose_examples
from accessory.eval.options import ReportOptions
from accessory.eval.predictions import Prediction
from accessory.eval.published import read_published
from accessory.eval.registry import SuiteEntry
from accessory.eval.scores import ItemScore, MarkScore, Score, SuiteScores, Tally
from accessory.eval.scoring import Outcome
from SPHINX_V.prompts import Box
from tests.accessory.eval.small_items import picture_at
from tests.accessory.eval.test_report import EVIL, Page

LVIS = SuiteEntry(kind="labels", file="LVIS_box.json", published="LVIS")
MARKS = (Box(5, 5, 30, 30), Box(40, 5, 70, 30))


@pytest.fixture
def outcome(tmp_path):
    """A suite of eight items with scores 0, 1/7 … 1."""
    picture_at(tmp_path / "a.png", (100, 60))
    predictions, items = [], []
    for n in range(8):
        predictions.append(Prediction("a.png", n, f"Question {n} <Region 2>? {EVIL}", "…", "…", "LVIS_box", MARKS))
        marks = (MarkScore(1, f"said {n}", EVIL if n == 1 else "true", n / 7), MarkScore(2, "", "blue star", 0.0))
        items.append(ItemScore(n, n / 7, marks))
    scores = (
        Score("SSim", 62.9, (60.0, 70.0), of="16 regions"),
        Score("SSim strict", 50.0, strict=True),
        Score("CIDEr", 141.8, most=None),
        Score("METEOR", None, note="there is no Java"),
    )
    tally = Tally(items=8, regions=16, unanswered=8, faults=[f"question 9: {EVIL}"])
    return Outcome(
        "LVIS_box", LVIS, tuple(predictions), "none", tmp_path, (), {}, scores=SuiteScores(scores, tuple(items), tally)
    )


@pytest.fixture
def written(outcome, tmp_path):
    def writes(folder="report", outcomes=None, **options):
        path = write_benchmark_report(
            tmp_path / folder,
            [outcome] if outcomes is None else outcomes,
            {},
            read_published(),
            ReportOptions(title=EVIL, **options),
            {"checkpoint": EVIL},
        )
        return path, Page(path.read_text("utf-8"))

    return writes


def test_all_files_are_there_and_what_models_write_is_not_executed(written):
    path, page = written()
    assert sorted(file.name for file in path.parent.iterdir()) == [
        "pictures",
        "report.html",
        "results.json",
        "table.md",
    ]
    assert not page.all("script")
    assert page.text.count(EVIL) >= 6
    text = path.read_text("utf-8")
    for word in ("http:", "https:", "@import", "url("):
        assert word not in text


def test_numbers_stand_beside_published_ones_with_bars(written):
    _, page = written()
    assert "SSim 62.9 60.0 to 70.0 87.1 90.5 PixelRefer-7B" in page.text
    assert [one["style"] for one in page.all("span", "fill")] == ["width:62.9%", "width:50.0%"]
    assert [one["style"] for one in page.all("span", "whisker")] == ["left:60.0%;width:10.0%"]
    assert [one["style"] for one in page.all("span", "peer paper")] == ["left:87.1%"]
    assert [one["style"] for one in page.all("span", "peer best")] == ["left:90.5%"]


def test_what_is_missing_and_what_was_not_asked_is_noted(written):
    _, page = written()
    assert "LVIS_box (METEOR): there is no Java" in page.text
    assert f"not asked: question 9: {EVIL}" in page.text
    assert "1 suite, 8 questions. 1 of them could not be asked" in page.text


def test_best_worst_and_random_examples_have_their_marks_drawn(written, tmp_path):
    path, page = written(best=2, worst=1, random=2)
    cards = [part for part in page.text.split("question ") if part[:1].isdigit() and "score" in part]
    assert [card.split()[0] for card in cards[:3]] == ["7", "6", "0"]
    assert len(cards) == 5
    pictures = sorted((path.parent / "pictures").iterdir())
    assert len(pictures) == 5
    with Image.open(pictures[0]) as picture:
        assert max(picture.size) >= 500, "small pictures are enlarged before marks are drawn"
        # Region 1 is pink: its line goes by the left of x = 5, on a grey picture.
        row = picture.convert("RGB").crop(
            (0, 20 * picture.height // 60, picture.width // 10, 20 * picture.height // 60 + 1)
        )
        colours = {row.getpixel((x, 0)) for x in range(row.width)}
    assert any(red > 200 > green for red, green, _ in colours)
    assert [image["alt"] for image in page.all("img")] == ["Picture with 2 numbered regions"] * 5


def test_scores_of_marks_are_told_and_truths_beside_wrong_answers(written):
    _, page = written(best=1, worst=1, random=0)
    assert "1 said 7 truth: true ✓ right 2 no answer truth: blue star ✗ wrong" in page.text
    assert "score 1.00" in page.text


def test_the_turns_before_a_question_are_told(outcome, written):
    predictions = tuple(replace(one, history=(("Where is it?", "On the left."),)) for one in outcome.predictions)
    _, page = written(outcomes=[replace(outcome, predictions=predictions)], best=1, worst=0, random=0)
    assert "Where is it? On the left. Question 7" in page.text


def test_no_example_is_shown_twice(outcome):
    chosen = choose_examples(outcome, ReportOptions(best=6, worst=6, random=6))
    assert sorted(one.prediction.question_id for one in chosen) == list(range(8))


def test_a_picture_that_has_gone_is_told(written, tmp_path):
    (tmp_path / "a.png").unlink()
    _, page = written(best=1, worst=0, random=0)
    assert "The picture a.png is no longer there." in page.text


def test_unscored_suites_show_random_examples(outcome, written):
    items = tuple(ItemScore(item.question_id, None, item.marks) for item in outcome.scores.items)
    unjudged = Outcome(**{**vars(outcome), "scores": SuiteScores((), items, Tally())})
    _, page = written(outcomes=[unjudged])
    assert page.text.count("random question") == 2
    assert page.text.count("not scored") == 2


def test_the_same_run_gives_the_same_bytes(written):
    (one, _), (other, _) = written("one"), written("other")
    for file in one.parent.rglob("*.*"):
        assert file.read_bytes() == (other.parent / file.relative_to(one.parent)).read_bytes()


def test_controls_have_a_column_and_no_examples(outcome, written):
    control = Outcome(**{**vars(outcome), "control": "swap_marks"})
    _, page = written(outcomes=[outcome, control])
    assert "95 % marks swapped SPHINX-V 13B" in page.text
    assert "SSim 62.9 60.0 to 70.0 62.9 87.1" in page.text
    assert len(page.all("article", "card")) == 6
