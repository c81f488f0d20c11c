"""The registry: our suites are whole and follow the papers, a user adds one without code, mistakes are named."""

from importlib import resources
from pathlib import Path

import pytest
import yaml

from accessory.config import load_options
from accessory.eval.options import EvalOptions
from accessory.eval.registry import Roots, read_registry
from accessory.eval.suites.kinds import KINDS
from SPHINX_V.errors import ConfigError, DataError


def test_mdvp_bench_has_thirty_tasks_in_four_domains():
    registry = read_registry()
    tasks = registry.groups["MDVP"]
    assert len(tasks) == len(set(tasks)) == 30
    domains = [name for name in registry.groups if name.startswith("MDVP_")]
    assert sorted(task for domain in domains for task in registry.groups[domain]) == sorted(tasks)
    for task in tasks:
        entry = registry.suites[task]
        assert entry.max_new_tokens == (1024 if "detailed" in task else 256)
        assert (entry.kind, entry.protocol) == ("judged", "mdvp")
        assert entry.on_bad_item == ("unanswered" if task == "android_QA_box" else "refuse")


def test_every_benchmark_of_the_papers_is_there_and_every_kind_has_a_class():
    registry = read_registry()
    for name in ("LVIS_box", "LVIS_point", "PACO_box", "PACO_point", "COCOText_box", "RefCOCOg_brief_caption"):
        assert name in registry.suites
    for name in ("Osprey_80", "VCR", "Ferret_refer_reason", "POPE_adversarial", "DLC_Bench", "labels_box"):
        assert name in registry.suites
    assert {entry.kind for entry in registry.suites.values()} == set(KINDS)
    assert registry.suites["LVIS_box"].max_new_tokens == 256


def test_all_registry_files_are_found():
    folder = Path(str(resources.files("accessory"))) / "configs" / "eval"
    read = read_registry()
    for path in folder.glob("*.yaml"):
        for name in yaml.safe_load(path.read_text("utf-8"))["suites"]:
            assert read.origins[name] == path


def test_our_evaluations_name_suites_that_exist():
    folder = Path(str(resources.files("accessory"))) / "configs" / "evaluations"
    registry = read_registry()
    found = {path.stem: registry.chosen(load_options(EvalOptions, path).suites) for path in folder.glob("*.yaml")}
    assert found["heldout"] == registry.groups["heldout"]
    ours = {name for name, origin in registry.origins.items() if origin.stem != "heldout"}
    assert ours - set(found["papers"]) == {"Osprey_80"}, "which is there in another form"


def mine(tmp_path, text):
    path = tmp_path / "mine.yaml"
    path.write_text(text, "utf-8")
    return path


def test_a_user_adds_a_suite_and_a_group_without_code(tmp_path):
    text = "suites:\n  mine: {kind: labels, file: mine.json}\ngroups:\n  ours: [mine, LVIS_box]\n"
    registry = read_registry([mine(tmp_path, text)])
    assert registry.suites["mine"].max_new_tokens == 256
    assert registry.chosen(["ours", "mine"]) == ["mine", "LVIS_box"]


def test_a_user_redefines_one_of_ours(tmp_path):
    registry = read_registry([mine(tmp_path, "suites:\n  LVIS_box: {kind: labels, file: elsewhere.json}\n")])
    assert registry.suites["LVIS_box"].file == "elsewhere.json"


WRONG = [
    ("suites:\n  mine: {kind: labels, file: a.json, imges: x}\n", "line 2: unknown key suites.mine.imges"),
    ("suites:\n  mine: {kind: magic, file: a.json}\n", "suites.mine.kind"),
    ("suites:\n  mine: {kind: judged, file: a.json}\n", "kind judged needs a protocol"),
    ("suites:\n  mine: {kind: labels, protocol: mdvp, file: a.json}\n", "no other kind has one"),
    ("suites:\n  mine: {kind: judged, protocol: dlc, file: a.json}\n", "questions and names"),
    ("suites:\n  a/b: {kind: labels, file: a.json}\n", "becomes a file name"),
    ("suites:\n  a: {kind: labels, file: a.json, prompt: 'Say it.'}\n", "must hold {question} once"),
    ("suites:\n  a: {kind: labels, file: a.json}\ngroups:\n  g: [b]\n", "unknown suites b"),
    ("suites:\n  a: {kind: labels, file: a.json}\ngroups:\n  a: [a]\n", "the name of a suite"),
    ("suites: {}\n", "suites"),
]


@pytest.mark.parametrize("text, expected", WRONG)
def test_mistakes_are_named(tmp_path, text, expected):
    with pytest.raises(ConfigError) as caught:
        read_registry([mine(tmp_path, text)])
    assert expected in str(caught.value)
    assert str(tmp_path / "mine.yaml") in str(caught.value)


def test_an_unknown_suite_is_told_with_its_nearest():
    with pytest.raises(ConfigError, match="no suite LVIS_boxes; did you mean LVIS_box"):
        read_registry().chosen(["LVIS_boxes"])


def test_files_are_found_under_the_root_and_without_their_folders(tmp_path):
    roots = Roots(tmp_path, tmp_path)
    with pytest.raises(DataError, match=r"neither deep/a\.json nor a\.json"):
        roots.file("deep/a.json")
    (tmp_path / "a.json").touch()
    assert roots.file("deep/a.json") == tmp_path / "a.json"
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.json").touch()
    assert roots.file("deep/a.json") == tmp_path / "deep" / "a.json"


def test_pictures_lie_in_their_folder_or_in_the_root_itself(tmp_path):
    assert Roots(tmp_path, tmp_path).folder("coco/val2017") == tmp_path
    (tmp_path / "coco" / "val2017").mkdir(parents=True)
    assert Roots(tmp_path, tmp_path).folder("coco/val2017") == tmp_path / "coco" / "val2017"
    (tmp_path / "pictures").mkdir()
    assert Roots(tmp_path, tmp_path / "pictures").folder("coco/val2017") == tmp_path / "coco" / "val2017"
    with pytest.raises(DataError, match="no such folder"):
        Roots(tmp_path, tmp_path / "absent").folder("x")
