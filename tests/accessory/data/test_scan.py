"""Where items begin and end: exactly what json.load finds, wherever the file is cut into chunks."""

import io
import itertools
import json
import random

import pytest

from accessory.data import scan
from accessory.data.scan import scan_lines, scan_list
from SPHINX_V.errors import DataError

# What a scanner may stumble over: signs of structure inside of strings, runs of backslashes, bytes above 127.
LETTERS = ['"', "\\", "\\\\", "[", "]", "{", "}", ",", ":", " ", "\n", "a", "é", "\u2028", "😀"]


def items(content):
    bounds = scan_list(io.BytesIO(content), "items.json")
    return [json.loads(content[start + 1 : stop]) for start, stop in itertools.pairwise(bounds)]


def lines(content):
    """The lines that are not blank, by number."""
    bounds, blank = scan_lines(io.BytesIO(content), "items.jsonl")
    found = {number: content[bounds[number] + 1 : bounds[number + 1]] for number in range(len(bounds) - 1)}
    return {number: line for number, line in found.items() if number not in blank}


def drawn(chance, depth=0):
    """A random JSON value."""
    kind = chance.randrange(4 if depth > 3 else 6)
    if kind == 0:
        return chance.choice([None, True, 0, -1.5e300, 12345678901234567890])
    if kind < 4:
        return "".join(chance.choices(LETTERS, k=chance.randrange(9)))
    values = [drawn(chance, depth + 1) for _ in range(chance.randrange(4))]
    return values if kind == 4 else {f"{number}{chance.choice(LETTERS)}": value for number, value in enumerate(values)}


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 64, 1 << 18])
def test_items_are_those_of_json_load(monkeypatch, chunk):
    monkeypatch.setattr(scan, "CHUNK", chunk)
    chance = random.Random(chunk)
    for _ in range(200):
        value = [drawn(chance) for _ in range(chance.randrange(5))]
        content = json.dumps(value, ensure_ascii=chance.random() < 0.5, indent=chance.choice([None, 2])).encode()
        content = b" \r\n" * chance.randrange(2) + content + b"\n\t " * chance.randrange(2)
        assert items(content) == value, content


@pytest.mark.parametrize("chunk", [1, 5, 1 << 18])
def test_a_damaged_list_is_never_taken_for_a_whole_one(monkeypatch, chunk):
    """A byte lost, doubled or exchanged: where json.load refuses, so does the scanner or an item of it."""
    monkeypatch.setattr(scan, "CHUNK", chunk)
    chance = random.Random(chunk)
    refused = 0
    for _ in range(300):
        content = bytearray(json.dumps([drawn(chance) for _ in range(3)]).encode())
        place = chance.randrange(len(content))
        content[place : place + 1] = chance.choice([b"", content[place : place + 1] * 2, b'"', b"]", b",", b"\\"])
        try:
            expected = json.loads(content)
        except ValueError:
            expected = None
        try:
            found = items(bytes(content))
        except ValueError:  # DataError is one
            found = None
        assert found == expected, bytes(content)
        refused += expected is None
    assert refused > 100


@pytest.mark.parametrize("chunk", [1, 2, 1 << 18])
def test_lines_end_at_line_feeds_alone(monkeypatch, chunk):
    monkeypatch.setattr(scan, "CHUNK", chunk)
    assert lines("1\r\n\n  2\n\u2028 \n \t\r\n\n3".encode()) == {0: b"1\r", 2: b"  2", 3: "\u2028 ".encode(), 6: b"3"}
    assert lines(b"1\n2\n") == {0: b"1", 1: b"2"}
    assert lines(b"\n \n") == {}
    assert lines(b"") == {}


@pytest.mark.parametrize(
    "content, sentence",
    [
        (b"", "not valid JSON: the file is empty"),
        (b" \n", "not valid JSON: the file is empty"),
        (b'[1, {"a": [2', "not valid JSON: the file ends inside item 1, which begins at byte 3"),
        (b'["a, ]', "not valid JSON: the file ends inside item 0, which begins at byte 1"),
        (b"[1] 2", "not valid JSON: something follows the list, at byte 4"),
        (b"[1]]", "not valid JSON: something follows the list, at byte 3"),
        (b"[1}", "not valid JSON: } at byte 2 closes nothing"),
        (b'{"a": 1}', "holds a dict; an annotation file is a list of items"),
        (b'"text"', "holds a str"),
        (b"-1", "holds a number"),
        (b"true", "holds a bool"),
        (b"null", "holds a NoneType"),
        (b"\xef\xbb\xbf[1]", "not valid JSON: byte 0xef at 0 opens no list; an annotation file is a list"),
        (b"  x", "not valid JSON: byte 0x78 at 2 opens no list"),
        (b'["\xc3\xa4", "\xff"]', "is not UTF-8 text (byte 0xff at 8: invalid start byte); save it again as UTF-8."),
        (b'["\xc3', "is not UTF-8 text (byte 0xc3 at 2: unexpected end of data)"),
    ],
)
@pytest.mark.parametrize("chunk", [1, 3, 1 << 18])
def test_a_file_that_is_no_list_is_refused_by_name(monkeypatch, content, sentence, chunk):
    monkeypatch.setattr(scan, "CHUNK", chunk)
    with pytest.raises(DataError) as caught:
        items(content)
    assert str(caught.value).startswith(f"items.json: {sentence}")


def test_lines_that_are_not_utf8_are_refused():
    with pytest.raises(DataError, match=r"is not UTF-8 text \(byte 0xff at 3"):
        lines(b'1\n"\xff"')
