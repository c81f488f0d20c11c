"""Loads a model of released form and full size from files, and asks it twice about one picture. Weights are noise.

`python -m benchmarks.full_size --preset sphinx_v_13b --quantize int4 [--device cpu] [--record FILE.json]`
"""

from __future__ import annotations

import json
import math
import resource
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy
import torch
from torch import Tensor

from benchmarks import _measure
from benchmarks._measure import Numbers, timed
from SPHINX_V import Box, EngineOptions, Point, Request, SPHINX_V_Model
from SPHINX_V.config import PRESETS, SphinxVConfig
from SPHINX_V.weights import names, released_config
from SPHINX_V.weights.checkpoint import model_shapes
from tests.golden_model import GOLDEN

SHARDS = 2
WIDTH, HEIGHT = 1280, 720
QUESTIONS = ("Please identify the labels of each marked region in the image.", "How do <Region 1> and <Mark 2> relate?")


def write_checkpoint(folder: Path, config: SphinxVConfig) -> int:
    """Released files of every tensor of `config`; → how many numbers these are.

    The tensors are overlapping parts of one block of noise, which each file holds once: 0.7 GB for the 13B in place of
    33. Who reads them reads as many bytes as of real ones, though from the page cache.
    """
    shapes = model_shapes(config)
    size = max(map(math.prod, shapes.values())) + 4096
    block = (0.02 * torch.randn(size, generator=torch.Generator().manual_seed(0))).bfloat16()
    ones = torch.ones(max(shape[-1] for shape in shapes.values() if shape), dtype=torch.bfloat16)
    shards: list[dict[str, Tensor]] = [{} for _ in range(SHARDS)]
    for number, (ours, shape) in enumerate(shapes.items()):
        there, split = names.to_released(ours), names.split_dimension(ours)
        part = [length // SHARDS if place == split else length for place, length in enumerate(shape)]
        is_scale = len(shape) == 1 and ours.endswith(("weight", "gamma"))
        for rank, shard in enumerate(shards):
            first = (number * 31 + (0 if split is None else rank * 17)) % 4096
            source = ones if is_scale else block[first:]
            shard[there.name] = source[: math.prod(part)].view([1] * there.lead + part)
    for rank, shard in enumerate(shards):
        torch.save({"model": shard}, folder / f"consolidated.{rank:02d}-of-{SHARDS:02d}.model.pth")
    (folder / "config.json").write_text(json.dumps(released_config.to_released(config)), encoding="utf-8")
    shutil.copy(Path(GOLDEN) / "tokenizer.model", folder)
    return sum(map(math.prod, shapes.values()))


def asked(model: SPHINX_V_Model, device: torch.device, new_tokens: int) -> Numbers:
    """Seconds to the first token of two questions, the second about the same picture and marks, and tokens a second
    of an answer to the second."""
    noise = numpy.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=numpy.uint8)
    marks = [Box(100, 100, 500, 400), Point(900, 300)]

    def seconds(question: str, tokens: int) -> float:
        request = Request([[question, None]], marks, noise, max_gen_len=tokens, temperature=0.0, stops=())
        return timed(device, lambda: model.engine.submit(request).answer())[0]

    model.engine.forget()
    first, second = (seconds(question, 1) for question in QUESTIONS)
    longer = seconds(QUESTIONS[1], new_tokens)  # nothing of its prompt is computed again
    return {"first_question": first, "second_question": second, "tokens_per_second": new_tokens / longer}


def peak_gib(device: torch.device) -> float:
    """The most memory that was held so far."""
    if device.type == "cuda":
        return round(torch.cuda.max_memory_allocated(device) / 2**30, 2)
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2)


def measure(preset: str, device: torch.device, quantize: str | None, new_tokens: int, repeats: int) -> dict[str, Any]:
    """What loading and both questions take."""
    with TemporaryDirectory() as name:
        numbers = write_checkpoint(Path(name), PRESETS[preset]())
        load, model = timed(
            device,
            lambda: SPHINX_V_Model.from_pretrained(name, device=device, dtype=torch.bfloat16, quantize=quantize),
        )
    loaded = {"numbers": numbers, "load_seconds": round(load, 1), "peak_gib_of_loading": peak_gib(device)}
    length = model.config.visual_length + 256
    model.make_engine(EngineOptions(max_rows=1, max_len=length, prefix_bytes=2**31))
    found = _measure.medians([asked(model, device, new_tokens) for _ in range(repeats)])
    return {**loaded, **found, "visual_positions": model.config.visual_length, "peak_gib": peak_gib(device)}


def main() -> None:
    """Command line; prints the record and writes it where asked."""
    parser = _measure.command_line("full_size", __doc__, repeats=1)
    parser.add_argument("--preset", choices=sorted(PRESETS), default="tiny")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--quantize", choices=("int8", "int4"))
    parser.add_argument("--new_tokens", type=int, default=8)
    options = parser.parse_args()
    device = torch.device(options.device)
    head = _measure.begin(parser, options, device)
    found = measure(options.preset, device, options.quantize, options.new_tokens, options.repeats)
    _measure.finish({**head, **found}, options.record)


if __name__ == "__main__":
    main()
