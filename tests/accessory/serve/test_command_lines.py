"""The server and the client as commands: one process that serves until a signal, another that asks it."""

import argparse
import http.server
import json
import os
import re
import signal
import subprocess
import sys
import threading

import pytest

from accessory.demos import __main__ as demos
from accessory.serve import cli, client
from SPHINX_V import SPHINX_V_Model, inference
from tests.accessory.serve.running import PICTURE
from tests.golden_model import GOLDEN
from tests.house.repo import ROOT

KEY = "a-key-of-these-commands"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "SPHINX_V_PYTHON": sys.executable, "OMP_NUM_THREADS": "1"}
MARK = "--box=49,139,196,182"
QUESTION = "What is <Region 1>?"


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """The launcher's server with a key, on a port that it says; its address, its process, the file of its key."""
    keys = tmp_path_factory.mktemp("keys") / "keys"
    keys.write_text(f"# of a test\n{KEY}\n")
    command = ["bash", "scripts/serve.sh", "--checkpoint", str(GOLDEN), "--port", "0", "--api_key_file", str(keys)]
    command += ["--device", "cpu", "--dtype", "float32", "--max_rows", "2"]
    process = subprocess.Popen(
        command, cwd=ROOT, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    line = process.stdout.readline()
    found = re.search(r"http://127\.0\.0\.1:\d+/v1", line)
    assert found, line + process.stderr.read()
    yield found[0], process, keys
    if process.poll() is None:
        process.kill()
    process.communicate()


@pytest.fixture(scope="module")
def expected():
    model = SPHINX_V_Model.from_pretrained(GOLDEN, device="cpu")
    return model.generate_response([[QUESTION, None]], [[49, 139, 196, 182]], PICTURE, max_gen_len=12, temperature=0)


def ask(served, *arguments, **environment):
    command = [sys.executable, "-m", "accessory.serve.client", "--url", served[0], *arguments]
    return subprocess.run(
        command, cwd=ROOT, env={**ENVIRONMENT, **environment}, capture_output=True, text=True, check=False
    )


FLAGS = ["--image", str(PICTURE), MARK, "--question", QUESTION, "--max_gen_len", "12", "--temperature", "0"]


@pytest.mark.parametrize("stream", [[], ["--stream"]])
def test_the_client_prints_the_answer_that_the_model_gives(served, expected, stream):
    done = ask(served, *FLAGS, *stream, "--api_key_file", str(served[2]))
    assert (done.stdout, done.stderr, done.returncode) == (f"{expected}\n", "", 0)


def test_the_client_shows_what_the_server_says(served, expected):
    done = ask(served, *FLAGS, "--json", SPHINX_V_API_KEY=KEY)
    assert json.loads(done.stdout)["choices"][0]["message"]["content"] == expected


@pytest.mark.parametrize("stream", [[], ["--stream"]])
def test_the_client_shows_warnings_beside_the_answer(served, stream):
    odd = ["--question", "What is <Region 4>?", "--image", str(PICTURE), MARK, "--max_gen_len", "4"]
    done = ask(served, *odd, *stream, SPHINX_V_API_KEY=KEY)
    assert (done.returncode, done.stderr) == (0, "warning: the question names <Region 4>, but 1 prompts are given.\n")
    assert "warning" not in done.stdout


def test_the_client_shows_the_server_s_sentence(served):
    done = ask(served, *FLAGS)
    assert done.returncode == 2
    assert done.stderr.startswith("error: 401 from ")
    assert done.stderr.count("\n") == 1
    outside = ask(served, "--image", str(PICTURE), "--point=9000,1", SPHINX_V_API_KEY=KEY)
    assert "lies wholly outside the picture" in outside.stderr


def test_zz_a_signal_ends_the_server_in_order(served):
    """Last in this module, which shares the server."""
    served[1].send_signal(signal.SIGTERM)
    assert served[1].wait(120) == 0
    errors = served[1].stderr.read()
    assert "Traceback" not in errors
    assert KEY not in errors
    refused = ask(served, *FLAGS, SPHINX_V_API_KEY=KEY)
    assert "is a server running there?" in refused.stderr


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--question", "Why?", "--url", "ftp://x"], "give an address like"),
        (["--question", "Why?", "--url", "http://127.0.0.1:99999/v1"], "give an address like"),
        (["--question", "Why?", "--url", "http://[bad/v1"], "give an address like"),
        ([], "nothing is asked"),
        (["--point=1,2"], "without a picture to mark"),
        (["--image", "nowhere.png", "--question", "Why?"], "cannot be read"),
        (["--image", __file__, "--question", "Why?"], "not a PNG, JPEG or WebP picture"),
        (["--question", "Why?", "--api_key_file", "nowhere"], "the key cannot be read"),
    ],
)
def test_what_the_client_can_see_itself_it_says_itself(capsys, arguments, words):
    assert client.main(arguments) == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("key", ["schlüssel", "one\ntwo", "one two"])
def test_a_key_that_no_header_takes_is_not_sent(capsys, monkeypatch, key):
    monkeypatch.setenv("SPHINX_V_API_KEY", key)
    assert client.main(["--question", "Why?"]) == 2
    assert "$SPHINX_V_API_KEY holds" in capsys.readouterr().err


@pytest.mark.parametrize(
    "kind, content, words",
    [
        ("text/html", b"<html>", "which is no answer"),
        ("application/json", b"[1]", "which is no answer"),
        ("application/json", b'{"error": "too tired"}', "too tired"),
        ("text/event-stream", b"data: {oops\n\n", "which is no answer"),
        ("text/event-stream", b"data: \xff\n\n", "which is no answer"),
        ("text/event-stream", b'data: {"error": {"message": "too tired"}}\n\n', "v1: too tired"),
        ("text/event-stream", b'data: {"choices": []}\n\n', "the answer ended early"),
    ],
)
def test_what_is_no_answer_is_said_in_one_line(capsys, kind, content, words):
    """Of a server that is another one, or in trouble."""

    class Other(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Other) as other:
        threading.Thread(target=other.handle_request).start()
        assert client.main(["--question", "Why?", "--url", f"http://127.0.0.1:{other.server_port}/v1"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert words in error


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--host", "0.0.0.0"], "there are no keys"),
        (["--api_key_file", "nowhere"], "the keys cannot be read"),
        (["--port", "70000"], "--port is 70000"),
        (["--max_body_bytes", "0"], "--max_body_bytes is 0"),
        (["--answer_seconds", "nan"], "--answer_seconds is nan"),
        (["--drain_seconds", "-1"], "--drain_seconds is -1"),
        (["--allow_url", "example.org"], "address prefix 'example.org'"),
        (["--allow_url_file", "nowhere"], "nowhere: cannot be read"),
        (["--allow_private_network", "inside"], "a private network"),
        (["--tensor_parallel", "2"], "start with torchrun"),
        (["--max_rows", "0"], "max_rows is 0"),
        (["--port", "0", "--host", "192.0.2.1", "--open_to_all"], "cannot listen on 192.0.2.1"),
    ],
)
def test_what_is_wrong_is_said_before_a_model_is_loaded(capsys, arguments, words):
    assert cli.main(["--checkpoint", "nowhere", *arguments]) == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("command", [cli, demos, inference], ids=lambda command: command.__name__)
def test_help_says_a_default_once_and_never_that_it_is_none(command):
    parser = command.build_parser()
    formatter = parser.formatter_class("command")
    told_of = 0
    for action in parser._actions:
        assert action.help, f"{action.option_strings} has no help, with which its default would be shown"
        text = formatter._expand_help(action)
        assert not re.search(r"None|False|\[\]", text), text
        told_of += "default: " in text
        assert text.count("default: ") <= 1
        if action.default not in (None, False, [], argparse.SUPPRESS):
            assert "default: " in text, action.option_strings
    assert told_of > 5


def test_the_launcher_says_what_to_do_without_a_checkpoint(tmp_path):
    (tmp_path / "scripts").mkdir()
    for name in ("serve.sh", "_environment.sh"):
        (tmp_path / "scripts" / name).write_text((ROOT / "scripts" / name).read_text())
    done = subprocess.run(
        ["bash", "scripts/serve.sh"], cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "run 'bash scripts/quickstart.sh' first" in done.stderr


def flags_of(text):
    return set(re.findall(r"--[a-z_]+", text))


def known_flags():
    return {option for action in cli.build_parser()._actions for option in action.option_strings}


def test_the_unit_starts_the_server_and_shuts_it_in():
    text = (ROOT / "accessory/serve/examples/sphinx-v.service").read_text()
    (start,) = [line for line in text.splitlines() if line.startswith("ExecStart=")]
    assert flags_of(start) <= known_flags()
    for line in ("NoNewPrivileges=yes", "ProtectSystem=strict", "DynamicUser=yes", "CapabilityBoundingSet="):
        assert line in text.splitlines()


def test_the_container_starts_the_server_as_a_user_without_rights():
    text = (ROOT / "accessory/serve/examples/Dockerfile").read_text()
    (start,) = [line for line in text.splitlines() if line.startswith("CMD")]
    assert flags_of(start) <= known_flags()
    assert "USER 10001" in text
    assert "--host" in start
    assert "--api_key_file" in start
