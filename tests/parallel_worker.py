"""Run by test_parallel in each of two processes: compares the split golden model with the whole one.

torchrun --nproc_per_node=2 tests/parallel_worker.py FOLDER
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch

from SPHINX_V.parallel import end_process, init_mesh, rank, tensor_parallel
from SPHINX_V.processing.tokenizer import Tokenizer
from SPHINX_V.sphinx_v import Request, SPHINX_V_Model
from tests.golden_model import GOLDEN, golden_model

TURNS = [["What is <Region 1>?", None]]
BOX = [[49, 139, 196, 182]]
PICTURE = GOLDEN / "image.png"


def answers(model: SPHINX_V_Model) -> dict[str, Any]:
    requests = [
        Request(TURNS, BOX, PICTURE, 4, 0.0),
        Request(TURNS, [[9, 9, 50, 50]], PICTURE, 6, 1.0, 0.9, 3),
        Request([["Hi there?", None]], None, None, 8, 1.0, 1.0, 4),
    ]
    return {
        "greedy": model.generate_response(TURNS, BOX, PICTURE, 8, 0.0),
        "sampled": model.generate_response(TURNS, BOX, PICTURE, 8, 1.0, 0.9, 5),
        "batch": model.generate_batch(requests),
    }


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    mesh = init_mesh(2, "cpu")
    tokenizer = Tokenizer.from_file(GOLDEN / "tokenizer.model")
    whole = SPHINX_V_Model(golden_model(), tokenizer)
    by_plan = golden_model()
    tensor_parallel(by_plan, mesh)
    split = SPHINX_V_Model(by_plan, tokenizer)
    loaded = SPHINX_V_Model.from_pretrained(GOLDEN, device="cpu", dtype=torch.float32, tensor_parallel=2)
    inputs = whole.processor(PICTURE, BOX, TURNS)
    expected = whole.logits(inputs)
    with torch.inference_mode():
        shares = {
            name: list(parameter.to_local().shape) if hasattr(parameter, "to_local") else None
            for name, parameter in loaded.model.named_parameters()
        }
    seen = {
        "distances": [(model.logits(inputs) - expected).abs().max().item() for model in (split, loaded)],
        "answers": [answers(model) for model in (whole, loaded)],
        "shares": shares,
    }
    (folder / f"{rank()}.json").write_text(json.dumps(seen), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    end_process(0)
