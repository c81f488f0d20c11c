"""Keys: where they come from, what they open, and that a server without them is not reached from outside."""

import pytest

from accessory.serve.errors import ApiError
from accessory.serve.keys import Keys, check_host, in_address, is_local_name
from accessory.serve.options import ServeOptions
from SPHINX_V import ConfigError, EngineOptions, UsageError
from tests.accessory.serve.running import endless_model, refusal, running, text_of, user

ONE, TWO = "one-key-of-these-tests", "two-key-of-these-tests"
QUESTION = {"messages": [user("a")], "max_tokens": 2}


@pytest.fixture(scope="module")
def locked(tmp_path_factory):
    file = tmp_path_factory.mktemp("keys") / "keys"
    file.write_text(f"# two of them\n{ONE}\n\n  {TWO}  \n")
    options = ServeOptions(keys=Keys.from_file(file))
    with running(endless_model(), options, EngineOptions(max_rows=1)) as found:
        yield found


@pytest.mark.parametrize("key", [ONE, TWO])
def test_each_key_of_the_file_opens(locked, key):
    assert text_of(locked.post(QUESTION, authorization=f"Bearer {key}"))
    assert text_of(locked.post(QUESTION, authorization=f"bearer {key}"))


WRONG = ["", "Bearer", f"Basic {ONE}", ONE, f"Bearer {ONE}x", f"Bearer {ONE[:-1]}", f"Bearer {ONE} {TWO}"]


@pytest.mark.parametrize("header", [*WRONG, "Bearer # two of them", "Bearer \xe9\xe9", f"Bearer {'x' * 20_000}"])
def test_nothing_else_does(locked, header):
    response = locked.post(QUESTION, authorization=header.encode("latin-1"))
    error = refusal(response, 401)
    assert error["type"] == "authentication_error"
    assert response.headers["www-authenticate"] == "Bearer"
    assert ONE not in response.text


def test_without_a_key_neither_models_nor_metrics_nor_other_paths_are_shown(locked):
    for path in ("/v1/models", "/metrics", "/openapi.json", "/nowhere"):
        assert refusal(locked.http.get(path), 401)["code"] == "missing_api_key"
    assert locked.http.get("/v1/models", headers={"authorization": f"Bearer {TWO}"}).status_code == 200


def test_health_and_ready_need_no_key(locked):
    assert locked.http.get("/health").status_code == locked.http.get("/ready").status_code == 200


def test_a_wrong_key_is_refused_before_the_body_is_read(locked):
    response = locked.http.post("/v1/chat/completions", content=b"[" * 10_000_000)
    refusal(response, 401)


def test_with_keys_the_host_s_name_is_free(locked):
    headers = {"host": "pictures.example", "authorization": f"Bearer {ONE}"}
    assert locked.http.get("/v1/models", headers=headers).status_code == 200


@pytest.mark.parametrize(
    "text, words",
    [("", "holds no key"), ("# only words\n\n", "holds no key"), ("short\n", "line 1: a key of 5 characters")]
    + [(f"{ONE}\n{ONE} {TWO}\n", "line 2"), ("ключ-которого-нет-в-ascii\n", "cannot be read")],
)
def test_a_file_that_holds_no_good_keys_is_refused(tmp_path, text, words):
    (tmp_path / "keys").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=words):
        Keys.from_file(tmp_path / "keys")


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        Keys.from_file(tmp_path / "nowhere")


def test_without_keys_everybody_may_ask():
    Keys().check(None)
    with pytest.raises(ApiError):
        Keys([ONE]).check(None)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "example.org", "127.0.0.1.example.org", ""])
def test_other_machines_reach_no_server_without_keys(host):
    with pytest.raises(UsageError, match="api_key_file"):
        check_host(host, Keys())
    check_host(host, Keys([ONE]))
    check_host(host, Keys(), open_to_all=True)


@pytest.mark.parametrize(
    "header, local",
    [
        (b"127.0.0.1:8000", True), (b"127.8.9.10", True), (b"LocalHost:1", True), (b"[::1]:8000", True),
        (b"192.0.2.7:8000", False), (b"[2001:db8::1]:1", False), (b"127.0.0.1.example.org", False), (b"", False),
        (b"[", False), (b"\xff", False), (None, False),
    ],
)  # fmt: skip
def test_a_host_header_is_local_by_its_name_or_by_its_digits(header, local):
    assert is_local_name(header) is local


def test_a_host_in_an_address():
    assert [in_address(host) for host in ("127.0.0.1", "localhost", "::1", "[::1]")] == [
        "127.0.0.1", "localhost", "[::1]", "[::1]",
    ]  # fmt: skip


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.8.9.10"])
def test_this_machine_needs_none(host):
    check_host(host, Keys())
