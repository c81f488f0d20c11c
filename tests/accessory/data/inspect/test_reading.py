"""Annotation files item by item: the same as `json.load`, whatever the window; faults name their item."""

import json

import pytest
import yaml

from accessory.data import scan
from accessory.data.inspect.reading import items, origins
from accessory.data.sources import read_sources
from SPHINX_V.errors import ConfigError, DataError
from tests.accessory.runs import talk

VALUES = [{"a": [1, 2, {"b": "]},["}]}, 'text, with \\ and "', 12, None, [], {"long": "x" * 300}, -1.5e3, "\u2028é"]


@pytest.fixture
def file(tmp_path):
    def written(content, name="items.json"):
        path = tmp_path / name
        path.write_text(content, encoding="utf-8", newline="")
        return path

    return written


@pytest.mark.parametrize("chunk", [1, 2, 7, 64, 1 << 20])
@pytest.mark.parametrize("layout", [{}, {"indent": 2}, {"separators": (",", ":")}, {"ensure_ascii": False}])
def test_a_list_is_what_json_reads(file, monkeypatch, chunk, layout):
    monkeypatch.setattr(scan, "CHUNK", chunk)
    path = file(f" \r\n{json.dumps(VALUES, **layout)}\n")
    assert [(item.number, item.value) for item in items(path)] == list(enumerate(VALUES))


def test_an_empty_list_has_no_items(file):
    assert list(items(file("[ ]"))) == []


def test_lines_keep_their_numbers_and_a_broken_one_is_one_fault(file):
    path = file('{"a": "\u2028"}\n\n{"b": \n[]\n', "items.jsonl")
    read = list(items(path))
    assert [(item.number, item.value) for item in read] == [(0, {"a": "\u2028"}), (2, None), (3, [])]
    assert str(read[1].error).startswith(f"{path}, item 2: not valid JSON: ")


@pytest.mark.parametrize("content", ["", "{}", "[1, 2", "[1] x"])
def test_what_is_no_list_is_refused_with_its_name(file, content):
    path = file(content)
    with pytest.raises(DataError) as caught:
        list(items(path))
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize("content, bad", [("[1, {2}, 3]", 1), ("[1 2, 3]", 0), ("[1, , 3]", 1), ("[1, ]", 1)])
def test_a_broken_item_does_not_keep_the_others_away(file, content, bad):
    path = file(content)
    read = list(items(path))
    assert [item.number for item in read if item.error] == [bad]
    assert str(read[bad].error).startswith(f"{path}, item {bad}: not valid JSON: ")


def test_files_that_cannot_be_read_are_named(tmp_path, file):
    with pytest.raises(DataError, match="no such annotation file"):
        list(items(tmp_path / "gone.json"))
    with pytest.raises(DataError, match="cannot be read"):
        list(items(tmp_path))
    (tmp_path / "bytes.json").write_bytes(b'["\xff"]')
    with pytest.raises(DataError, match="not UTF-8"):
        list(items(tmp_path / "bytes.json"))


def test_paths_are_found_where_training_finds_them(tmp_path, monkeypatch):
    (tmp_path / "config").mkdir()
    (tmp_path / "here" / "pictures").mkdir(parents=True)
    (tmp_path / "config" / "a.json").write_text(json.dumps([talk("?", "!", image="a.png")]))
    (tmp_path / "here" / "b.json").write_text(json.dumps([talk("?", "!", image="b.png")]))
    config = tmp_path / "config" / "data.yaml"
    meta = [{"path": "a.json", "type": "t"}, {"path": "b.json", "type": "t", "root": "pictures"}]
    config.write_text(yaml.safe_dump({"META": meta}))
    monkeypatch.chdir(tmp_path / "here")
    found = origins(config)
    assert [(origin.path, origin.root) for origin in found] == [
        (source.path, source.root) for source in read_sources(config)
    ]
    assert [origin.index for origin in found] == [0, 1]


def test_a_wrong_configuration_is_refused(tmp_path):
    config = tmp_path / "data.yaml"
    config.write_text("META:\n  - {path: a, typ: t}\n")
    with pytest.raises(ConfigError, match=r"line 2: unknown key META\.0\.typ; did you mean type\?"):
        origins(config)
