"""The whole path on real annotations: COCO JSON → items → `tiny` learns them by heart → it answers what it learnt."""

import json

import pytest

from accessory.data.convert.coco import main as convert
from accessory.data.labels import parse_labels
from accessory.main import main as train
from accessory.tools.tokenizer import train_tokenizer
from SPHINX_V.sphinx_v import Request, SPHINX_V_Model
from tests.house.repo import ROOT

SHARED = ROOT.parent / "shared" / "data"
AT_LEAST = 0.9


@pytest.mark.slow
@pytest.mark.skipif(not SHARED.is_dir(), reason="../shared/data is not here")
def test_tiny_answers_the_labels_that_it_was_trained_on(tmp_path):
    data, images = tmp_path / "coco", SHARED / "images"
    source = SHARED / "coco_panoptic" / "detection_format.json"
    assert convert([str(source), "--images", str(images), "--image_name", "{id}.jpg", "--out", str(data)]) == 0
    (data / "tokenizer.model").write_bytes(train_tokenizer(data / "corpus.txt", 512))
    recipe = ROOT / "accessory" / "configs" / "tiny_overfit.yaml"
    overrides = {
        "output": tmp_path / "run",
        "data.config": data / "data.yaml",
        "model.tokenizer": data / "tokenizer.model",
    }
    assert train(["--config", str(recipe), *(f"{key}={value}" for key, value in overrides.items())]) == 0

    model = SPHINX_V_Model.from_pretrained(tmp_path / "run" / "checkpoint")
    for name, marks in (("labels_box", "bbox"), ("labels_point", "points")):
        items = json.loads((data / f"{name}.json").read_text(encoding="utf-8"))
        requests = [
            Request(
                turns=[[item["conversations"][0]["value"], None]],
                prompts=item[marks],
                image=images / item["image"],
                temperature=0.0,
            )
            for item in items
        ]
        right = asked = 0
        for item, text in zip(items, model.generate_batch(requests)):
            truth, given = parse_labels(item["conversations"][1]["value"]), parse_labels(text)
            right += sum(given.get(mark) == label for mark, label in truth.items())
            asked += len(truth)
        assert asked == 47
        assert right >= AT_LEAST * asked, name
