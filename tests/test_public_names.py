"""The lazy public names of the package."""

import pkgutil
import subprocess
import sys

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


def test_modules_of_the_api_are_reached_without_being_imported():
    code = "import isocalc; print(isocalc.replicates.run is isocalc.run, isocalc.judge.judge.__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "judge"]
