"""Whole runs that are killed at random moments and started again end as if nothing had happened."""

import json
import subprocess
import sys

import pytest

from tests.launch import ENVIRONMENT


def killed(folder, *arguments):
    done = subprocess.run(
        [sys.executable, "-m", "tests.accessory.train.kills", str(folder), *map(str, arguments)],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="processes are forked, and looked at in /proc")
def test_four_kills(tmp_path):
    seen = killed(tmp_path, "--kills", 4, "--seed", 0, "--steps", 4)
    assert seen["kills"] == 4


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="processes are forked, and looked at in /proc")
def test_two_hundred_kills(tmp_path):
    seen = killed(tmp_path, "--kills", 200, "--seed", 1)
    assert seen["kills"] == 200
    assert seen["runs"] > 1
    assert seen["before a state"] > 0
    assert seen["state half written"] > 20, "that is what kills are for; how many depends on the disk"
