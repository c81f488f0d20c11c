"""Sources and items are those of training; looking leaves nothing behind."""

import json

import pytest
import yaml

from accessory.data.index import FOLDER, build_index, index_place
from accessory.data.inspect.reading import annotation_file, chosen_sources
from SPHINX_V.errors import ConfigError, DataError, UsageError


@pytest.fixture
def config(tmp_path):
    for name in ("a_box.json", "a_point.json", "b_box.json"):
        (tmp_path / name).write_text(json.dumps([{"from": name}]))
    path = tmp_path / "data.yaml"
    path.write_text(yaml.safe_dump({"META": [{"path": file.name, "type": "t"} for file in tmp_path.glob("*.json")]}))
    return path


def names(config, only):
    return sorted(source.path.name for source in chosen_sources(config, only))


def test_sources_are_chosen_by_a_part_of_their_path(config):
    assert names(config, "") == ["a_box.json", "a_point.json", "b_box.json"]
    assert names(config, "box") == ["a_box.json", "b_box.json"]
    with pytest.raises(UsageError, match="--only c_: none of the 3 paths in"):
        chosen_sources(config, "c_")


def test_a_wrong_configuration_is_refused(config):
    config.write_text("META:\n  - {path: a, typ: t}\n")
    with pytest.raises(ConfigError, match=r"line 2: unknown key META\.0\.typ; did you mean type\?"):
        chosen_sources(config, "")


def test_looking_leaves_nothing_beside_the_file(config):
    path = config.parent / "a_box.json"
    before = sorted(config.parent.iterdir())
    with annotation_file(path) as file:
        assert [file.item(number) for number in file.numbers] == [{"from": "a_box.json"}]
    assert sorted(config.parent.iterdir()) == before


def test_the_index_of_training_is_used(config):
    path = config.parent / "a_box.json"
    place = index_place(path, None)
    build_index(path, place)
    (stored,) = (config.parent / FOLDER).iterdir()
    with annotation_file(path) as file:
        assert file.item(0) == {"from": "a_box.json"}
        # A file that is kept open by its index: what it says of itself is that index's.
        assert file._index.path == stored
    assert stored.exists()


def test_a_file_that_cannot_be_read_is_named(config):
    with pytest.raises(DataError, match="no such annotation file"), annotation_file(config.parent / "gone.json"):
        pass
