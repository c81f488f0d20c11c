"""A server over a model that is split over two processes: the same answers, and an end that leaves none behind."""

import re
import signal
import subprocess
import sys

import pytest
import torch

from SPHINX_V import SPHINX_V_Model
from tests.accessory.serve.running import PICTURE, httpx, image, mark, text_of, user
from tests.golden_model import GOLDEN
from tests.house.repo import ROOT
from tests.launch import ENVIRONMENT

QUESTION = "What is <Region 1>?"


@pytest.mark.slow
def test_two_processes_serve_one_model_and_end_together():
    model = SPHINX_V_Model.from_pretrained(GOLDEN, device="cpu", dtype=torch.float32)
    options = {"max_gen_len": 12, "temperature": 0}
    expected = model.generate_response([[QUESTION, None]], [[49, 139, 196, 182]], PICTURE, **options)
    command = ["bash", "scripts/serve.sh", "--tensor_parallel", "2", "--checkpoint", str(GOLDEN), "--port", "0"]
    process = subprocess.Popen(
        [*command, "--device", "cpu", "--dtype", "float32", "--max_rows", "2"],
        cwd=ROOT,
        env={**ENVIRONMENT, "SPHINX_V_PYTHON": sys.executable},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        line = process.stdout.readline()
        address = re.search(r"http://127\.0\.0\.1:\d+", line)
        assert address, line + process.stderr.read()
        parts = [image(), mark("box", 49, 139, 245, 321), QUESTION]
        with httpx.Client(base_url=address[0], timeout=120) as http:
            body = {"messages": [user(*parts)], "max_tokens": 12, "temperature": 0}
            assert text_of(http.post("/v1/chat/completions", json=body)) == expected
            streamed = http.post("/v1/chat/completions", json={**body, "stream": True}).text
            assert streamed.endswith("data: [DONE]\n\n")
        process.send_signal(signal.SIGTERM)
        process.wait(120)
        errors = process.stderr.read()
        assert "failed (" not in errors
        assert "is gone" not in errors
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()
