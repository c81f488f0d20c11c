"""Files of evaluation: what a cut leaves behind, what is refused, and that lines reach the file whole."""

import pytest

from accessory.eval.files import append_lines, complete_lines, read_json_items, write_whole
from SPHINX_V.errors import DataError


def test_lines_are_added_and_half_a_line_is_cut_off_first(tmp_path):
    path = tmp_path / "a.jsonl"
    append_lines(path, ['{"n": 1}', '{"n": 2}'])
    with path.open("ab") as file:
        file.write('{"n": 3, "text": "é'.encode()[:-1])  # killed in the middle of a character
    append_lines(path, ['{"n": 4}'])
    assert path.read_text("utf-8") == '{"n": 1}\n{"n": 2}\n{"n": 4}\n'


def test_a_file_that_holds_only_half_a_line_begins_anew(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"n": 1' + b" " * 200_000)  # longer than a block that is looked at from the end
    append_lines(path, ['{"n": 2}'])
    assert path.read_bytes() == b'{"n": 2}\n'


def test_complete_lines_end_at_the_last_break():
    assert complete_lines(b"a\nb\nc") == b"a\nb\n"
    assert complete_lines(b"a") == b""
    assert complete_lines(b"") == b""


def test_a_whole_file_replaces_another_and_leaves_nothing_beside_it(tmp_path):
    write_whole(tmp_path / "new" / "a.json", "old")
    write_whole(tmp_path / "new" / "a.json", "new é")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.json"]
    assert (tmp_path / "new" / "a.json").read_text("utf-8") == "new é"


def test_lists_and_lines_are_read_whatever_the_file_is_called(tmp_path):
    path = tmp_path / "items.json"
    path.write_text('[{"a": 1},\n {"a": 2}]', "utf-8")
    assert read_json_items(path) == [{"a": 1}, {"a": 2}]
    path.write_text('{"a": 1}\n\n{"a": "x\u2028y"}\n', "utf-8")  # U+2028 is no line break in JSON
    assert read_json_items(path) == [{"a": 1}, {"a": "x\u2028y"}]
    lines = tmp_path / "one.jsonl"
    lines.write_text('{"a": 1}\n', "utf-8")
    assert read_json_items(lines) == [{"a": 1}]


WRONG = [
    ("[1, 2", "not valid JSON"),
    ('{"a": 1}\n{"a": 2\n', "line 2: not valid JSON"),
    ("{}", "a list of at least one"),
    ("[]", "a list of at least one"),
    ("", "not valid JSON"),
]


@pytest.mark.parametrize("text, expected", WRONG)
def test_what_is_neither_is_refused_by_name(tmp_path, text, expected):
    path = tmp_path / "items.json"
    path.write_text(text, "utf-8")
    with pytest.raises(DataError, match=expected) as caught:
        read_json_items(path)
    assert str(caught.value).startswith(str(path))


def test_a_file_that_is_not_text_is_refused(tmp_path):
    (tmp_path / "a.json").write_bytes(b"\xff\xfe[]")
    with pytest.raises(DataError, match="not UTF-8"):
        read_json_items(tmp_path / "a.json")
    with pytest.raises(DataError, match="cannot be read"):
        read_json_items(tmp_path)
