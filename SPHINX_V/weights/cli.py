"""The commands `convert` and `inspect` of `python -m SPHINX_V.weights`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

import torch

from SPHINX_V.errors import SphinxVError
from SPHINX_V.weights.checkpoint import few
from SPHINX_V.weights.convert import convert
from SPHINX_V.weights.inspection import as_dict, as_text, inspect_checkpoint

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="python -m SPHINX_V.weights", description="Convert and inspect checkpoints.")
    commands = top.add_subparsers(dest="command", required=True)

    to = commands.add_parser("convert", help="write a checkpoint in another form, bit by bit, one tensor at a time")
    to.add_argument("source", metavar="SRC", help="released folder, our folder, or a folder of Meta's LLaMA")
    to.add_argument("target", metavar="DST", help="the folder to be made")
    to.add_argument("--format", required=True, choices=("folder", "released"), help="folder: safetensors, our own form")
    to.add_argument("--shards", type=int, help="number of weight files (default: 1 released shard, or 5 GB each)")
    to.add_argument("--dtype", choices=sorted(DTYPES), help="convert the weights (default: keep every bit)")
    to.add_argument("--overwrite", action="store_true", help="replace the checkpoint that DST holds")
    to.add_argument(
        "--replicas",
        choices=("check", "first"),
        default="check",
        help="first: where shards disagree in a tensor that should be the same in all, take the first shard's",
    )

    look = commands.add_parser("inspect", help="sizes, parameters by part, types, missing and unexpected names")
    look.add_argument("path", metavar="PATH", help="a checkpoint folder of any kind")
    look.add_argument("--json", action="store_true", help="one line of JSON")
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; returns the exit code: 0, or 2 after one line on standard error."""
    options = parser().parse_args(arguments)
    try:
        if options.command == "inspect":
            found = inspect_checkpoint(options.path)
            print(json.dumps(as_dict(found)) if options.json else as_text(found))
        else:
            _convert(options)
    except (SphinxVError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


def _convert(options: argparse.Namespace) -> None:
    done = convert(
        options.source,
        options.target,
        options.format,
        shards=options.shards,
        dtype=DTYPES[options.dtype] if options.dtype else None,
        overwrite=options.overwrite,
        replicas=options.replicas,
    )
    print(f"{options.target}: {done.tensors} tensors as {options.format}, {len(done.carried)} of them without use")
    if done.missing:
        print(f"  the source, and so the result, lacks {len(done.missing)}: {few(done.missing)}")
