"""`bash scripts/demo.sh` as a person starts it: one process or several, the same answers, and a clean end."""

from __future__ import annotations

import io
import os
import signal
import socket
import subprocess
import sys

import pytest
import torch
from PIL import Image

from SPHINX_V.prompts import Box
from SPHINX_V.sphinx_v import SPHINX_V_Model
from tests.accessory.demos.browser import picture
from tests.accessory.demos.studio import Studio
from tests.house.repo import ROOT


@pytest.fixture
def start(golden, tmp_path):
    """Starts the script on the golden checkpoint: (address, process)."""
    started = []

    def start_one(*arguments):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        options = ["--checkpoint", str(golden), "--port", str(port), "--device", "cpu", "--dtype", "float32"]
        process = subprocess.Popen(
            ["bash", str(ROOT / "scripts/demo.sh"), *options, *arguments],
            cwd=tmp_path,
            env={**os.environ, "SPHINX_V_PYTHON": sys.executable, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        assert process.stdout is not None
        for line in process.stdout:
            if f"http://127.0.0.1:{port}/" in line:
                return f"http://127.0.0.1:{port}/", process
        raise AssertionError(f"the demo ended with {process.wait()} before it said where it is")

    yield start_one
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_the_script_serves_a_page_that_says_what_python_says(browser, golden, start, processes):
    address, process = start("--tensor_parallel", str(processes))
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    studio = Studio(context, address)
    studio.open((800, 600))
    studio.drag((100, 80), (300, 240))
    studio.set(temperature=0, max_gen_len=12)
    said = studio.ask("What is <Region 1>?")
    context.close()
    model = SPHINX_V_Model.from_pretrained(golden, device="cpu", dtype=torch.float32)
    image = Image.open(io.BytesIO(picture(800, 600)))
    question = [["What is <Region 1>?", None]]
    assert said == model.generate_response(question, [Box(100, 80, 300, 240)], image, max_gen_len=12, temperature=0)
    assert studio.errors == []

    os.killpg(process.pid, signal.SIGINT)  # as Ctrl+C does
    code = process.wait()
    assert code == 0 or processes > 1  # torchrun itself counts an interrupt as a failure
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)
