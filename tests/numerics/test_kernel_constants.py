"""Numba's cache notices a change of a kernel's own file only: what it compiles in has to be written there."""

import ast
from pathlib import Path

import pytest

import isocalc

ROOT = Path(isocalc.__file__).parent
OF_KERNELS = {
    path.relative_to(ROOT).as_posix(): ast.parse(path.read_text(encoding="utf-8"))
    for path in sorted(ROOT.rglob("*.py"))
    if "numerics.jit import" in path.read_text(encoding="utf-8")
}


def test_there_are_kernels():
    assert "numerics/kernels.py" in OF_KERNELS


@pytest.mark.parametrize("name", OF_KERNELS)
def test_numbers_that_kernels_compile_in_are_of_their_file(name):
    """No kernel reads a name in capitals that its file imports from another of isocalc's."""
    tree = OF_KERNELS[name]
    imported = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("isocalc")
        for alias in node.names
        if alias.name.isupper()
    }
    kernels = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and any("kernel" in ast.unparse(d) for d in node.decorator_list)
    ]
    assert kernels
    read = {node.id for each in kernels for node in ast.walk(each) if isinstance(node, ast.Name)}
    assert not read & imported
