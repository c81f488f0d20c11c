"""Data configurations: roots, ratios, .json and .jsonl, and bad items refused or counted."""

import json

import pytest
import yaml

from accessory.config import DataOptions
from accessory.data.dataset import RegionDataset
from accessory.data.sources import BadItems
from SPHINX_V.errors import ConfigError, DataError
from tests.accessory.runs import talk

GOOD = [talk(f"Question {number}?", f"Answer {number}.") for number in range(10)]


def configured(folder, content=GOOD, name="items.json", **fields):
    """A data configuration of one source with this content."""
    if name.endswith(".jsonl") and isinstance(content, list):
        content = "\n".join(json.dumps(item, ensure_ascii=False) for item in content) + "\n"
    (folder / name).write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    config = folder / "data.yaml"
    config.write_text(yaml.safe_dump({"META": [{"path": name, "type": "image_text", **fields}]}), encoding="utf-8")
    return config


@pytest.fixture
def entries(golden_processor):
    """The items of a data configuration as training reads them."""

    def read(config, on_bad="refuse", bad=None, max_bad_rate=1.0):
        options = DataOptions(
            config=str(config),
            max_words=2048,
            on_bad_sample=on_bad,
            max_bad_rate=max_bad_rate,
            check_pictures=False,
        )
        dataset = RegionDataset(options, golden_processor, 0, bad or BadItems())
        return [dataset.entry(index) for index in range(len(dataset))]

    return read


@pytest.fixture
def questions(entries):
    return lambda *given, **options: [entry.annotation.turns[0].question for entry in entries(*given, **options)]


@pytest.mark.parametrize("name", ["items.json", "items.jsonl"])
def test_items_in_the_order_of_the_file(tmp_path, name, questions):
    assert questions(configured(tmp_path, name=name)) == [f"Question {number}?" for number in range(10)]


def test_jsonl_with_blank_lines_and_line_separators_inside_a_text(tmp_path, questions):
    lines = [json.dumps(talk("One\u2028line?", "Yes."), ensure_ascii=False), "", json.dumps(GOOD[0]), ""]
    assert questions(configured(tmp_path, "\n".join(lines), "items.jsonl")) == ["One\u2028line?", "Question 0?"]


def test_the_root_is_relative_to_the_configuration(tmp_path, entries):
    items = [talk("What?", "That.", image="sub/a.png")]
    entry = entries(configured(tmp_path, items, root="pictures"))[0]
    assert entry.picture == tmp_path / "pictures" / "sub" / "a.png"
    entry = entries(configured(tmp_path, items))[0]
    assert entry.picture == tmp_path / "sub" / "a.png"


def test_a_ratio_takes_the_same_items_every_time_in_their_order(tmp_path, questions):
    config = configured(tmp_path, ratio=0.5)
    chosen = questions(config)
    # random.Random(0).sample(range(10), 5) is 6, 9, 0, 2, 4, as it always was.
    assert chosen == [f"Question {number}?" for number in (0, 2, 4, 6, 9)]
    assert chosen == questions(config)


def test_a_bad_item_is_refused_with_file_index_and_reason(tmp_path, questions):
    config = configured(tmp_path, [*GOOD[:3], {"conversations": []}, *GOOD[3:]])
    with pytest.raises(DataError) as caught:
        questions(config)
    assert str(caught.value).startswith(f"{tmp_path / 'items.json'}, item 3: conversations is []")


def test_bad_items_are_counted_and_named(tmp_path, questions):
    content = [*GOOD[:2], "text", GOOD[2], {**GOOD[3], "bbox": [[1, 2, 3, 4]]}]
    bad = BadItems()
    assert questions(configured(tmp_path, content), "skip", bad) == ["Question 0?", "Question 1?", "Question 2?"]
    summary = bad.summary().splitlines()
    assert summary[0] == "2 bad items left out:"
    assert summary[1].strip().startswith(f"{tmp_path / 'items.json'}, item 2: ")
    assert summary[2].strip() == f"{tmp_path / 'items.json'}, item 4: 1 marks but no image; marks need a picture."


def test_a_broken_line_of_jsonl_is_one_bad_item(tmp_path, questions):
    content = "\n".join([json.dumps(GOOD[0]), '{"conversations": [', json.dumps(GOOD[1])])
    config = configured(tmp_path, content, "items.jsonl")
    bad = BadItems()
    assert len(questions(config, "skip", bad)) == 2
    assert "item 1: not valid JSON" in next(iter(bad.places))
    with pytest.raises(DataError, match="item 1: not valid JSON"):
        questions(config)


def test_an_item_met_twice_counts_once_and_long_lists_are_cut():
    bad = BadItems()
    for number in [*range(12), 3, 4]:
        bad.add(f"place {number}")
    assert len(bad.places) == 12
    assert bad.summary().splitlines()[-1].strip() == "… and 2 more"


@pytest.mark.parametrize(
    "content, part", [("[1, 2", "not valid JSON"), ("{}", "holds a dict"), ('"text"', "holds a str")]
)
def test_a_file_that_is_no_list_is_refused_even_when_skipping(tmp_path, content, part, questions):
    with pytest.raises(DataError, match=part):
        questions(configured(tmp_path, content), "skip")


def test_missing_files_are_named(tmp_path, questions):
    config = configured(tmp_path)
    (tmp_path / "items.json").unlink()
    with pytest.raises(DataError, match=r"items\.json: no such annotation file"):
        questions(config)
    (tmp_path / "items.json").mkdir()
    with pytest.raises(DataError, match=r"items\.json: cannot be read"):
        questions(config)
    with pytest.raises(ConfigError, match="no such configuration"):
        questions(tmp_path / "other.yaml")


def test_text_that_is_not_utf8_is_refused(tmp_path, questions):
    config = configured(tmp_path)
    (tmp_path / "items.json").write_bytes(b'["\xff"]')
    with pytest.raises(DataError, match="not UTF-8"):
        questions(config)


@pytest.mark.parametrize(
    "meta, parts",
    [
        ({"META": []}, ("META",)),
        ({"META": [{"path": "a"}]}, ("line 2", "META.0.type", "required")),
        ({"META": [{"path": "a", "type": "t", "ratoi": 0.5}]}, ("line 3", "META.0.ratoi", "did you mean ratio?")),
        ({"META": [{"path": "a", "type": "t", "ratio": 1.5}]}, ("META.0.ratio", "1.5")),
    ],
)
def test_a_wrong_configuration_names_its_line(tmp_path, meta, parts, questions):
    config = tmp_path / "data.yaml"
    config.write_text(yaml.safe_dump(meta), encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        questions(config)
    for part in (str(config), *parts):
        assert part in str(caught.value)


def test_nothing_left_is_refused(tmp_path, questions):
    with pytest.raises(ConfigError, match=r"no item is left to train on, of 1; .*\n.*item 0: the item is a str"):
        questions(configured(tmp_path, ["bad"]), "skip")


@pytest.mark.parametrize("content, name", [("[]", "items.json"), (" [ \n ]\n", "items.json"), ("\n\n", "items.jsonl")])
def test_an_empty_data_set_is_refused(tmp_path, content, name, questions):
    config = configured(tmp_path, content, name)
    with pytest.raises(ConfigError) as caught:
        questions(config)
    assert str(caught.value).startswith(f"{config}: no item is left to train on, of 0; ")
