"""All real MDVP-Bench questions that are at hand, judged by the local server."""

import base64
import io
import json
import re

import pytest
from PIL import Image

from accessory.eval.judge.__main__ import main
from tests.accessory.eval.judge.judged import KEY, lines_of
from tests.accessory.eval.judge.server import completion, judge_server, picture_of, prompt_of
from tests.house.repo import ROOT

SHARED = ROOT.parent / "shared" / "data" / "mdvp_bench"


def has_flat_box(item):
    return any(min(width, height) <= 0 for _, _, width, height in item.get("bbox", ()))


@pytest.mark.slow
@pytest.mark.skipif(not SHARED.is_dir(), reason="../shared/data/mdvp_bench is not here")
def test_every_real_question_is_judged_with_its_picture(tmp_path, monkeypatch, capsys):
    pytest.importorskip("openai", reason='the judge needs: pip install -e ".[judge]"')
    monkeypatch.setenv(KEY, "none")
    files = sorted(SHARED.glob("*/*.json"))
    assert len(files) == 10
    sizes = []

    def answers(request):
        picture = Image.open(io.BytesIO(base64.b64decode(picture_of(request).partition(",")[2])))
        sizes.append(max(picture.size))
        said = int(re.search(r"Answer B:\nanswer (\d+)\n", prompt_of(request))[1])
        return completion(f"10 {said % 10 + 1}")

    with judge_server(answers) as server:
        judge = ["--model", "m", "--base_url", server.base_url, "--key_env", KEY, "--protocol", "mdvp"]
        judge += ["--cache", str(tmp_path / "cache.jsonl")]
        judged = []
        for file in files:
            # One of the 100 has a box without width, which no reader of ours takes for a mark.
            items = [item for item in json.loads(file.read_text(encoding="utf-8")) if not has_flat_box(item)]
            kept = tmp_path / file.name
            kept.write_text(json.dumps(items), encoding="utf-8")
            predictions = tmp_path / f"{file.stem}.jsonl"
            lines = [
                {
                    "image_name": item["image_name"],
                    "question_id": item["question_id"],
                    "question": item["question"],
                    "prediction": f"answer {item['question_id']}",
                    "answer": item["gt_answers"],
                }
                for item in items
            ]
            predictions.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
            where = ["--items", str(kept), "--image_root", str(file.parent / "images")]
            assert main([str(predictions), *where, *judge]) == 0
            judged.append(tmp_path / f"{file.stem}.judged.jsonl")
            assert len(lines_of(judged[-1])) == len(items)
    assert len(server.requests) == 99
    assert max(sizes) <= 1536
    capsys.readouterr()
    assert main([*map(str, judged), "--table"]) == 0
    rows = capsys.readouterr().out
    assert [row for row in ("natural", "screenshot", "ocr", "multipanel") if f"| domain: {row} |" in rows] == [
        "natural",
        "screenshot",
        "ocr",
        "multipanel",
    ]
    # Each task has the questions 1 to 10, so the model's grades are 2 to 10 and 1; one task lacks question 4, graded 5.
    assert "| natural_QA_box | 55.0 |" in rows
    assert "| android_QA_box | 55.6 |" in rows
    assert "| 99 | 99 | 0 | 0 |" in rows
