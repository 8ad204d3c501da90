"""The lazy public names of the package."""

import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import isocalc


def test_every_public_name_loads():
    assert {name: getattr(isocalc, name) for name in isocalc.__all__}
    assert set(isocalc.__all__) <= set(dir(isocalc))


def test_no_submodule_hides_a_public_name():
    """Importing a submodule sets an attribute of the package: a function of that name would be gone."""
    submodules = {module.name for module in pkgutil.iter_modules(isocalc.__path__)}
    assert not submodules & set(isocalc.__all__)


def test_importing_the_package_loads_nothing():
    heavy = "{'numpy', 'scipy', 'numba', 'click', 'rich'}"
    code = f"import isocalc, sys; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_unknown_names_are_refused():
    with pytest.raises(AttributeError, match="no attribute 'spectrums'"):
        isocalc.spectrums  # noqa: B018 - it raises


def test_every_module_that_the_readme_names_is_reached_as_an_attribute():
    """`isocalc.initialize`, and those beside it in the same list, in code and in text."""
    text = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"isocalc\.([a-z]\w+)", re.sub(r"isocalc\.(bash|fish)\b", "", text)))
    for words in re.findall(r"In\s+Python,?\s+((?:`[\w.]+`(?:, | and |,\s+|\s+and\s+)?)+)", text):
        named |= {name.removeprefix("isocalc.") for name in re.findall(r"`([\w.]+)`", words)}
    assert {"edge_targets", "initialize", "phase_diagram", "spectrum"} <= named
    for name in named:
        assert isocalc.__getattr__(name), name  # not what an import before has set


def test_modules_of_the_api_are_reached_without_being_imported():
    code = "import isocalc; print(isocalc.replicates.run is isocalc.run, isocalc.judge.judge.__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "judge"]
