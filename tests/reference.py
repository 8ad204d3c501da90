"""The reference values in tests/data, computed independently of isocalc."""

import csv
from pathlib import Path

DATA = Path(__file__).parent / "data"


def rows(name):
    """The rows of a file as dictionaries, numbers as floats."""
    with (DATA / f"{name}.csv").open(newline="", encoding="utf-8") as file:
        return [{key: _number(text) for key, text in row.items()} for row in csv.DictReader(file)]


def _number(text):
    try:
        return float(text)
    except ValueError:
        return text
