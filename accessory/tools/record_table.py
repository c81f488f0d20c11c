"""A benchmark's record → the table that the README shows of it."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import fmean
from typing import Any

from SPHINX_V.errors import DataError

KINDS = {"labels": "labels", "words": "ocr", "relations": "relation"}


def quantisation_table(path: Path) -> str:
    """The scores, memory and speed of each type of weights in Markdown, from a record of `benchmarks.quantisation`.

    A score is the mean over boxes and points. Raises DataError for a file that is missing or is no such record.
    """
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        rows = [_row(name, way, int(record["items"])) for name, way in record["ways"].items()]
        where = f"Measured {record['date']} on {record['cores']} CPU cores ({record['device']})"
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; run python -m benchmarks.quantisation --record {path}.") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: is no record of benchmarks.quantisation ({error!r}).") from None
    head = ["weights", *KINDS, "same answers", "language model", "tokens/s, 1 row", "16 rows"]
    lines = [head, ["---", *("---:" for _ in head[1:])], *rows]
    table = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    return f"{table}\n{where} with the quickstart's model by `python -m benchmarks.quantisation`.\n"


def _row(name: str, way: dict[str, Any], items: int) -> list[str]:
    scores = {
        title: fmean(way["scores"][f"{suite}_{kind}"] for kind in ("box", "point")) for title, suite in KINDS.items()
    }
    speed = way["tokens_per_second"]
    return [
        name.replace("+", ", "),
        *(f"{score:.1f}\u00a0%" for score in scores.values()),
        f"{way['answers_as_float32']} of {items}",
        f"{way['llm_mib']:.2f}\u00a0MiB",
        f"{speed['rows_1']:,.0f}",
        f"{speed['rows_16']:,.0f}",
    ]
