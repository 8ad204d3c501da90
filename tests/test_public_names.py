"""The lazy public names of the package."""

import pkgutil
import re
import subprocess
import sys

import pytest
from documents import DOCUMENTS

import isocalc


def test_every_public_name_loads():
    assert {name: getattr(isocalc, name) for name in isocalc.__all__}
    assert set(isocalc.__all__) <= set(dir(isocalc))


def test_no_submodule_hides_a_public_name():
    """Importing a submodule sets an attribute of the package: a function of that name would be gone."""
    submodules = {module.name for module in pkgutil.iter_modules(isocalc.__path__)}
    assert not submodules & set(isocalc.__all__)


@pytest.mark.process
def test_importing_the_package_loads_nothing():
    heavy = "{'numpy', 'scipy', 'numba', 'click', 'rich'}"
    code = f"import isocalc, sys; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_unknown_names_are_refused():
    with pytest.raises(AttributeError, match="no attribute 'spectrums'"):
        isocalc.spectrums  # noqa: B018 - it raises


def test_every_name_in_the_documents_is_reached_as_an_attribute():
    """`isocalc.initialize`, those beside it in a list, in code and text; the changes tell what was."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in DOCUMENTS if path.stem != "changes")
    text = re.sub(r"```sh\n.*?```", "", text, flags=re.DOTALL)
    named = set(re.findall(r"\bisocalc\.([a-z]\w+)", text))
    for words in re.findall(r"`isocalc\.\w+`((?:(?:, | and |,\s+|\s+and\s+)`[\w.]+`)+)", text):
        named |= {name.removeprefix("isocalc.") for name in re.findall(r"`([\w.]+)`", words)}
    assert {"gains", "initialize", "phase_diagram", "spectrum"} <= named
    for name in named:
        assert isocalc.__getattr__(name), name  # not what an import before has set


@pytest.mark.process
def test_modules_of_the_api_are_reached_without_being_imported():
    code = "import isocalc; print(isocalc.replicates.run is isocalc.run, isocalc.judge.judge.__name__)"
    code += "; print(isocalc.edge_targets.__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "judge", "isocalc.design.initialize"]
