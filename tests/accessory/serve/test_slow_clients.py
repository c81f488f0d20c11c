"""Clients that send or read a byte at a time, or hold connections open: each is dropped in time, the others are not."""

import json
import select
import socket
import threading

import pytest

from accessory.serve.options import Limits, ServeOptions
from SPHINX_V import EngineOptions
from tests.accessory.serve.running import endless_model, read_all, request_bytes, running, until, user

LIMITS = Limits(header_seconds=0.5, body_seconds=0.5, write_seconds=0.5, linger_seconds=0.5, keep_alive_seconds=1)
HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"


@pytest.fixture(scope="module")
def impatient():
    options = ServeOptions(limits=LIMITS)
    with running(endless_model(), options, EngineOptions(max_rows=2), buffer=4096) as found:
        yield found


@pytest.fixture(autouse=True)
def _alive_after(impatient):
    yield
    until(lambda: impatient.http.get("/health").status_code == 200)
    assert impatient.ask("Why?", max_tokens=2).status_code == 200


def drip(sock, data):
    """Sends a byte now and then until the server hangs up or answers."""
    for byte in data:
        if select.select([sock], [], [], 0.05)[0]:
            return
        sock.sendall(bytes([byte]))


def test_a_head_that_comes_a_byte_at_a_time_is_cut(impatient):
    sock = impatient.connect()
    drip(sock, HEAD * 100)
    status, body = read_all(sock)
    assert status == 408
    assert json.loads(body)["error"]["code"] == "head_timeout"


def test_a_connection_that_says_nothing_is_cut(impatient):
    assert read_all(impatient.connect())[0] == 408


def test_a_second_head_on_a_connection_has_no_more_time_than_the_first(impatient):
    sock = impatient.connect(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n")
    until(lambda: select.select([sock], [], [], 0)[0])
    assert sock.recv(65536).startswith(b"HTTP/1.1 200 ")
    drip(sock, HEAD * 100)
    assert read_all(sock)[0] == 408


def test_an_idle_connection_is_closed_without_a_word(impatient):
    sock = impatient.connect(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n")
    status, body = read_all(sock)
    assert (status, body) == (200, b'{"status":"ok"}')


def test_a_body_that_comes_a_byte_at_a_time_is_cut(impatient):
    sock = impatient.connect(HEAD + b"content-length: 100000\r\n\r\n")
    drip(sock, b" " * 100_000)
    status, body = read_all(sock)
    assert status == 408
    assert json.loads(body)["error"]["code"] == "body_timeout"


def test_a_body_that_nobody_reads_does_not_hold_its_connection(impatient):
    """A 404 is sent before the body has come; the body may take its time, and the connection still ends."""
    sock = impatient.connect(b"POST /nowhere HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100000\r\n\r\n")
    until(lambda: select.select([sock], [], [], 0)[0])
    answer = b""
    with sock:
        try:
            while part := sock.recv(65536):
                answer += part
                sock.sendall(b" ")
        except OSError:  # closed while we were sending
            assert answer
    assert answer.startswith(b"HTTP/1.1 404 ")


def test_an_answer_that_is_not_read_is_given_up(impatient):
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(("127.0.0.1", impatient.port))
        sock.sendall(request_bytes({"messages": [user("a")], "temperature": 0, "max_tokens": 19_000, "stream": True}))
        until(lambda: impatient.model.engine.stats().running == 1)
        until(impatient.idle)
        assert impatient.model.engine.stats().tokens < 19_000


def test_connections_over_the_limit_are_refused_and_the_first_ones_served():
    options = ServeOptions(limits=Limits(connections=12))
    with running(endless_model(), options, EngineOptions(max_rows=1)) as server:
        held = [server.connect(b"GET /health HTTP/1.1\r\nhost: localhost\r\n") for _ in range(12)]
        until(lambda: len(server.server.server_state.connections) == 12)
        status, body = read_all(server.connect())
        assert status == 503
        assert json.loads(body)["error"]["code"] == "too_many_connections"
        held[0].sendall(b"connection: close\r\n\r\n")
        assert read_all(held[0])[0] == 200
        for sock in held[1:]:
            sock.close()


def test_many_slow_ones_do_not_hold_up_a_quick_one():
    with running(endless_model(), engine=EngineOptions(max_rows=1)) as server:
        slow = [server.connect() for _ in range(8)]
        threads = [threading.Thread(target=drip, args=(sock, HEAD[:20])) for sock in slow]
        for thread in threads:
            thread.start()
        assert server.ask("Why?", max_tokens=2).status_code == 200
        assert len(server.server.server_state.connections) == 9
        for thread, sock in zip(threads, slow, strict=True):
            thread.join()
            sock.close()
