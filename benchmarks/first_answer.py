"""Times one answer about a 1280×720 picture with a preset of random weights, made directly on the device.

`python -m benchmarks.first_answer --preset sphinx_v_13b --device cuda --dtype bfloat16 [--record FILE.json]`
"""

from __future__ import annotations

import resource
from typing import Any

import numpy
import torch

from benchmarks import _measure
from benchmarks._measure import Numbers, timed
from SPHINX_V.config import PRESETS
from SPHINX_V.generation.options import EngineOptions
from SPHINX_V.generation.prefix import PromptKey
from SPHINX_V.generation.prompt import PreparedPrompt
from SPHINX_V.generation.rows import Rows
from SPHINX_V.processing.image import SquareFrame, as_picture, square_picture
from SPHINX_V.processing.slots import build_slots
from SPHINX_V.prompts import Box, Point
from SPHINX_V.weights.load import build_random

WIDTH, HEIGHT = 1280, 720
QUESTION_TOKENS = 77  # the labels question in LLaMA's tokenizer takes about as many


def question(preset: str, tokens: int = QUESTION_TOKENS) -> PreparedPrompt:
    """A noise picture with a box and a point, and a text of so many random ids."""
    config = PRESETS[preset]()
    noise = numpy.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=numpy.uint8)
    marks = (Box(100, 100, 500, 400), Point(900, 300))
    ids = torch.randint(3, config.llm.vocab_size, (tokens,), generator=torch.Generator().manual_seed(0))
    return PreparedPrompt(
        PromptKey(tuple(ids.tolist()), "noise", "two", config.image_length, config.visual_length - config.image_length),
        square_picture(as_picture(noise), config.vision.picture_size),
        build_slots(marks, SquareFrame(WIDTH, HEIGHT), config.prompts.num_slots),
    )


@torch.inference_mode()
def measure(preset: str, device: torch.device, dtype: torch.dtype, new_tokens: int, repeats: int) -> dict[str, Any]:
    """Load time, time to first token and decode rate (medians of `repeats`), and peak memory."""
    load, model = timed(device, lambda: build_random(PRESETS[preset](), device=device, dtype=dtype).eval())
    prompt = question(preset)
    length = len(prompt.key)
    rows = Rows(model, EngineOptions(max_rows=1, max_len=length + new_tokens))

    def decode(token: int) -> None:
        for place in range(new_tokens - 1):
            token = int(rows.step([token], [length + place]).argmax())

    def answer() -> Numbers:
        rows.forget()
        first, (logits, _) = timed(device, lambda: rows.fill(0, [prompt], rows.encode([prompt])))
        rest, _ = timed(device, lambda: decode(int(logits.argmax())))
        return {"first_token_seconds": first, "tokens_per_second": (new_tokens - 1) / rest}

    found = _measure.in_turn({"answer": answer}, repeats)
    if device.type == "cuda":
        peak = torch.cuda.max_memory_allocated(device) / 2**30
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {
        "load_seconds": round(load, 3),
        **_measure.medians(found["answer"]),
        "peak_memory_gib": round(peak, 3),
        "sequence": model.config.visual_length + QUESTION_TOKENS,
    }


def main() -> None:
    """Command line; prints the record and writes it where asked."""
    parser = _measure.command_line("first_answer", __doc__, repeats=5)
    parser.add_argument("--preset", choices=sorted(PRESETS), default="tiny")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--new_tokens", type=int, default=64)
    options = parser.parse_args()
    device = torch.device(options.device)
    head = _measure.begin(parser, options, device)
    measured = measure(options.preset, device, getattr(torch, options.dtype), options.new_tokens, options.repeats)
    _measure.finish({**head, **measured}, options.record)


if __name__ == "__main__":
    main()
