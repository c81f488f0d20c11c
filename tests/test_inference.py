"""The command line: what it prints, writes and refuses, plain and under torchrun."""

import json
import os
import shutil
import subprocess
import sys

import pytest
import torch
from PIL import Image

from SPHINX_V import Box, Point, SPHINX_V_Model, UsageError
from SPHINX_V.inference import build_parser, default_question, main
from tests.golden_model import GOLDEN
from tests.house.repo import ROOT

BASE = ["--checkpoint", str(GOLDEN), "--image", str(GOLDEN / "image.png"), "--device", "cpu", "--dtype", "float32"]
GREEDY = ["--temperature", "0", "--max_gen_len", "24"]


@pytest.fixture(scope="module")
def boxes(golden_facts):
    return [word for box in golden_facts["boxes_xywh_px"] for word in ("--box", ",".join(map(str, box)))]


def run(*words, launcher=(), module="SPHINX_V.inference"):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *launcher, "-m", module, *words],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def called(capsys, *words):
    """Exit code, standard output and standard error of a call in this process."""
    code = main([str(word) for word in words])
    out, err = capsys.readouterr()
    return code, out, err


def test_a_process_prints_the_golden_s_answer(golden_facts, boxes):
    done = run(*BASE, *GREEDY, *boxes, "--question", golden_facts["question"])
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == golden_facts["texts"]["greedy_boxes"] + "\n"


def test_two_processes_print_the_same_once(golden_facts, boxes):
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")
    done = run(*BASE, *GREEDY, *boxes, "--tensor_parallel", "2", "--json", launcher=launcher)
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    assert json.loads(line)["answer"] == golden_facts["texts"]["greedy_boxes"]


def test_json_is_one_line(capsys, golden_facts):
    code, out, err = called(capsys, *BASE, *GREEDY, "--point", "120,200", "--box", "49,139,196,182", "--json")
    assert (code, err, out.count("\n")) == (0, "", 1)
    report = json.loads(out)
    assert report["question"] == "Please identify the labels of each marked point in the image."
    assert report["prompts"] == [{"point": [120, 200]}, {"box_xyxy": [49, 139, 245, 321]}]
    assert report["answer"] == report["answer"].strip() != ""
    assert set(report["seconds"]) == {"load", "first_text", "answer"}


def test_the_overlay_is_written(capsys, tmp_path):
    target = tmp_path / "marks.png"
    code, _, err = called(capsys, *BASE, *GREEDY, "--box", "49,139,196,182", "--overlay", target)
    assert (code, err) == (0, "")
    original = Image.open(GOLDEN / "image.png")
    with Image.open(target) as drawn:
        assert drawn.size == original.size
        assert drawn.convert("RGB").tobytes() != original.convert("RGB").tobytes()


def test_sampling_repeats_with_its_seed(capsys):
    words = [*BASE, "--box", "49,139,196,182", "--temperature", "1", "--top_p", "1", "--max_gen_len", "16"]
    first, again, other = (called(capsys, *words, "--seed", seed)[1] for seed in (1, 1, 2))
    assert first == again != other


def test_a_question_without_a_picture(capsys):
    words = ["--checkpoint", GOLDEN, "--device", "cpu", *GREEDY, "--question", "What is red?"]
    code, out, err = called(capsys, *words)
    assert (code, err) == (0, "")
    assert out.strip()


def test_marks_are_numbered_as_they_stand():
    words = ["--checkpoint", "x", "--box", "1,2,3,4", "--point", "5,6", "--box", "7,8,9,10"]
    marks = [Box(1, 2, 4, 6), Point(5, 6), Box(7, 8, 16, 18)]
    assert build_parser().parse_args(words).prompts == marks
    assert build_parser().parse_args(words).prompts == marks, "a second call begins anew"


def test_default_questions_are_those_of_the_training_data():
    assert default_question([Point(1, 1), Box(0, 0, 1, 1)]).endswith("each marked point in the image.")
    assert default_question([Box(0, 0, 1, 1), Point(1, 1)]).endswith("each marked region in the image.")
    with pytest.raises(UsageError, match="nothing is asked"):
        default_question([])


@pytest.mark.parametrize("box", ["-9,0,99,99", "-.5,0,99,99"])
def test_a_mark_partly_outside_is_one_line_of_warning(capsys, box):
    code, out, err = called(capsys, *BASE, *GREEDY, "--box", box)
    assert code == 0
    assert out.strip()
    assert err.startswith("warning: prompt 1 Box")
    assert err.count("\n") == 1


def test_a_region_that_is_not_there_is_one_line_of_warning(capsys):
    _, _, err = called(capsys, *BASE, *GREEDY, "--box", "1,2,30,40", "--question", "What is <Region 4>?")
    assert err == "warning: the question names <Region 4>, but 1 prompts are given.\n"


def test_a_checkpoint_with_unknown_tensors_is_one_line_of_warning(capsys, tmp_path):
    folder = shutil.copytree(GOLDEN, tmp_path / "golden")
    for path in folder.glob("*.pth"):
        stored = torch.load(path, weights_only=True)
        torch.save({"model": {**stored["model"], "llma.lora.a": torch.zeros(1)}}, path)
    words = ["--checkpoint", folder, "--device", "cpu", *GREEDY, "--question", "What is red?"]
    code, _, err = called(capsys, *words)
    assert code == 0
    assert err.startswith(f"warning: {folder}: 1 tensors are unknown")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "words, part",
    [
        (["--box", "1,2,3"], "--box 1,2,3: write x,y,w,h"),
        (["--point", "a,b"], "--point a,b: write x,y"),
        (["--box", "1,2,0,5"], "has no area"),
        (["--point", "nan,5"], "finite"),
        (["--point", "9999,5"], "wholly outside"),
        (["--point", "5,5"] * 11, "11 prompts given"),
        ([], "nothing is asked"),
        (["--question", "  "], "no question"),
        (["--point", "5,5", "--temperature", "-1"], "temperature is -1.0"),
        (["--point", "5,5", "--max_gen_len", "0"], "max_gen_len is 0"),
        (["--point", "5,5", "--device", "toaster"], "device is 'toaster'"),
        (["--point", "5,5", "--tensor_parallel", "2"], "torchrun --nproc_per_node=2"),
        (["--point", "5,5", "--tensor_parallel", "0"], "tensor_parallel is 0"),
        (["--point", "5,5", "--overlay", "no/such/folder/x.png"], "cannot be written"),
        (["--point", "5,5", "--overlay", "x.nonsense"], "cannot be written"),
        (["--point", "5,5", "--image", "no.png"], "no.png: no such picture"),
        (["--point", "5,5", "--checkpoint", "no_checkpoint"], "no_checkpoint"),
    ],
)
def test_what_a_user_can_mend_is_one_line_and_exit_code_2(capsys, tmp_path, monkeypatch, words, part):
    monkeypatch.chdir(tmp_path)
    code, out, err = called(capsys, *BASE, *words)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("error: ")
    assert part in err


@pytest.mark.parametrize(
    "words, part",
    [
        (["--temperature", "-1"], "temperature is -1.0"),
        (["--top_p", "2"], "top_p is 2.0"),
        (["--seed", "-1"], "seed is -1"),
        (["--max_gen_len", "0"], "max_gen_len is 0"),
        (["--question", " "], "no question"),
    ],
)
def test_options_are_checked_before_the_model_is_loaded(capsys, monkeypatch, words, part):
    monkeypatch.setattr(SPHINX_V_Model, "from_pretrained", lambda *_, **__: pytest.fail("loaded"))
    code, _, err = called(capsys, *BASE, "--point", "5,5", *words)
    assert code == 2
    assert part in err


def test_more_processes_than_asked_for_are_refused(capsys, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    code, _, err = called(capsys, *BASE, "--point", "5,5")
    assert code == 2
    assert "tensor_parallel is 1, but 2 processes run" in err
    assert "--nproc_per_node=1, or set tensor_parallel to 2" in err


def test_other_ranks_are_silent(capsys, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    code, out, err = called(capsys, *BASE, *GREEDY, "--box", "-9,0,99,99")
    assert (code, out, err) == (0, "", "")
