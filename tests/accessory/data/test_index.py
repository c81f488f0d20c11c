"""The index of an annotation file: found again, rebuilt when the file changes, and refused when it changes under us."""

import json
import multiprocessing

import pytest

from accessory.data.index import build_index, index_place, open_index
from SPHINX_V.errors import ConfigError, DataError

ITEMS = [{"number": number, "text": 'a "quoted", [bracketed] \\ text ä'} for number in range(5)]


@pytest.fixture
def path(tmp_path):
    (tmp_path / "items.json").write_text(json.dumps(ITEMS, ensure_ascii=False), encoding="utf-8")
    return tmp_path / "items.json"


def built(path, index_dir=None):
    return build_index(path, index_place(path, index_dir))


def values(file):
    return [file.item(number) for number in file.numbers]


def index_files(folder):
    return sorted(folder.rglob("*.safetensors"))


def test_items_are_read_in_any_order(path):
    file = built(path)
    assert file.numbers.tolist() == [0, 1, 2, 3, 4]
    assert [file.item(number) for number in (3, 0, 4)] == [ITEMS[3], ITEMS[0], ITEMS[4]]
    assert file.where(3) == f"{path}, item 3"


def test_items_of_jsonl_are_numbered_by_line(tmp_path):
    path = tmp_path / "items.jsonl"
    path.write_text('{"a": 1}\n\n{"a": 2}\n', encoding="utf-8")
    file = built(path)
    assert file.numbers.tolist() == [0, 2]
    assert values(file) == [{"a": 1}, {"a": 2}]


def test_an_index_is_kept_beside_the_file_and_used_again(path):
    assert open_index(path, index_place(path, None)) is None
    built(path)
    (kept,) = index_files(path.parent)
    assert kept.parent == path.parent / ".sphinx_v_index"
    before = kept.stat()
    assert values(built(path)) == ITEMS
    assert values(open_index(path, index_place(path, None))) == ITEMS
    assert (kept.stat().st_mtime_ns, kept.stat().st_ino) == (before.st_mtime_ns, before.st_ino)


def test_another_folder_may_keep_the_index_of_files_with_one_name(tmp_path):
    contents = {"one": [1, 22], "two": [333]}
    for name, content in contents.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "items.json").write_text(json.dumps(content), encoding="utf-8")
    for _ in range(2):
        for name, content in contents.items():
            assert values(built(tmp_path / name / "items.json", str(tmp_path / "kept"))) == content
    assert len(index_files(tmp_path / "kept")) == len(index_files(tmp_path)) == 2


def test_a_file_that_is_written_anew_is_indexed_anew(tmp_path):
    """Also at once and with as many bytes, which leaves only the time of the change to tell."""
    path = tmp_path / "items.json"
    for number in range(10, 17):
        path.write_text(f"[{number}, {number}00]" if number % 2 else f"[{number}00, {number}]", encoding="utf-8")
        assert values(built(path)) == ([number, number * 100] if number % 2 else [number * 100, number])


def test_a_damaged_index_is_built_again(path):
    built(path)
    (kept,) = index_files(path.parent)
    kept.write_bytes(kept.read_bytes()[:-1])
    assert values(built(path)) == ITEMS


def test_a_file_that_changes_while_it_is_read_is_refused(path):
    file = built(path)
    assert file.item(0) == ITEMS[0]
    with path.open("a", encoding="utf-8") as longer:
        longer.write(" ")
    with pytest.raises(DataError, match=rf"{path}: has changed since it was indexed; start again"):
        file.item(0)


@pytest.mark.parametrize("item", ["{a}", "", "[" * 100_000 + "]" * 100_000, "1" * 5000, "01"])
def test_an_item_that_is_no_json_is_named(tmp_path, item):
    path = tmp_path / "items.json"
    path.write_text(f"[1, {item}, 3]", encoding="utf-8")
    file = built(path)
    assert (file.item(0), file.item(2)) == (1, 3)
    with pytest.raises(DataError, match=rf"{path}, item 1: not valid JSON: "):
        file.item(1)


def test_a_place_that_cannot_be_written_is_named_with_the_option(path):
    (path.parent / ".sphinx_v_index").write_text("taken", encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        built(path)
    assert str(caught.value).startswith(f"{path.parent / '.sphinx_v_index'}: cannot be written (")
    assert "name another folder in data.index_dir" in str(caught.value)
    assert values(built(path, str(path.parent / "other"))) == ITEMS


def read(file, results):
    results.put(values(file))


def test_forked_processes_read_through_the_same_file(path):
    file = built(path)
    assert file.item(1) == ITEMS[1]  # so that the file is open when it is inherited
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    readers = [context.Process(target=read, args=(file, results)) for _ in range(3)]
    for reader in readers:
        reader.start()
    assert [results.get(timeout=60) for _ in readers] == [ITEMS] * 3
    for reader in readers:
        reader.join()
    assert values(file) == ITEMS
