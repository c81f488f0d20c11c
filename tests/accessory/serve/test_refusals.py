"""What attackers and mistakes send: each is answered by a 4xx and a sentence, and the server goes on."""

import io
import json
import socket
import struct
import time
import zlib

import pytest
from PIL import Image

from accessory.serve.options import Limits
from tests.accessory.serve.running import PICTURE, data_uri, image, mark, refusal, text_of, user

CHAT = "/v1/chat/completions"
LIMITS = Limits()


@pytest.fixture(autouse=True)
def _alive_after(server):
    yield
    assert text_of(server.ask("Why?", max_tokens=1)) is not None
    assert server.http.get("/health").status_code == 200
    assert server.idle()


def refused_at_once(send):
    """The error of what `send` sends. Server and client together work for less than 100 ms on it: processor time, which
    other processes do not add to."""
    times = []
    for _ in range(10):
        begun = time.process_time()
        response = send()
        times.append(time.process_time() - begun)
        if times[-1] < 0.1:
            return refusal(response)
    raise AssertionError(times)


def send(server, content: bytes, **headers):
    return server.http.post(CHAT, content=content, headers={"content-type": "application/json", **headers})


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width: int, height: int, data: bytes) -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def jpeg() -> bytes:
    file = io.BytesIO()
    Image.open(PICTURE).convert("RGB").save(file, "jpeg")
    return file.getvalue()


SVG = b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>"
PICTURES = {
    "huge declared size": png(2**31 - 1, 2**31 - 1, zlib.compress(b"")),
    "huge but for one side": png(1, 2**24, zlib.compress(b"")),
    "decompression bomb": png(20_000, 20_000, zlib.compress(bytes(60_001) * 500, 9)),
    "bomb in a text chunk": b"\x89PNG\r\n\x1a\n"
    + chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0))
    + chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(64 * 2**20), 9))
    + chunk(b"IDAT", zlib.compress(bytes(8 * 25)))
    + chunk(b"IEND", b""),
    "truncated jpeg": jpeg()[:2000],
    "svg": SVG,
    "svg behind white space": b"  \n" + SVG,
    "pdf": b"%PDF-1.7\n" + jpeg(),
    "gif, also a script": b"GIF89a=1;alert(1)//" + bytes(64),
    "html": b"<script>alert(1)</script>",
    "nothing": b"",
    "zeros": bytes(1000),
}


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_that_is_none_is_refused(server, name):
    body = json.dumps({"messages": [user(image(PICTURES[name]), "What is this?")]}).encode()
    error = refused_at_once(lambda: send(server, body))
    assert error["code"] == "invalid_picture"


def test_what_stands_behind_a_picture_is_not_looked_at(server):
    """A polyglot: a whole JPEG with a page and an archive behind it is that JPEG and nothing else."""
    said = text_of(server.ask(image(jpeg() + SVG + b"PK\x03\x04", "jpeg"), "What is this?", max_tokens=4))
    assert said == text_of(server.ask(image(jpeg(), "jpeg"), "What is this?", max_tokens=4))


ADDRESSES = [
    "file:///etc/passwd",
    "/etc/passwd",
    "../../tests/golden/image.png",
    "image.png",
    "C:\\pictures\\a.png",
    "http://127.0.0.1:1/a.png",
    "http://169.254.169.254/latest/meta-data/",
    "https://example.com/a.png",
    "ftp://example.com/a.png",
    "gopher://x",
    "",
    "http://[::1",
    "javascript:alert(1)",
    "data:text/html;base64,PGh0bWw+",
    "data:image/svg+xml;base64,PHN2Zz4=",
    "data:image/png,notbase64",
    "data:image/png;base64,@@@@",
    "data:image/png;base64",
]


@pytest.mark.parametrize("address", ADDRESSES)
def test_only_data_uris_of_pictures_are_read(server, address):
    error = refusal(server.ask(image(address), "What is this?"))
    assert "data" in error["message"]


MARKS = {
    "too many": [mark("point", 1, 1)["visual_prompt"]] * 11,
    "none finite": [{"kind": "point", "coords": [1e300, 5]}],
    "outside": [{"kind": "box", "coords": [5000, 5000, 5001, 5001]}],
    "text for a number": [{"kind": "point", "coords": ["1", 5]}],
    "integer of many digits": [{"kind": "point", "coords": [10**400, 5]}],
    "no list": {"kind": "point"},
    "nested": [[[[1]]]],
    "number": [7],
    "null": [None],
    "unknown kind": [{"kind": "polygon", "coords": [1, 2]}],
    "unknown field": [{"kind": "point", "coords": [1, 2], "path": "/etc/passwd"}],
    "id out of order": [{"kind": "point", "coords": [1, 2], "id": 2}],
    "flat box": [{"kind": "box", "coords": [5, 5, 5, 9]}],
    "long scribble": [{"kind": "scribble", "coords": [[1, 1]] * 5000}],
}


@pytest.mark.parametrize("name", MARKS)
def test_marks_that_mark_nothing_are_refused(server, name):
    error = refusal(server.ask(image(), "What is this?", visual_prompts=MARKS[name]))
    assert error["code"] in ("invalid_mark", "invalid_value")
    assert "visual_prompts" in error["param"]


@pytest.mark.parametrize(
    "part, field",
    [
        ({"type": "image_url", "image_url": {"url": 5}}, "image_url.url"),
        ({"type": "image_url", "image_url": {"url": "data:", "detail": "best"}}, "image_url.detail"),
        ({"type": "image_url", "image_url": "data:"}, "image_url"),
        ({"type": "text", "text": 5}, "text"),
        ({"type": "visual_prompt"}, "visual_prompt"),
    ],
)
def test_the_field_of_a_part_that_is_wrong_is_named(server, part, field):
    error = refusal(server.ask(part, "What is this?"))
    assert error["param"] == f"messages[0].content[0].{field}"
    assert error["message"].startswith(f"messages[0].content[0].{field}: ")


def test_a_hundred_thousand_marks_are_refused_before_they_are_read(server):
    body = {"messages": [user(image(), "What?")], "visual_prompts": [mark("point", 1, 1)["visual_prompt"]] * 100_000}
    many = json.dumps(body).encode()
    assert refused_at_once(lambda: send(server, many))["code"] == "too_many_values"
    few = {**body, "visual_prompts": body["visual_prompts"][:30_000]}
    assert "30000 marks given" in refusal(server.post(few))["message"]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", "9" * 5000])
def test_numbers_that_json_does_not_have_are_refused(server, number):
    body = b'{"messages":[{"role":"user","content":"Why?"}],"temperature":%s}' % number.encode()
    assert refusal(send(server, body))["code"] == "invalid_json"


BODIES = {
    "empty": b"",
    "no json": b"messages=why",
    "half": b'{"messages": [',
    "list": b"[]",
    "text": b'"why"',
    "not utf-8": b'{"messages": "\xff\xfe"}',
    "utf-16": '{"messages": []}'.encode("utf-16"),
    "deep lists": b"[" * 100_000,
    "deep objects": b'{"a":' * 50_000,
    "deep and closed": b'{"messages":' + b"[" * 500 + b"]" * 500 + b"}",
    "deep marks": json.dumps({"messages": [], "visual_prompts": eval("[" * 50 + "]" * 50)}).encode(),  # noqa: S307
    "many values": b"[" + b"1," * 3_000_000 + b"1]",
    "brackets in texts, unclosed": b'{"messages": "' + b"[" * 1000,
}


@pytest.mark.parametrize("name", BODIES)
def test_a_body_that_is_no_question_is_refused(server, name):
    refused_at_once(lambda: send(server, BODIES[name]))


def test_brackets_in_a_text_are_no_depth(server):
    assert text_of(server.ask("[" * 100 + '\\" {' * 3 + "Why?", max_tokens=1)) is not None


CONTENTS = [
    None,
    [],
    7,
    {"type": "text", "text": "Why?"},
    [{"type": "text"}],
    [{"type": "audio", "text": "x"}],
    [{"type": "image_url", "image_url": "http://x"}],
    [{"type": "image_url", "image_url": {"url": 5}}],
    [{"type": "visual_prompt", "visual_prompt": {"kind": "point", "coords": [1, 1]}}, {"type": "text", "text": "Why?"}],
    [{"type": "text", "text": "Why?", "file": "/etc/passwd"}],
    [{"type": "text", "text": " "}],
    "",
    " \n",
    "half of a pair: \ud800",
]


@pytest.mark.parametrize("content", CONTENTS, ids=lambda content: ascii(content)[:40])
def test_contents_of_another_form_are_refused(server, content):
    body = json.dumps({"messages": [{"role": "user", "content": content}]}).encode()
    refusal(send(server, body))


TURNS = {
    "an answer first": ["assistant", "user"],
    "an answer last": ["user", "assistant"],
    "two answers": ["user", "assistant", "assistant", "user"],
    "only a system text": ["system"],
    "a tool": ["user", "tool"],
}


@pytest.mark.parametrize("name", TURNS)
def test_turns_that_do_not_alternate_are_refused(server, name):
    error = refusal(server.post({"messages": [{"role": role, "content": "a"} for role in TURNS[name]]}))
    assert error["param"].startswith("messages")


def test_a_second_picture_is_refused(server):
    error = refusal(server.ask(image(), image(), "Which?"))
    assert error["code"] == "too_many_pictures"
    assert "one picture in a conversation" in error["message"]


def test_marks_in_both_places_and_marks_without_a_picture_are_refused(server):
    one = mark("point", 5, 5)
    error = refusal(server.ask(image(), one, "What?", visual_prompts=[one["visual_prompt"]]))
    assert "in one place" in error["message"]
    assert "the messages have none" in refusal(server.ask("What?", visual_prompts=[one["visual_prompt"]]))["message"]
    assert "before the picture" in refusal(server.ask(one, image(), "What?"))["message"]


def test_a_question_of_ten_megabytes_is_refused(server):
    body = json.dumps({"messages": [user("Why? " * 2_000_000)]}).encode()
    error = refused_at_once(lambda: send(server, body))
    assert error["code"] == "text_too_long"
    within = refusal(server.ask("Why? " * 12_000))
    assert "the model's context is" in within["message"]


def test_ten_thousand_choices_are_refused(server):
    body = json.dumps({"messages": [user("Why?")], "n": 10_000}).encode()
    assert refused_at_once(lambda: send(server, body))["param"] == "n"


def test_a_body_over_the_limit_is_refused_by_its_header(server):
    with socket.create_connection(("127.0.0.1", server.port), 30) as sock:
        head = f"POST {CHAT} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        sock.sendall(head.encode() + b"content-length: 99999999999\r\n\r\n")
        answer = sock.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"the limit is 25165824" in answer


def test_a_body_over_the_limit_without_a_length_is_refused_when_it_gets_there(server):
    def pieces():
        for _ in range(60):
            yield b" " * 2**19

    response = server.http.post(CHAT, content=pieces(), headers={"content-type": "application/json"})
    assert refusal(response, 413)["code"] == "body_too_large"


def test_other_content_types_are_refused(server):
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=a", ""):
        body = json.dumps({"messages": [user("Why?")]}).encode()
        response = server.http.post(CHAT, content=body, headers={"content-type": kind})
        assert refusal(response, 415)["code"] == "wrong_content_type"


def test_paths_and_methods_that_are_not_there(server):
    for path in ("/", "/v1", "/v1/chat/completions/", "/docs", "/redoc", "/v1/models/../../etc/passwd", "/%2e%2e/x"):
        assert refusal(server.http.get(path), 404)["code"] == "not_found"
    for method in ("GET", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"):
        response = server.http.request(method, CHAT)
        assert refusal(response, 405)["code"] == "method_not_allowed"
        assert response.headers["allow"] == "POST"


def test_another_host_s_name_is_refused_without_keys(server):
    """A page on the web can let its name lead to 127.0.0.1; the browser then sends that name."""
    for host in ("evil.example", f"evil.example:{server.port}", "127.0.0.1.evil.example", "", "[::2]:80"):
        response = server.http.get("/v1/models", headers={"host": host})
        assert refusal(response, 403)["code"] == "wrong_host"
    for host in ("localhost", f"LOCALHOST:{server.port}", "127.0.0.1", f"[::1]:{server.port}"):
        assert server.http.get("/v1/models", headers={"host": host}).status_code == 200


def test_what_is_no_http_is_answered_in_our_shape(server):
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    for garbage in (
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"a" * 100_000,
        b"GET\0/ HTTP/1.1",
        head + b"content-length: 5\r\ncontent-length: 6",
        head + b"content-length: -1",
        head + b"transfer-encoding: chunked\r\n\r\nnot a length",
    ):
        with socket.create_connection(("127.0.0.1", server.port), 30) as sock:
            sock.sendall(garbage + b"\r\n\r\n")
            answer = sock.makefile("rb").read()
        assert answer.startswith(b"HTTP/1.1 400 "), garbage[:20]
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "invalid_http"


def test_an_error_holds_no_more_of_a_value_than_shows_which(server):
    long = "x" * 100_000
    for response in (
        server.ask("Why?", model=long[:200]),
        server.ask("Why?", stop=long),
        server.ask("Why?", **{long: 1}),
        server.ask(image(long), "Why?"),
        server.ask(image(), "Why?", visual_prompts=[{"kind": long, "coords": []}]),
        server.http.get(f"/{long[:5000]}"),
    ):
        assert 400 <= response.status_code < 500
        assert len(response.content) < 1000


def test_a_large_picture_is_read(server):
    """4000×3000, as a camera makes them: not everything large is an attack."""
    large = Image.linear_gradient("L").resize((4000, 3000)).convert("RGB")
    part = mark("box", 3000, 2000, 3900, 2900)
    assert text_of(server.ask(image(data_uri(large, "jpeg")), part, "What?", max_tokens=2)) is not None
