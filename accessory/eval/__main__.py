"""Entry of evaluation: `python -m accessory.eval infer|score|run`, plain or under torchrun."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from accessory.config import load_options
from accessory.eval import commands
from accessory.eval.options import EvalOptions, ReportOptions
from accessory.eval.registry import Registry, read_registry
from SPHINX_V.errors import SphinxVError


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m accessory.eval", description=__doc__)
    commands_of = parser.add_subparsers(dest="command", required=True)

    infer = commands_of.add_parser(
        "infer", help="ask a model; one JSON line per question, resumed where it was cut off"
    )
    infer.add_argument("--checkpoint", required=True, metavar="DIR", help="a released folder or one of ours")
    infer.add_argument("--suite", required=True, nargs="+", metavar="NAME", help="suites and groups; see `suites`")
    _add_roots(infer, required=True)
    infer.add_argument("--out", default="outputs/eval/predictions", metavar="DIR", help="(default: %(default)s)")
    infer.add_argument(
        "--control",
        choices=("none", "swap_marks", "no_marks"),
        default="none",
        help="ask with the marks of other items, or without marks",
    )
    infer.add_argument(
        "--batch_size", type=int, default=8, metavar="N", help="questions at a time (default: %(default)s)"
    )
    infer.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), help="default: the checkpoint's")
    infer.add_argument("--quantize", choices=("int8", "int4"), help="bits of the language model's weights")
    infer.add_argument("--device", help="cpu, cuda or cuda:N (default: a GPU where there is one)")
    infer.add_argument("--tensor_parallel", type=int, default=1, metavar="N", help="processes that hold one model")
    infer.add_argument("--on_bad_item", choices=("refuse", "unanswered"), help="in place of what the registry says")
    infer.add_argument("--restart", action="store_true", help="drop the answers that are there and begin anew")

    score = commands_of.add_parser("score", help="score prediction files; needs no model")
    score.add_argument(
        "predictions", nargs="+", type=Path, metavar="PRED", help=".jsonl of infer, or older .json files"
    )
    score.add_argument("--suite", metavar="NAME", help="which suite they answer, where they do not say it themselves")
    _add_roots(score, required=False)
    score.add_argument("--out", type=Path, metavar="DIR", help="write a report with examples there")
    score.add_argument("--partial", action="store_true", help="score files that answer only a part of their suite")
    score.add_argument("--similarity_model", metavar="DIR", help="folder of all-MiniLM-L6-v2")

    run = commands_of.add_parser("run", help="all suites of a YAML file, and one report")
    run.add_argument("config", metavar="CONFIG.yaml")
    run.add_argument("overrides", nargs="*", metavar="key=value", help="options that replace those of the file")

    suites = commands_of.add_parser("suites", help="list the suites and groups of the registry")
    suites.add_argument("--registry", nargs="+", default=[], type=Path, metavar="FILE", help="further registry files")
    return parser


def _add_roots(parser: argparse.ArgumentParser, required: bool) -> None:
    parser.add_argument("--data_root", required=required, metavar="DIR", help="folder of the benchmarks' files")
    parser.add_argument("--image_root", metavar="DIR", help="folder of their pictures (default: the data root)")
    parser.add_argument("--registry", nargs="+", default=[], type=Path, metavar="FILE", help="further registry files")


def _infer(arguments: argparse.Namespace) -> None:
    options = EvalOptions(
        output=arguments.out,
        checkpoint=arguments.checkpoint,
        suites=arguments.suite,
        data_root=arguments.data_root,
        image_root=arguments.image_root,
        batch_size=arguments.batch_size,
        dtype=arguments.dtype,
        quantize=arguments.quantize,
        device=arguments.device,
        tensor_parallel=arguments.tensor_parallel,
    )
    registry = read_registry(arguments.registry)
    if arguments.on_bad_item is not None:
        changed = {"on_bad_item": arguments.on_bad_item}
        registry.suites.update({name: entry.model_copy(update=changed) for name, entry in registry.suites.items()})
    commands.infer(options, registry, [arguments.control], Path(arguments.out), arguments.restart)


def _score(arguments: argparse.Namespace) -> None:
    registry = read_registry(arguments.registry)
    roots = None
    if arguments.data_root is not None or arguments.image_root is not None:
        roots = commands.roots_of(arguments.data_root or arguments.image_root, arguments.image_root)
    outcomes = commands.score(
        arguments.predictions, registry, roots, arguments.similarity_model, arguments.suite, arguments.partial
    )
    if arguments.out is not None:
        facts = {"predictions": ", ".join(path.name for path in arguments.predictions)}
        print(commands.report(arguments.out, outcomes, registry, ReportOptions(), facts))
    else:
        print(commands.table(outcomes, registry))


def _run(arguments: argparse.Namespace) -> None:
    table = commands.run(load_options(EvalOptions, arguments.config, arguments.overrides))
    if table is not None:
        print(table)


def _suites(arguments: argparse.Namespace) -> None:
    print(listing(read_registry(arguments.registry)))


def listing(registry: Registry) -> str:
    """Every suite with its kind and file, then the groups."""
    width = max(len(name) for name in (*registry.suites, *registry.groups))
    lines = [f"{name:{width}}  {entry.kind:13}  {entry.file}" for name, entry in sorted(registry.suites.items())]
    lines += ["", *(f"{name:{width}}  {len(members)} suites" for name, members in sorted(registry.groups.items()))]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line, by default the process's; returns the exit code: 0, or 2 for what the user can mend."""
    arguments = build_parser().parse_args(argv)
    action = {"infer": _infer, "score": _score, "run": _run, "suites": _suites}[arguments.command]
    try:
        action(arguments)
    except (SphinxVError, OSError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2
    return 0


def _end(code: int) -> NoReturn:
    """Ends the process. One that held a model with others leaves without Python's shutdown, as `end_process` says; they
    have met in `infer` already."""
    if "torch" in sys.modules:
        from torch import distributed

        if distributed.is_initialized():
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    _end(main())
