"""Makes what the README shows: the architecture, a page of quickstart answers, and tables of results.

python -m accessory.tools.figures architecture OUT.svg
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from accessory.eval.table import ACCURACY, SWAPPED, markdown
from accessory.tools.answers_page import answers_page
from accessory.tools.architecture import architecture
from accessory.tools.record_table import quantisation_table
from SPHINX_V.config import PRESETS
from SPHINX_V.errors import DataError, SphinxVError, UsageError

TITLES = {"sphinx_v_13b": "SPHINX-V 13B", "tiny": "SPHINX-V tiny"}
# Lines of results.json and what the README calls them.
ROWS = {
    "labels_box": "object labels, boxes",
    "labels_point": "object labels, points",
    "ocr": "short words (OCR)",
    "relation": "relations of two marks",
    "free": "free questions",
}
# The picture made by the command `answers`; where it stands beside the Markdown file, it is shown under the table.
ANSWERS = "assets/quickstart.png"
QUICKSTART, QUANTISATION = "quickstart-table", "quantisation-table"  # between marker lines of these names


def results_table(path: Path, machine: str | None) -> str:
    """The numbers of a results.json in Markdown, with the date of the file and how long the run took.

    Raises DataError for a file that is missing, is no JSON or lacks a key.
    """
    try:
        results: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        swapped = results["swapped"]
        table = {title: {ACCURACY: float(results[key]), SWAPPED: float(swapped[key])} for key, title in ROWS.items()}
        seconds = float(results["seconds"])
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; run bash scripts/quickstart.sh first.") from None
    except json.JSONDecodeError as error:
        raise DataError(f"{path}: not valid JSON: {error}") from None
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: is not what the quickstart writes ({error!r}).") from None
    day = time.strftime("%Y-%m-%d", time.gmtime(path.stat().st_mtime))
    where = f" on {machine}" if machine else ""
    minutes, rest = divmod(round(seconds), 60)
    return (
        f"{markdown(table)}\nMeasured {day} by `bash scripts/quickstart.sh`{where};"
        f" the whole run took {minutes} min {rest} s.\n"
    )


def markers(what: str) -> tuple[str, str]:
    """The lines before and after a table."""
    return f"<!-- {what} -->", f"<!-- /{what} -->"


def fill(text: str, table: str, name: str, what: str = QUICKSTART) -> str:
    """`text` with `table` between its two marker lines. Raises UsageError where they are not there exactly once."""
    opens, closes = markers(what)
    if text.count(opens) != 1 or text.count(closes) != 1 or text.index(opens) > text.index(closes):
        raise UsageError(f"{name} must hold the line {opens} once, and after it {closes} once.")
    before, rest = text.split(opens)
    return f"{before}{opens}\n{table}{closes}{rest.split(closes)[1]}"


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="python -m accessory.tools.figures", description="Make the README's figures.")
    commands = top.add_subparsers(dest="command", required=True)
    draw = commands.add_parser("architecture", help="the architecture as SVG, its sizes from a preset")
    draw.add_argument("out", type=Path, metavar="OUT.svg")
    draw.add_argument("--preset", choices=sorted(PRESETS), default="sphinx_v_13b", help="(default: %(default)s)")
    page = commands.add_parser("answers", help="a page of answers of a quickstart run")
    page.add_argument("run", type=Path, metavar="RUN_DIR", help="such as outputs/quickstart")
    page.add_argument("out", type=Path, metavar="OUT.png")
    table = commands.add_parser("table", help="write the results of a quickstart run into a Markdown file")
    table.add_argument("run", type=Path, metavar="RUN_DIR", help="such as outputs/quickstart")
    table.add_argument(
        "file", type=Path, metavar="README.md", help=f"has the lines {' and '.join(markers(QUICKSTART))}"
    )
    table.add_argument("--machine", help='where it was measured, such as "2 CPU cores"')
    bits = commands.add_parser("quantisation", help="write a record of benchmarks.quantisation into a Markdown file")
    bits.add_argument("record", type=Path, metavar="RECORD.json")
    bits.add_argument(
        "file", type=Path, metavar="README.md", help=f"has the lines {' and '.join(markers(QUANTISATION))}"
    )
    return top


def make(options: argparse.Namespace) -> Path:
    """Runs one command; returns the file that it wrote."""
    if options.command == "table":
        text = options.file.read_text(encoding="utf-8")
        table = results_table(options.run / "results.json", options.machine)
        if (options.file.parent / ANSWERS).is_file():
            table += f"\n![Held-out pictures with numbered marks, questions and the model's answers]({ANSWERS})\n"
        options.file.write_text(fill(text, table, str(options.file)), encoding="utf-8")
        return options.file
    if options.command == "quantisation":
        text, table = options.file.read_text(encoding="utf-8"), quantisation_table(options.record)
        options.file.write_text(fill(text, table, str(options.file), QUANTISATION), encoding="utf-8")
        return options.file
    options.out.parent.mkdir(parents=True, exist_ok=True)
    if options.command == "architecture":
        drawing = architecture(PRESETS[options.preset](), TITLES[options.preset])
        options.out.write_text(drawing, encoding="utf-8")
    else:
        answers_page(options.run).save(options.out, format="PNG", optimize=True)
    return options.out


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code: 0, or 2 after one line on standard error."""
    options = parser().parse_args(arguments)
    try:
        print(make(options))
    except (SphinxVError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
