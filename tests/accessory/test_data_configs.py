"""The data configurations of the published recipe: well formed, every source told of in Data/sources.md."""

import re
from collections import Counter

import pytest

from accessory.config import load_options
from accessory.data.sources import DataConfig
from tests.house.repo import ROOT

FOLDER = ROOT / "accessory" / "configs" / "data"
POINTS = {"lvis", "vg", "ade20k", "cocostuff_10k", "cocostuff_164k", "pascal_context"}
SCREENS = ("general", "google_apps", "install", "single", "web_shopping")
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


def test_guessed_paths_are_marked_and_no_others(stage):
    marked = re.findall(r"- path: (\S+)  # \?", (FOLDER / f"{stage}.yaml").read_text(encoding="utf-8"))
    believed = {source.path.rsplit("/", 1)[1] for source in sources(stage) if source.path not in marked}
    # From the published repository's own configurations and from public code that reads the published files.
    seen = {
        "vp_pretrain": ["LVIS_point2label.json", "cocostuff_164k_point2label.json"],
        "vp_finetune": [
            "VG_region_brief_caption.json",
            *(f"gpt4v_{name}_QA_point.json" for name in ("lvis", "vg")),
            *(f"gpt4v_{name}_detailed_caption_point.json" for name in POINTS),
            *(f"gpt4v_android_{name}_detailed_caption_bbox.json" for name in SCREENS),
        ],
    }
    assert set(seen[stage]) <= believed


def test_names_that_were_seen_stand_where_only_the_folder_is_a_guess():
    listed = {source.path.rsplit("/", 1)[1] for source in sources("vp_finetune")}
    captions = {f"gpt4v_{name}_brief_caption_point.json" for name in POINTS - {"pascal_context"}}
    captions |= {"Flicker30K_multi_points_to_caption.json", "OpenPsgGCG_train_multi_points_to_caption.json"}
    assert captions <= listed
