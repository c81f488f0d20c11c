"""The README's figures: sizes come from the configuration, answers from the predictions, numbers from the results."""

import json
import os
import re
from xml.etree import ElementTree

import pytest
from PIL import Image, ImageChops

from accessory.data.synthetic import generate
from accessory.tools.answers_page import COLUMNS, MARKS, PLAN, answers_page, choose
from accessory.tools.architecture import HEIGHT, WIDTH, architecture
from accessory.tools.figures import QUANTISATION, QUICKSTART, fill, main, markers, results_table
from accessory.tools.record_table import quantisation_table
from SPHINX_V.config import sphinx_v_13b, tiny
from SPHINX_V.errors import DataError, UsageError

SVG = "{http://www.w3.org/2000/svg}"
OPENS, CLOSES = markers(QUICKSTART)
RESULTS = {
    "labels_box": 0.97149,
    "labels_point": 0.95,
    "ocr": 0.5,
    "relation": 1.0,
    "free": 0.8,
    "swapped": {"labels_box": 0.04, "labels_point": 0.05, "ocr": 0.0, "relation": 0.25, "free": 0.1},
    "seconds": 754.4,
}


def words(svg):
    return " | ".join("".join(node.itertext()) for node in ElementTree.fromstring(svg).iter(f"{SVG}text"))


def test_the_sizes_of_the_released_model_are_there():
    said = words(architecture(sphinx_v_13b(), "SPHINX-V"))
    for text in (
        "5 · 291 + 12 = 1,467 visual tokens",
        "start + 32 + 257 + end = 291 tokens",
        "1,024 + 3,072 + 1,536 = 5,632",
        "24 layers, width 1,024",
        "3 · 4 · 30 · 3 blocks",
        "40 layers, width 1,536",
        "39 layers, width 1,408",
        "12 layers, width 768",
        "512 → 5,120",
        "padded, 448×448; 5 views of 224×224",
        "40 layers, width 5,120, 40 heads, SwiGLU 13,824",
        "32,000 pieces",
    ):
        assert text in said


def test_another_model_has_other_numbers():
    said = words(architecture(tiny(vocab_size=700), "tiny"))
    assert "5 · 23 + 12 = 127 visual tokens" in said
    assert "700 pieces" in said
    assert not re.search("1,467|5,120|32,000", said)


def test_all_words_and_boxes_lie_on_the_drawing():
    root = ElementTree.fromstring(architecture(sphinx_v_13b(), "SPHINX-V"))
    for node in root.iter(f"{SVG}text"):
        assert 0 < float(node.get("x")) < WIDTH
        assert 0 < float(node.get("y")) < HEIGHT
    boxes = list(root.findall(f"{SVG}rect"))
    assert len(boxes) > 20
    for node in boxes:
        assert float(node.get("x", 0)) + float(node.get("width")) <= WIDTH
        assert float(node.get("y", 0)) + float(node.get("height")) <= HEIGHT


def test_the_drawing_has_its_own_ground_and_fetches_nothing():
    svg = architecture(sphinx_v_13b(), "A <b> & c")
    root = ElementTree.fromstring(svg)
    ground = root.find(f"{SVG}rect")
    assert (ground.get("width"), ground.get("height")) == (str(WIDTH), str(HEIGHT))
    assert svg.count("http") == 1, "the name of the format, and no address"
    assert "A <b> & c" in words(svg)


def test_the_kept_drawing_is_the_one_that_the_command_makes(tmp_path):
    from tests.house.repo import ROOT

    assert main(["architecture", str(tmp_path / "a.svg")]) == 0
    kept = (ROOT / "assets/architecture.svg").read_text(encoding="utf-8")
    assert (tmp_path / "a.svg").read_text(encoding="utf-8") == kept, (
        "mend with: python -m accessory.tools.figures architecture assets/architecture.svg"
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A folder like a quickstart run's, all answers right."""
    folder = tmp_path_factory.mktemp("run")
    generate(folder / "data", 4, 24, 0, 1)
    (folder / "predictions").mkdir()
    for name in set(PLAN):
        items = json.loads((folder / f"data/heldout/{name}.json").read_text(encoding="utf-8"))
        lines = [json.dumps({"question_id": one["question_id"], "prediction": one["gt_answers"]}) for one in items]
        (folder / f"predictions/{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "results.json").write_text(json.dumps(RESULTS), encoding="utf-8")
    os.utime(folder / "results.json", (86_400, 86_400))
    return folder


@pytest.fixture
def broken(run, tmp_path):
    """The same run with the answers of one file replaced by the test."""
    for name in ("data", "results.json"):
        (tmp_path / name).symlink_to(run / name)
    (tmp_path / "predictions").mkdir()
    for file in (run / "predictions").iterdir():
        (tmp_path / "predictions" / file.name).write_bytes(file.read_bytes())
    return tmp_path


def test_eight_cards_show_eight_pictures_that_fit(run):
    chosen = choose(run)
    assert len(chosen) == len(PLAN) == 2 * COLUMNS
    assert len({item.picture for item, _ in chosen}) == 8
    assert all(len(item.prompts) in MARKS for item, _ in chosen)
    assert [item.dataset.removeprefix("synthetic_") for item, _ in chosen] == list(PLAN)


def test_the_choice_does_not_look_at_the_answers(run, broken):
    path = broken / "predictions/labels_box.jsonl"
    path.write_text(re.sub(r'"prediction": "[^\n]*"', '"prediction": "nonsense"', path.read_text("utf-8")), "utf-8")
    chosen, same = ([(item.dataset, item.question_id) for item, _ in choose(folder)] for folder in (broken, run))
    assert chosen == same
    assert "nonsense" in [answer for _, answer in choose(broken)]


def test_the_page_is_the_same_each_time_and_shows_what_is_wrong(run, broken):
    page = answers_page(run)
    assert page.size[0] > 1600
    assert page.tobytes() == answers_page(run).tobytes()
    path = broken / "predictions/ocr_box.jsonl"
    path.write_text(re.sub(r'"prediction": "[^\n]*"', '"prediction": ""', path.read_text("utf-8")), "utf-8")
    other = answers_page(broken)
    red = Image.new("RGB", other.size, "#b3271e")
    assert any(color == (0, 0, 0) for _, color in ImageChops.difference(other, red).getcolors(1 << 24))
    red = red.crop((0, 0, *page.size))
    assert not any(color == (0, 0, 0) for _, color in ImageChops.difference(page, red).getcolors(1 << 24))


@pytest.mark.parametrize("line", ["{", "[]", '{"question_id": -1, "prediction": ""}', '{"question_id": 0}'])
def test_wrong_predictions_are_refused_with_file_and_line(broken, line):
    (broken / "predictions/labels_box.jsonl").write_text(line + "\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"labels_box\.jsonl, line 1"):
        choose(broken)


def test_missing_predictions_say_what_to_run(broken):
    (broken / "predictions/labels_box.jsonl").unlink()
    with pytest.raises(DataError, match=r"quickstart\.sh"):
        choose(broken)


def test_the_table_is_filled_in_and_can_be_filled_again(run, tmp_path):
    file = tmp_path / "README.md"
    file.write_text(f"before\n{OPENS}\nold\n{CLOSES}\nafter\n", encoding="utf-8")
    for _ in range(2):
        assert main(["table", str(run), str(file), "--machine", "2 cores"]) == 0
    text = file.read_text(encoding="utf-8")
    assert text.startswith(f"before\n{OPENS}\n| task |")
    assert text.endswith(f"\n{CLOSES}\nafter\n")
    assert "old" not in text
    assert "| object labels, boxes | 97.1\u00a0% | 4.0\u00a0% |" in text
    assert "| free questions | 80.0\u00a0% | 10.0\u00a0% |" in text
    assert "Measured 1970-01-02 by `bash scripts/quickstart.sh` on 2 cores; the whole run took 12 min 34 s." in text
    assert "![" not in text


def test_the_picture_is_shown_where_it_is(run, tmp_path):
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets/quickstart.png").touch()
    file = tmp_path / "README.md"
    file.write_text(f"{OPENS}\n{CLOSES}\n", encoding="utf-8")
    main(["table", str(run), str(file)])
    assert "](assets/quickstart.png)" in file.read_text(encoding="utf-8")


@pytest.mark.parametrize("text", ["", OPENS, CLOSES + OPENS, OPENS + OPENS + CLOSES, OPENS + CLOSES + CLOSES])
def test_a_file_without_the_two_lines_is_not_changed(text):
    with pytest.raises(UsageError, match=r"README\.md must hold"):
        fill(text, "table", "README.md")


def record(tmp_path, **changes):
    scores = {
        f"{suite}_{kind}": 90.0 + (kind == "point")
        for suite in ("labels", "ocr", "relation")
        for kind in ("box", "point")
    }
    way = {
        "scores": scores,
        "answers_as_float32": 7,
        "llm_mib": 3.456,
        "tokens_per_second": {"rows_1": 1549.7, "rows_16": 16},
    }
    found = {"date": "2026-01-02", "cores": 2, "device": "CPU", "items": 8, "ways": {"bfloat16+int8": way}, **changes}
    path = tmp_path / "record.json"
    path.write_text(json.dumps(found), encoding="utf-8")
    return path


def test_a_record_of_quantisation_becomes_a_table(tmp_path):
    opens, closes = markers(QUANTISATION)
    file = tmp_path / "README.md"
    file.write_text(f"{opens}\nold\n{closes}\n", encoding="utf-8")
    assert main(["quantisation", str(record(tmp_path)), str(file)]) == 0
    text = file.read_text(encoding="utf-8")
    p, m = "90.5\u00a0%", "3.46\u00a0MiB"
    assert f"| bfloat16, int8 | {p} | {p} | {p} | 7 of 8 | {m} | 1,550 | 16 |\n\nMeasured 2026-01-02 on 2 CPU" in text
    assert "old" not in text


@pytest.mark.parametrize("changes", [{"ways": []}, {"ways": {"a": {}}}, {"items": None}])
def test_another_record_is_refused(tmp_path, changes, capsys):
    assert main(["quantisation", str(record(tmp_path, **changes)), str(tmp_path / "README.md")]) == 2
    assert "error:" in capsys.readouterr().err
    with pytest.raises(DataError, match="is no record of"):
        quantisation_table(record(tmp_path, **changes))
    with pytest.raises(DataError, match="no such file"):
        quantisation_table(tmp_path / "nowhere.json")


@pytest.mark.parametrize("text", ["{", "[]", "{}", json.dumps({**RESULTS, "ocr": None})])
def test_wrong_results_are_refused(tmp_path, text):
    (tmp_path / "results.json").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=r"results\.json"):
        results_table(tmp_path / "results.json", None)


def test_the_command_line_names_what_is_missing(tmp_path, capsys):
    assert main(["answers", str(tmp_path), str(tmp_path / "a.png")]) == 2
    assert "error:" in capsys.readouterr().err
    (tmp_path / "a.md").write_text(f"{OPENS}\n{CLOSES}\n", encoding="utf-8")
    assert main(["table", str(tmp_path), str(tmp_path / "a.md")]) == 2
    assert "no such file" in capsys.readouterr().err
