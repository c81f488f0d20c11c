"""The table: shares and counts, and its form in Markdown."""

import math

import pytest

from accessory.eval.table import columns_of, markdown, percent
from SPHINX_V.errors import UsageError


def test_floats_are_shares_and_whole_numbers_are_counts():
    columns = columns_of({"a": {"accuracy": 1.0, "items": 1}, "b": {"accuracy": 0.5, "seen": 2000}})
    assert [(column.name, column.is_share) for column in columns] == [
        ("accuracy", True),
        ("items", False),
        ("seen", False),
    ]
    assert columns[0].text(1.0) == "100.0\u00a0%"
    assert columns[2].text(2000) == "2,000"
    assert columns[1].text(None) == "–"


def test_one_decimal_of_a_per_cent():
    assert percent(0.97149) == "97.1\u00a0%"


def test_markdown_has_a_row_per_task_and_a_dash_for_what_is_absent():
    text = markdown({"labels | boxes": {"accuracy": 0.971, "items": 150}, "ocr": {"accuracy": 0.5}})
    assert text.splitlines() == [
        "| task | accuracy | items |",
        "| --- | ---: | ---: |",
        "| labels \\| boxes | 97.1\u00a0% | 150 |",
        "| ocr | 50.0\u00a0% | – |",
    ]


@pytest.mark.parametrize("value", [1.01, -0.1, math.nan, 97.1])
def test_a_share_outside_its_range_is_refused(value):
    with pytest.raises(UsageError, match="labels, accuracy"):
        columns_of({"labels": {"accuracy": value}})


def test_an_empty_table_is_refused():
    with pytest.raises(UsageError, match="no row"):
        columns_of({})
