"""Pictures from addresses: only listed ones, never private ones, also behind redirects; within bytes and seconds."""

import http.server
import ipaddress
import shutil
import ssl
import subprocess
import threading
import time
from contextlib import contextmanager

import pytest

from accessory.serve.errors import ApiError
from accessory.serve.options import ServeOptions
from accessory.serve.urls import UrlRules, fetch, is_public
from SPHINX_V import ConfigError, EngineOptions
from tests.accessory.serve.running import (
    PICTURE,
    endless_model,
    image,
    refusal,
    request_bytes,
    running,
    text_of,
    until,
    user,
)

LOOPBACK = ["127.0.0.1/32"]


@contextmanager
def pictures(answers, tls=None):
    """A server on loopback: path → what does the answering, given the handler. Yields its address, and what it was
    asked for."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append((self.path, self.headers["Host"]))
            answers[self.path.partition("?")[0]](self)

        def log_message(self, *_):
            pass

    asked = []
    found = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if tls is not None:
        found.socket = tls.wrap_socket(found.socket, server_side=True)
    threading.Thread(target=found.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{found.server_port}", asked
    finally:
        found.shutdown()
        found.server_close()


def data(content, **headers):
    def answer(handler):
        handler.send_response(200)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(content)

    return answer


def to(address, status=302):
    def answer(handler):
        handler.send_response(status)
        handler.send_header("Location", address)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


def drip(handler):
    handler.send_response(200)
    handler.end_headers()
    try:
        for _ in range(1000):
            handler.wfile.write(b"a")
            time.sleep(0.05)
    except OSError:
        return


def drip_head(handler):
    try:
        for letter in b"HTTP/1.1 200 OK\r\n" * 1000:
            handler.wfile.write(bytes([letter]))
            handler.wfile.flush()
            time.sleep(0.05)
    except OSError:
        return


@pytest.mark.parametrize(
    "url",
    [
        "http://pictures.example/shown/a.png",  # another scheme
        "https://pictures.example:444/shown/a.png",
        "https://pictures.example/other/a.png",
        "https://pictures.example/shownelse/a.png",
        "https://pictures.example/shown/../other/a.png",
        "https://pictures.example/shown/%2e%2e/other/a.png",
        "https://pictures.example/shown/..%2fother/a.png",
        "https://pictures.example/shown\\..\\other/a.png",
        "https://pictures.example.evil.example/shown/a.png",
        "https://pictures.example@evil.example/shown/a.png",
        "https://evil.example/https://pictures.example/shown/a.png",
        "https://evil.example#@pictures.example/shown/a.png",
        "https://user:word@pictures.example/shown/a.png",
        "https://pictures.example/shown/a.png\r\nX: y",
        "https://pictures.example/shown/%0d%0aX:y",
        "https://pictures.example:99999/shown/a.png",
        "https://xn--pictures.example/shown/a.png",
        "https://pictures．example/shown/a.png",
        "file:///etc/passwd",
        "//pictures.example/shown/a.png",
    ],
)
def test_what_is_not_on_the_list_is_refused(url):
    rules = UrlRules.of(["https://pictures.example/shown/"])
    with pytest.raises(ApiError) as caught:
        rules.check(url)
    assert caught.value.code == "url_not_allowed"


@pytest.mark.parametrize("path", ["/shown/a.png", "/shown/b/c.png?size=2", "/shown/"])
def test_what_is_on_the_list_is_allowed(path):
    place = UrlRules.of(["https://Pictures.example:443/shown"]).check(f"HTTPS://PICTURES.example{path}")
    assert (place.host, place.port) == ("pictures.example", 443)


@pytest.mark.parametrize("prefix", ["pictures.example", "file:///shown/", "https://", "https://u@pictures.example/"])
def test_a_prefix_that_is_none_is_refused_at_the_start(prefix):
    with pytest.raises(ConfigError, match="prefix"):
        UrlRules.of([prefix])
    with pytest.raises(ConfigError, match="network"):
        UrlRules.of([], ["10.0.0.0/99"])


PRIVATE = [
    "127.0.0.1", "127.1.2.3", "10.0.0.1", "172.16.5.5", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0",
    "255.255.255.255", "224.0.0.1", "198.18.0.1", "192.0.2.1", "::1", "::", "fe80::1", "fd00::1", "ff02::1",
    "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::",
    "2001:0:1:1:0:0:80ff:fffe", "2001:db8::1",
]  # fmt: skip


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_are_known_in_every_dress(address):
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "93.184.216.34", "2606:2800:220:1::1", "::ffff:8.8.8.8", "64:ff9b::808:808"]
)
def test_public_ones_are_too(address):
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "127.1", "[::1]", "[::ffff:7f00:1]"]
)
def test_a_listed_name_that_leads_inside_is_refused_after_it_was_looked_up(host):
    rules = UrlRules.of([f"http://{host}:9/"])
    with pytest.raises(ApiError) as caught:
        fetch(f"http://{host}:9/a.png", rules)
    assert caught.value.code == "url_not_allowed"
    assert "private network" in str(caught.value)


def test_a_picture_is_fetched_and_answered_about():
    with pictures({"/a/b.png": data(PICTURE.read_bytes())}) as (address, asked):
        options = ServeOptions(urls=UrlRules.of([f"{address}/a/"], LOOPBACK))
        with running(endless_model(), options, EngineOptions(max_rows=1)) as server:
            fetched = server.ask(image(f"{address}/a/b.png?x=1"), "a", max_tokens=4, temperature=0)
            assert text_of(fetched) == text_of(server.ask(image(), "a", max_tokens=4, temperature=0))
            assert fetched.json()["usage"]["prompt_tokens"] > 1000
            assert refusal(server.ask(image(f"{address}/b.png"), "a"))["code"] == "url_not_allowed"
            assert refusal(server.ask(image("http://127.0.0.1:1/a/"), "a"))["code"] == "url_not_allowed"
        assert asked == [("/a/b.png?x=1", address.removeprefix("http://"))]


def test_a_client_that_hangs_up_while_its_picture_is_fetched_is_not_answered():
    fetching, go_on = threading.Event(), threading.Event()

    def held(handler):
        fetching.set()
        go_on.wait(60)
        data(PICTURE.read_bytes())(handler)

    with pictures({"/a.png": held}) as (address, _):
        options = ServeOptions(urls=UrlRules.of([address], LOOPBACK))
        with running(endless_model(), options, EngineOptions(max_rows=1)) as server:
            body = {"messages": [user(image(f"{address}/a.png"), "a")], "max_tokens": 19_000, "temperature": 0}
            sock = server.connect(request_bytes(body))
            assert fetching.wait(60)
            sock.close()
            # Seen by the server's thread before it can see the picture: it looks at its sockets all the time.
            until(lambda: not server.server.server_state.connections)
            go_on.set()
            until(lambda: server.metric("client_disconnects_total") == 1)
            assert server.metric("preparing") == 0
            assert server.metric("engine_tokens_total") == 0


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes its certificate with openssl, which is missing")
def test_over_tls_the_host_must_show_that_it_is_the_one_named(tmp_path, monkeypatch):
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
    ]
    command += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with pictures({"/a.png": data(b"a picture")}, context) as (address, asked):
        port = address.rpartition(":")[2]
        rules = UrlRules.of([f"https://localhost:{port}/", f"https://127.0.0.1:{port}/"], [*LOOPBACK, "::1/128"])
        with pytest.raises(ApiError, match="SSLCertVerificationError"):
            fetch(f"https://localhost:{port}/a.png", rules)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert fetch(f"https://localhost:{port}/a.png", rules) == b"a picture"
        with pytest.raises(ApiError, match="SSLCertVerificationError"):  # known, but not under this name
            fetch(f"https://127.0.0.1:{port}/a.png", rules)
        assert asked == [("/a.png", f"localhost:{port}")]


def test_redirects_lead_on_within_the_list_only():
    content = PICTURE.read_bytes()
    answers = {
        "/shown/1": to("2"),
        "/shown/2": to("/shown/3", 308),
        "/shown/3": data(content),
        "/shown/off": to("/hidden"),
        "/hidden": data(content),
        "/shown/away": to("http://10.0.0.1/shown/a.png"),
        "/shown/metadata": to("http://169.254.169.254/latest/"),
        "/shown/file": to("file:///etc/passwd"),
        "/shown/loop": to("/shown/loop"),
        "/shown/nowhere": to(""),
        "/shown/odd": to("http://[bad/"),
    }
    with pictures(answers) as (address, asked):
        rules = UrlRules.of([f"{address}/shown/", "http://10.0.0.1/shown/"], LOOPBACK)
        assert fetch(f"{address}/shown/1", rules) == content
        for path, words in {
            "off": "not on this server's list",
            "away": "private network",
            "metadata": "not on this server's list",
            "file": "scheme is 'file'",
            "loop": "more than 3 times",
            "nowhere": "more than 3 times",
            "odd": r"it leads to 'http://\[bad/', which is no address",
        }.items():
            with pytest.raises(ApiError, match=words):
                fetch(f"{address}/shown/{path}", rules)
        assert "/hidden" not in [path for path, _ in asked]


def test_what_is_too_large_too_slow_or_wrong_is_given_up():
    def half(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        handler.wfile.write(b"a" * 10)

    answers = {
        "/large": data(b"a" * 5000),
        "/drip": drip,
        "/drip_head": drip_head,
        "/half": half,
        "/gone": lambda handler: handler.send_error(404),
        "/packed": data(b"a", Content_Encoding="gzip"),
        "/garbage": lambda handler: handler.wfile.write(b"what?\r\n\r\n"),
    }
    with pictures(answers) as (address, _):
        allowed = UrlRules.of([address], LOOPBACK)
        rules = UrlRules(allowed.prefixes, allowed.networks, most_bytes=1000, seconds=1.0)
        for path in answers:
            begun = time.monotonic()
            with pytest.raises(ApiError) as caught:
                fetch(f"{address}{path}", rules)
            assert caught.value.code == "url_failed", path
            assert time.monotonic() - begun < 10
