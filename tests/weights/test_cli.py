"""The commands of `python -m SPHINX_V.weights`: what they print and how they end."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from SPHINX_V.config import sphinx_v_13b
from SPHINX_V.weights.checkpoint import model_shapes
from SPHINX_V.weights.cli import main
from SPHINX_V.weights.inspection import part_of
from tests.weights import small

ROOT = Path(__file__).parents[2]


def test_convert_there_and_back(golden, tmp_path, capsys):
    assert main(["convert", str(golden), str(tmp_path / "folder"), "--format", "folder", "--shards", "2"]) == 0
    assert "257 tensors as folder, 8 of them without use" in capsys.readouterr().out
    arguments = ["convert", str(tmp_path / "folder"), str(tmp_path / "back"), "--format", "released", "--shards", "2"]
    assert main(arguments) == 0
    for one, two in zip(small.read_shards(golden), small.read_shards(tmp_path / "back"), strict=True):
        small.assert_same_bits(one, two)
    assert main([*arguments, "--dtype", "bfloat16"]) == 2
    assert capsys.readouterr().err.startswith(f"error: {tmp_path / 'back'}: is not empty")
    assert main([*arguments, "--dtype", "bfloat16", "--overwrite"]) == 0
    assert {tensor.dtype for tensor in small.read_shards(tmp_path / "back")[0].values()} == {torch.bfloat16}


def test_inspect_counts_the_golden(golden, capsys):
    assert main(["inspect", str(golden), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    shards = small.read_shards(golden)
    total = sum(tensor.numel() * (2 if _is_split(name) else 1) for name, tensor in shards[0].items())
    assert (found["kind"], found["tensors"], found["total"]) == ("released", len(shards[0]), total)
    assert sum(found["parameters"].values()) == found["total"]
    assert found["parameters"]["unused"] == 1977
    assert found["parameters"]["prompts"] == 2 * 128 + 2 * 256 + 2 * 512 + 2 * 256 + 257 * 512 + 513 * 64 + 4 * 64
    assert found["dtypes"] == {"float32": total}
    assert (found["missing"], found["unexpected"], found["unknown"], found["mismatched"]) == ([], [], [], {})
    assert found["config"]["llm"]["vocab_size"] == 768
    assert found["has_tokenizer"] is True
    assert len(found["files"]) == 2


def _is_split(name):
    return name.startswith(("llma.layers.", "llma.output.", "llma.tok_")) and name.endswith(
        (*small.COLUMNS, *small.ROWS)
    )


def test_inspect_names_some_of_the_unused(golden, capsys):
    assert main(["inspect", str(golden)]) == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("  unused: "))
    assert line.startswith("  unused: 8: llma.")
    assert line.endswith(", … (4 more)")


def test_inspect_tells_what_does_not_fit(two_shards, capsys):
    for path in two_shards.glob("*.pth"):
        stored = torch.load(path, weights_only=True)
        del stored["model"]["llma.vp_proj.1.bias"]
        stored["model"] |= {"llma.lora.a": torch.zeros(3), "llma.layers.3.ffn_norm.weight": torch.zeros(48)}
        stored["model"]["llma.norm.weight"] = torch.zeros(47)
        torch.save(stored, path)
    assert main(["inspect", str(two_shards)]) == 0
    text = capsys.readouterr().out
    assert "missing: 1: vp_proj.1.bias" in text
    assert "unexpected: 1: llm.layers.3.ffn_norm.weight" in text
    assert "unknown: 1: llma.lora.a" in text
    assert "other shape: llm.norm.weight is [47], the configuration asks for [48]" in text
    assert main(["inspect", str(two_shards), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["mismatched"] == {"llm.norm.weight": {"file": [47], "model": [48]}}


def test_every_tensor_of_the_13b_belongs_to_a_part():
    counts = {}
    for name, shape in model_shapes(sphinx_v_13b()).items():
        counts[part_of(name)] = counts.get(part_of(name), 0) + torch.Size(shape).numel()
    assert set(counts) == {
        "llm", "clip", "dinov2", "convnext", "blip2_vit", "qformer", "projections", "prompts",
    }  # fmt: skip
    assert counts["llm"] == 13_015_864_320
    # The four encoders of 3.41 B, without the 39 M of CLIP's text side.
    assert sum(counts[part] for part in ("clip", "dinov2", "convnext", "blip2_vit", "qformer")) == pytest.approx(
        3.41e9 - 39e6, rel=3e-3
    )


def test_errors_are_one_line_and_exit_code_2(tmp_path):
    command = [sys.executable, "-m", "SPHINX_V.weights", "inspect", str(tmp_path / "nothing")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: {tmp_path / 'nothing'}: does not exist; give a folder with a checkpoint in it.\n"


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--format", "released", "--shards", "3"], "3 shards do not divide dimension 0 of llm."),
        (["--format", "folder", "--shards", "0"], "shards is 0; give 1 to"),
    ],
)
def test_impossible_numbers(arguments, words, two_shards, tmp_path, capsys):
    assert main(["convert", str(two_shards), str(tmp_path / "out"), *arguments]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_missing_prompts_are_told(two_shards, tmp_path, capsys):
    for path in two_shards.glob("*.pth"):
        stored = torch.load(path, weights_only=True)
        stored["model"] = {name: t for name, t in stored["model"].items() if "vp_" not in name and "_vp" not in name}
        torch.save(stored, path)
    assert main(["convert", str(two_shards), str(tmp_path / "out"), "--format", "folder"]) == 0
    assert "lacks 15: start_vp, end_vp" in capsys.readouterr().out
