"""The table of results: its columns, how a number is written, and the table in Markdown."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from SPHINX_V.errors import UsageError

Table = Mapping[str, Mapping[str, float]]

ACCURACY = "accuracy"
SWAPPED = "marks swapped"
ABSENT = "–"


@dataclass(frozen=True)
class Column:
    """One column; a share lies in [0, 1] and is written in per cent, everything else is a whole number."""

    name: str
    is_share: bool

    def text(self, value: float | None) -> str:
        if value is None:
            return ABSENT
        return percent(value) if self.is_share else f"{value:,}"


def percent(share: float) -> str:
    """0.9714 → "97.1 %"; the space does not break."""
    return f"{100 * share:.1f}\u00a0%"


def columns_of(table: Table) -> list[Column]:
    """The columns of all rows in the order they are first met; whole numbers throughout make a column of counts.

    Raises UsageError for an empty table and for a share outside [0, 1].
    """
    if not table:
        raise UsageError("the table has no row; give at least one, such as {'labels': {'accuracy': 0.9}}.")
    names = list(dict.fromkeys(name for row in table.values() for name in row))
    columns = []
    for name in names:
        values = {task: row[name] for task, row in table.items() if name in row}
        is_share = any(isinstance(value, float) for value in values.values())
        for task, value in values.items():
            if is_share and not (math.isfinite(value) and 0 <= value <= 1):
                raise UsageError(f"{task}, {name} is {value}; a share lies in [0, 1], a count is a whole number.")
        columns.append(Column(name, is_share))
    return columns


def markdown(table: Table, first: str = "task") -> str:
    """The table in Markdown, numbers to the right."""
    columns = columns_of(table)
    lines = [[first, *(column.name for column in columns)], ["---", *("---:" for _ in columns)]]
    lines += [[task, *(column.text(row.get(column.name)) for column in columns)] for task, row in table.items()]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)
