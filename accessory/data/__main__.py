"""Looks at the data of a data configuration: `python -m accessory.data check|preview|stats CONFIG`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from accessory.data.inspect import check, stats
from accessory.data.inspect.faults import KINDS
from accessory.data.inspect.preview import preview
from SPHINX_V.config import PRESETS
from SPHINX_V.errors import SphinxVError, UsageError
from SPHINX_V.processing.processor import Processor
from SPHINX_V.processing.tokenizer import Tokenizer


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="python -m accessory.data", description=__doc__)
    commands = top.add_subparsers(dest="command", required=True)
    checking = commands.add_parser("check", help="say what is wrong with any item; exit code 1 where something is")
    showing = commands.add_parser("preview", help="a page and a picture of some items with their marks and texts")
    counting = commands.add_parser("stats", help="figures of every source")
    for command in (checking, showing, counting):
        command.add_argument("config", metavar="CONFIG", help="YAML in the META form (path, type, root, ratio)")
        command.add_argument("--only", default="", metavar="TEXT", help="only sources with this in their path")
        command.add_argument(
            "--preset", choices=sorted(PRESETS), default="sphinx_v_13b", help="model (default: %(default)s)"
        )
    for command in (checking, counting):
        command.add_argument("--tokenizer", metavar="FILE", help="count tokens of this tokenizer.model, not words")
        command.add_argument("--json", action="store_true", help="print one JSON object")
        command.add_argument("--skip_pictures", action="store_true", help="do not open pictures")
        command.add_argument("--workers", type=int, default=8, help="pictures opened at a time (default %(default)s)")
    checking.add_argument("--decode", action="store_true", help="decode whole pictures, not only their headers")
    checking.add_argument("--max_words", type=int, metavar="N", help="tokens of a sample, as data.max_words")
    checking.add_argument(
        "--tolerance", type=float, default=check.EDGE, help="pixels a mark may overstep (default %(default)s)"
    )
    checking.add_argument(
        "--allow", action="append", default=[], choices=KINDS, metavar="KIND", help=f"no failure: {', '.join(KINDS)}"
    )
    checking.add_argument(
        "--show", type=int, default=10, help="faults shown of each kind, 0: all (default %(default)s)"
    )
    showing.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write")
    showing.add_argument(
        "--items", type=int, default=24, help="how many, of all sources together (default %(default)s)"
    )
    showing.add_argument("--seed", type=int, default=0, help="which (default %(default)s)")
    return top


def run_check(given: argparse.Namespace) -> int:
    """Prints the report; 1 where it has faults that are not allowed."""
    if given.max_words is not None and given.tokenizer is None:
        raise UsageError("--max_words counts tokens; give --tokenizer.")
    config = PRESETS[given.preset]()
    processor = None if given.tokenizer is None else Processor(config, Tokenizer.from_file(given.tokenizer))
    if given.max_words is not None and given.max_words <= config.visual_length:
        raise UsageError(
            f"--max_words is {given.max_words}, of which a picture takes {config.visual_length}; give more."
        )
    options = check.CheckOptions(
        max_prompts=config.prompts.num_slots,
        only=given.only,
        tolerance=given.tolerance,
        decode=given.decode,
        skip_pictures=given.skip_pictures,
        workers=given.workers,
        processor=processor,
        max_words=given.max_words,
    )
    report = check.check(given.config, options)
    print(check.as_json(report, given.allow) if given.json else check.as_text(report, given.allow, given.show))
    return check.exit_code(report, given.allow)


def run_preview(given: argparse.Namespace) -> int:
    """Writes page and sheet and says where they are."""
    slots = PRESETS[given.preset]().prompts.num_slots
    for path in preview(given.config, given.only, given.out, given.items, given.seed, slots):
        print(path)
    return 0


def run_stats(given: argparse.Namespace) -> int:
    """Prints the figures."""
    tokenizer = None if given.tokenizer is None else Tokenizer.from_file(given.tokenizer)
    slots = PRESETS[given.preset]().prompts.num_slots
    found = stats.collect(given.config, given.only, slots, tokenizer, given.workers, given.skip_pictures)
    print(stats.as_json(found) if given.json else stats.as_text(found))
    return 0


COMMANDS = {"check": run_check, "preview": run_preview, "stats": run_stats}


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; 0: done and nothing wrong, 1: `check` found faults, 2: it could not be done."""
    given = parser().parse_args(argv)
    try:
        if getattr(given, "workers", 1) < 1:
            raise UsageError(f"--workers is {given.workers}; give at least 1.")
        return COMMANDS[given.command](given)
    except SphinxVError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader of a long list has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


if __name__ == "__main__":
    sys.exit(main())
