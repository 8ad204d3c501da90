import csv
import io
import json
import subprocess
import sys

import pytest

from isocalc.activations.catalogue import FAMILIES, activation

pytestmark = pytest.mark.process


def acts(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "isocalc", "acts", *arguments], capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def rows():
    run = acts()
    assert (run.returncode, run.stderr) == (0, "")
    return list(csv.DictReader(io.StringIO(run.stdout)))


def test_every_activation_has_a_row(rows):
    assert [row["name"] for row in rows] == list(FAMILIES)
    assert list(rows[0]) == ["name", "parameters", "formula", "reference"]
    assert all(row["formula"] and row["reference"] for row in rows)


def test_parameters_are_shown_with_the_defaults_that_hold(rows):
    shown = {row["name"]: row["parameters"] for row in rows}
    assert shown["relu"] == ""
    assert shown["leaky_relu"] == "negative_slope=0.01"
    assert shown["hardtanh"] == "min_val=-1 max_val=1"
    assert shown["threshold"] == "threshold value"
    for name, text in shown.items():
        values = [item.split("=")[1] for item in text.split() if "=" in item]
        if values:
            assert activation(":".join([name, *values])).name == name


def test_json_has_the_same_rows(rows, tmp_path):
    path = tmp_path / "activations.json"
    run = acts("-o", str(path))
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
    assert json.loads(path.read_text(encoding="utf-8")) == rows


def test_arguments_are_refused():
    run = acts("relu")
    assert run.returncode == 2
    assert run.stdout == ""
