"""The reference of the API says what there is, and its example runs."""

import re
import shutil

import pytest

from accessory.serve.options import Limits
from accessory.serve.schema import IGNORED, MOST_CHOICES, MOST_MESSAGES, MOST_STOPS, REFUSED, ChatRequest
from tests.accessory.serve.running import PICTURE
from tests.house.doc_law import objection
from tests.house.repo import ROOT
from tests.house.shell_blocks import blocks, commands

TEXT = (ROOT / "accessory/serve/API.md").read_text(encoding="utf-8")


def test_it_names_every_parameter_and_its_default():
    lines = [line for line in TEXT.partition("## Parameters")[2].splitlines() if line.startswith("| `")]
    rows = [[cell.strip() for cell in line.split("|")[1:3]] for line in lines]
    named = {name: default for names, default in rows for name in re.findall("`([a-z_]+)`", names)}
    assert set(named) == set(ChatRequest.model_fields)
    for name in ("temperature", "top_p", "top_k", "repetition_penalty", "seed", "n"):
        assert float(named[name]) == ChatRequest.model_fields[name].default
    assert int(named["max_tokens"]) == ChatRequest(messages=[{"role": "user", "content": "a"}]).longest


def test_it_names_what_is_ignored_and_what_is_refused():
    sentences = TEXT.partition("Taken and without effect:")[2].partition("What is no parameter")[0]
    ignored, _, refused = sentences.partition("Refused by name")
    assert set(re.findall("`([a-z_]+)`", ignored)) == set(IGNORED)
    assert set(re.findall("`([a-z_]+)`", refused)) == set(REFUSED)


def test_its_numbers_are_the_server_s():
    assert f"at most {MOST_MESSAGES}" in TEXT
    assert f"at most {MOST_CHOICES}; choice" in TEXT
    assert f"at most {MOST_STOPS} texts" in TEXT
    assert f"({Limits().body_bytes // 2**20} MiB)" in TEXT


def test_its_commands_would_start():
    assert [why for why in map(objection, commands(TEXT)) if why] == []


def test_its_example_runs(server, tmp_path, monkeypatch, capsys):
    pytest.importorskip("openai", reason='needs OpenAI\'s client: pip install -e ".[judge]"')
    shutil.copy(PICTURE, tmp_path / "picture.png")
    monkeypatch.chdir(tmp_path)
    ((example, _),) = blocks(TEXT, "python")
    assert "http://127.0.0.1:8000/v1" in example
    exec(example.replace("http://127.0.0.1:8000/v1", server.url), {})  # noqa: S102
    assert capsys.readouterr().out.strip()
