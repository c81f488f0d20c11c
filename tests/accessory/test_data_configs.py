"""The data configurations of the published recipe: well formed, every source told of in Data/sources.md."""

import re
from collections import Counter

import pytest

from accessory.config import load_options
from accessory.data.sources import DataConfig
from tests.house.repo import ROOT

FOLDER = ROOT / "accessory" / "configs" / "data"
STAGES = {"vp_pretrain": "stage_1_pre-training", "vp_finetune": "stage_2_fine-tuning"}


@pytest.fixture(params=STAGES)
def stage(request):
    return request.param


def sources(stage):
    return load_options(DataConfig, FOLDER / f"{stage}.yaml").META


def test_every_file_stands_once_and_belongs_to_its_stage(stage):
    paths = [source.path for source in sources(stage)]
    assert not [path for path, count in Counter(paths).items() if count > 1]
    assert all(path.startswith(f"Data/Draw-and-Understand/{STAGES[stage]}/") for path in paths)


def test_a_root_is_written_once_and_told_of(stage):
    told = (ROOT / "Data" / "sources.md").read_text(encoding="utf-8")
    text = (FOLDER / f"{stage}.yaml").read_text(encoding="utf-8")
    for root in {source.root for source in sources(stage)}:
        assert root.startswith("Data/pictures/")
        assert f"`{root.removeprefix('Data/')}/" in told, f"Data/sources.md says nothing of {root}"
        assert len(re.findall(rf"^    root: &\w+ {re.escape(root)}$", text, re.M)) == 1


def test_guessed_names_are_marked(stage):
    marked = re.findall(r"- path: (\S+)  # \?", (FOLDER / f"{stage}.yaml").read_text(encoding="utf-8"))
    seen = [source.path.rsplit("/", 1)[1] for source in sources(stage) if source.path not in marked]
    # From the published repository's own configurations.
    assert {"vp_pretrain": "LVIS_point2label.json", "vp_finetune": "VG_region_brief_caption.json"}[stage] in seen
