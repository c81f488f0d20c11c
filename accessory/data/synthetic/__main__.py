"""The command line of the data set: `python -m accessory.data.synthetic OUT`."""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

from SPHINX_V.errors import UsageError

from .build import generate


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m accessory.data.synthetic", description="Draw the synthetic data set into a folder."
    )
    parser.add_argument("out", type=Path, metavar="OUT", help="folder to write; an earlier data set in it is replaced")
    parser.add_argument(
        "--items",
        type=int,
        default=8000,
        metavar="N",
        help="number of training PICTURES (each gives several annotations; default %(default)s)",
    )
    parser.add_argument(
        "--heldout", type=int, default=200, metavar="M", help="number of held-out pictures (default %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="same seed, same bytes (default %(default)s)")
    parser.add_argument(
        "--workers",
        type=int,
        default=os.cpu_count() or 1,
        metavar="W",
        help="processes; the result does not depend on it (default: the number of cores, %(default)s here)",
    )
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the command with `arguments` (default: those of the process); returns the exit status."""
    options = _parser().parse_args(arguments)
    start = time.perf_counter()
    try:
        summary = generate(options.out, options.items, options.heldout, options.seed, options.workers)
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{options.out}: seed {options.seed}, {time.perf_counter() - start:.1f} s")
    for split, pictures in summary.pictures.items():
        items = summary.items[split]
        print(f"{split}: {pictures} pictures, {sum(items.values())} items")
        print("  " + ", ".join(f"{name} {count}" for name, count in items.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
