"""Where a state comes from: versions and the commit of the very code that runs."""

import platform
import shutil
import subprocess

import pytest
import torch

from accessory.runtime.distributed import World
from accessory.runtime.origin import checkout, origin
from SPHINX_V import __version__


def test_versions_hosts_and_processes():
    found = origin(World(0, 1, torch.device("cpu")))
    assert {key: found[key] for key in ("sphinx_v", "torch", "python", "cuda", "hosts", "processes")} == {
        "sphinx_v": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "cuda": torch.version.cuda,
        "hosts": 1,
        "processes": 1,
    }


def git(folder, *arguments):
    who = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *who, *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_the_commit_is_that_of_the_code_and_changes_are_seen(tmp_path):
    code, other = tmp_path / "inside" / "code.py", tmp_path / "other.txt"
    code.parent.mkdir()
    for file in (code, other):
        file.write_text("1", encoding="utf-8")
    assert checkout(code) == (None, None), "no checkout"
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "other.txt")
    git(tmp_path, "commit", "-q", "-m", "of somebody else, with the code in it as any file")
    assert checkout(code) == (None, None), "in a checkout, but not of it"
    git(tmp_path, "add", "inside")
    git(tmp_path, "commit", "-q", "-m", "the code")
    commit = git(tmp_path, "rev-parse", "HEAD")
    assert checkout(code) == (commit, False)
    (tmp_path / "untracked.txt").write_text("1", encoding="utf-8")
    assert checkout(code) == (commit, False)
    other.write_text("2", encoding="utf-8")
    assert checkout(code) == (commit, True)
