"""The command line: one picture, marks and a question in, the answer out; plain or under torchrun.

python -m SPHINX_V.inference --checkpoint DIR --image FILE --box 49,139,196,182 --question "What is <Region 1>?"
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import time
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TextIO

import torch

from SPHINX_V.errors import CheckpointWarning, PromptWarning, SphinxVError, UsageError
from SPHINX_V.mark_flags import add_mark_flags, default_question, with_signs
from SPHINX_V.model.lowbit import PRECISIONS
from SPHINX_V.overlay import draw_marks
from SPHINX_V.parallel import check_world, end_process, rank
from SPHINX_V.processing.image import open_picture
from SPHINX_V.prompts import Prompt, is_point
from SPHINX_V.sphinx_v import Request, SPHINX_V_Model

if TYPE_CHECKING:
    from PIL import Image

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_OURS = (PromptWarning, CheckpointWarning)  # shown in one line, and by one process


def add_model_flags(parser: argparse.ArgumentParser) -> None:
    """How a model is loaded, on every command line that loads one beside `--checkpoint`."""
    parser.add_argument("--device", help="cpu, cuda or cuda:N (default: a GPU where there is one)")
    parser.add_argument("--dtype", choices=DTYPES, help="of weights and computation (default: the checkpoint's)")
    parser.add_argument(
        "--quantize",
        choices=PRECISIONS,
        help="of the language model's weights (default: as --dtype says)",
    )
    parser.add_argument(
        "--tensor_parallel", type=int, default=1, metavar="N", help="processes, under torchrun (default: %(default)s)"
    )


def load_by_flags(options: argparse.Namespace) -> SPHINX_V_Model:
    """The model of `--checkpoint` and the flags above. Raises as `SPHINX_V_Model.from_pretrained`."""
    return SPHINX_V_Model.from_pretrained(
        options.checkpoint,
        device=options.device,
        dtype=DTYPES.get(options.dtype),
        tensor_parallel=options.tensor_parallel,
        quantize=options.quantize,
    )


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m SPHINX_V.inference",
        description="Ask about marked places of a picture. Marks are numbered in the order they are given.",
    )
    parser.add_argument("--checkpoint", required=True, metavar="DIR", help="a released folder or one of ours")
    parser.add_argument("--image", metavar="FILE", help="the picture; without it the question is text only")
    add_mark_flags(parser)
    parser.add_argument(
        "--question", help="names marks as <Region n> (boxes) or <Mark n> (points); default: their labels"
    )
    parser.add_argument("--temperature", type=float, default=0.1, help="0 is greedy (default: %(default)s)")
    parser.add_argument(
        "--top_p",
        type=float,
        default=0.5,
        help="among the likeliest tokens of this probability (default: %(default)s)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of sampling (default: %(default)s)")
    parser.add_argument("--max_gen_len", type=int, default=512, help="longest answer in tokens (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print one line of JSON with the key answer")
    parser.add_argument("--overlay", metavar="PNG", help="write the picture with its numbered marks")
    add_model_flags(parser)
    return parser


def _save_overlay(path: str, picture: Image.Image, prompts: Sequence[Prompt]) -> None:
    try:
        draw_marks(picture, prompts).save(path)
    except (OSError, ValueError) as error:
        raise UsageError(f"--overlay {path} cannot be written ({error}); give a file name like marks.png.") from None


def _describe(prompt: Prompt) -> dict[str, Any]:
    x0, y0, x1, y1 = prompt.bounds()
    return {"point": [x0, y0]} if is_point(prompt) else {"box_xyxy": [x0, y0, x1, y1]}


def answer(options: argparse.Namespace, out: TextIO) -> None:
    """Loads, asks and writes to `out`: pieces as they come, or one line of JSON. Raises errors of our family."""
    start = time.perf_counter()
    check_world(options.tensor_parallel)
    question = options.question if options.question is not None else default_question(options.prompts)
    if options.overlay and not options.image:
        raise UsageError("--overlay draws on the picture; give --image.")
    picture = open_picture(options.image) if options.image else None
    # What can be wrong without the model is found before minutes are spent on loading it.
    request = Request(
        [[question, None]],
        options.prompts,
        picture,
        max_gen_len=options.max_gen_len,
        temperature=options.temperature,
        top_p=options.top_p,
        seed=options.seed,
    )
    model = load_by_flags(options)
    loaded = time.perf_counter()
    pieces = model.stream_response(
        request.turns,
        request.prompts,
        request.image,
        max_gen_len=request.max_gen_len,
        temperature=request.temperature,
        top_p=request.top_p,
        seed=request.seed,
    )
    if options.overlay and picture is not None and rank() == 0:
        _save_overlay(options.overlay, picture, options.prompts)
    text, first = "", None
    for piece in pieces:
        first = first or time.perf_counter()
        text += piece
        if not options.json:
            out.write(piece)
            out.flush()
    end = time.perf_counter()
    if options.json:
        seconds = {"load": loaded - start, "first_text": (first or end) - loaded, "answer": end - loaded}
        report = {
            "question": question,
            "prompts": [_describe(prompt) for prompt in options.prompts],
            "answer": text,
            "seconds": {name: round(value, 3) for name, value in seconds.items()},
        }
        out.write(json.dumps(report, ensure_ascii=False))
    out.write("\n")


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    if issubclass(category, _OURS):
        print(f"warning: {message}", file=file or sys.stderr)
    else:
        print(warnings.formatwarning(message, category, filename, lineno, line), end="", file=file or sys.stderr)


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0, or 2 with one line on standard error for what the user can mend."""
    who = f"rank {rank()}: " if rank() else ""
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            options = build_parser().parse_args(with_signs(sys.argv[1:] if argv is None else argv))
            if rank():
                for category in _OURS:
                    warnings.simplefilter("ignore", category)
            answer(options, io.StringIO() if rank() else sys.stdout)
    except SphinxVError as error:
        print(f"{who}error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    end_process(main())
