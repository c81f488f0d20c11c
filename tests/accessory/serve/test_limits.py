"""Bodies within limits: what is counted, and what is not."""

import asyncio
import json

import pytest

from accessory.serve.errors import ApiError, ClientGone
from accessory.serve.limits import InFlight, parse_json, read_body
from accessory.serve.options import Limits

LIMITS = Limits(body_bytes=100, body_seconds=0.2, depth=4, values=20)


def parsed(text):
    return parse_json(text if isinstance(text, bytes) else text.encode(), LIMITS)


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"a": [[[1]]]},
        {"a": "[[[[[[[["},
        {"a": '"[[[[[[', "b": "\\"},
        {'"': "\\\\[[[[[[[", "[[[[[": "{{{{{\n"},
        {"a": "," * 50},
        {"a": [1] * 18},
        {"a": "é\u2028"},
    ],
    ids=ascii,
)
def test_what_is_within_them_comes_back(value):
    assert parsed(json.dumps(value)) == value
    assert parsed(json.dumps(value, ensure_ascii=False)) == value


@pytest.mark.parametrize(
    "text, code",
    [
        ('{"a": [[[[1]]]]}', "too_deep"),
        ('{"a": {"b": {"c": {"d": {}}}}}', "too_deep"),
        ('{"\\"": [[[[[', "too_deep"),
        ("[" * 19, "too_deep"),
        (json.dumps({"a": [1] * 30}), "too_many_values"),
        ("[" * 1000, "too_many_values"),
        ("]" * 15, "invalid_json"),
        ('{"a": 1', "invalid_json"),
        ('{"a": "', "invalid_json"),
        ("1", "invalid_json"),
        ("null", "invalid_json"),
        ("{'a': 1}", "invalid_json"),
        ('{"a": -Infinity}', "invalid_json"),
        ('{"a": 1e400}', "invalid_json"),
        ('{"a": %s}' % ("1" * 5000), "invalid_json"),
    ],
    ids=lambda text: text[:20],
)
def test_what_is_not_is_refused(text, code):
    with pytest.raises(ApiError) as caught:
        parsed(text)
    assert caught.value.code == code


def body_of(*messages, declared=None, limits=LIMITS):
    """What `read_body` makes of these messages, after which nothing more comes."""

    async def read():
        waiting = list(messages)

        async def receive():
            if not waiting:
                await asyncio.Event().wait()
            return waiting.pop(0)

        with (share := InFlight(150)).share() as grow:
            body = await read_body(receive, declared, limits, grow)
            assert share.bytes == len(body)
        assert share.bytes == 0
        return body

    return asyncio.run(read())


def part(data, more=True):
    return {"type": "http.request", "body": data, "more_body": more}


def test_parts_are_joined():
    assert body_of(part(b"ab"), part(b""), part(b"c", more=False)) == b"abc"
    assert body_of(part(b"", more=False)) == b""


def test_size_and_time_are_bounded():
    for declared, messages, status in (
        (101, [], 413),
        (None, [part(b"a" * 60), part(b"a" * 41)], 413),
        (None, [part(b"a" * 60)], 408),
    ):
        with pytest.raises(ApiError) as caught:
            body_of(*messages, declared=declared)
        assert caught.value.status == status


def test_a_hang_up_is_noticed():
    with pytest.raises(ClientGone):
        body_of(part(b"a"), {"type": "http.disconnect"})


def test_all_bodies_together_are_bounded():
    held = InFlight(100)
    with held.share() as one:
        one(60)
        with held.share() as two:
            two(30)
            with pytest.raises(ApiError, match="ask again") as caught:
                two(30)
        assert caught.value.status == 429
        assert held.bytes == 60
    assert held.bytes == 0
