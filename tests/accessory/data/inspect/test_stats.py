"""`python -m accessory.data stats`: figures that can be counted by hand."""

import json

import pytest
import yaml
from PIL import Image

from accessory.data.__main__ import main
from accessory.data.labels import question
from tests.accessory.runs import talk

BOXES = [
    talk(question("labels", False), "<Region 1>: cat\n<Region 2>: dog", image="a.png", bbox=[[1, 2, 9, 9]] * 2),
    talk(question("relation", False), "<Region 1> is left of <Region 2>.", image="b.png", bbox=[[1, 2, 9, 9]] * 2),
    talk(question("labels", False), "<Region 1>: a", image="a.png", bbox=[[1, 2, 9, 9]]),
    {"conversations": []},
]
OTHERS = [
    talk("Why?", "So.", image="a.png", points=[[1, 1]] * 3),
    talk("Why?", "So it is."),
    talk("How?", "Well."),
]
OTHERS[0]["conversations"] += talk("And?", "No.")["conversations"]


@pytest.fixture
def config(tmp_path):
    Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
    Image.new("RGB", (100, 60)).save(tmp_path / "b.png")
    (tmp_path / "boxes.json").write_text(json.dumps(BOXES))
    (tmp_path / "others.json").write_text(json.dumps(OTHERS))
    path = tmp_path / "data.yaml"
    meta = [{"path": "boxes.json", "type": "image_text", "ratio": 0.5}, {"path": "others.json", "type": "text"}]
    path.write_text(yaml.safe_dump({"META": meta}))
    return path


def test_figures_of_each_source(config, capsys):
    assert main(["stats", str(config), "--json"]) == 0
    boxes, others = json.loads(capsys.readouterr().out)["sources"]
    assert (boxes["items"], boxes["bad"], boxes["ratio"], boxes["used"], boxes["share"]) == (4, 1, 0.5, 2, 0.4)
    assert (others["items"], others["bad"], others["used"], others["share"]) == (3, 0, 3, 0.6)
    assert (boxes["pictures"], boxes["text_only"], others["pictures"], others["text_only"]) == (2, 0, 1, 2)
    assert (boxes["marks"], others["marks"]) == ({"boxes": 5}, {"points": 3})
    assert boxes["marks_per_item"] == {"count": 3, "min": 1, "median": 2, "p95": 2, "max": 2}
    assert others["turns"] == {"count": 3, "min": 1, "median": 1, "p95": 2, "max": 2}
    # Words of the four answers: So. No. So it is. Well.
    assert others["answers"] == {"count": 4, "min": 1, "median": 1, "p95": 3, "max": 3}
    assert (boxes["widths"]["min"], boxes["widths"]["max"], boxes["heights"]["max"]) == (40, 100, 60)
    assert boxes["tasks"] == {"labels, boxes": 2, "relation, boxes": 1}
    assert (others["tasks"], others["free_wordings"]) == ({"free question": 4}, {"Why?": 2, "And?": 1, "How?": 1})


def test_figures_for_people(config, capsys):
    assert main(["stats", str(config)]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[0] == f"{config}: 2 sources, 5 items an epoch"
    for line in (
        "  of training     40.0 %: 2 items an epoch",
        "  in the file     4 items, ratio 0.5, 1 of them bad: see check",
        "  marks an item   1 to 2, median 2, 95 % up to 2",
        "  width, pixels   40 to 100, median 40, 95 % up to 100",
        "  questions       2 × labels, boxes",
        "                    2 × Why?",
    ):
        assert line in out.splitlines()


def test_without_pictures_there_are_no_sizes(config, capsys):
    (config.parent / "a.png").unlink()
    assert main(["stats", str(config), "--json", "--skip_pictures"]) == 0
    boxes, _ = json.loads(capsys.readouterr().out)["sources"]
    assert (boxes["bad"], boxes["widths"]) == (1, {"count": 0})


def test_a_file_that_cannot_be_read_gives_no_figures(config, capsys):
    (config.parent / "others.json").write_text("[1, ")
    assert main(["stats", str(config)]) == 2
    assert "others.json: " in capsys.readouterr().err
