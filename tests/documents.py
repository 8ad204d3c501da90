"""Documents whose examples are real, the README and the guide: how to find the examples and run them.

``python tests/documents.py`` writes what the examples print today into all of them, ``python
tests/documents.py FILE...`` into some; ``git diff`` then shows what has changed by more than rounding.
"""

import doctest
import math
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
GUIDE = ROOT / "isocalc" / "guide"
DOCUMENTS = (README, *sorted(GUIDE.glob("*.md")))
BLOCK = re.compile(r"```(console|python)\n(.*?)```", re.DOTALL)
# A Python block that begins so is a file beside which the console examples of its document run.
FILE = re.compile(r"# (\w+\.py)\n")

NUMBER = re.compile(r"[-+]?\d+\.?\d*(?:e[-+]?\d+)?")
# Simulations round differently from one BLAS to another; the rest is the same to a few units of rounding.
TOLERANCE = 1e-6


def words(text: str) -> list[list[str]]:
    """Return the words of each line, numbers and lengths of rules aside."""
    return [NUMBER.sub("#", re.sub("─+", "─", line)).split() for line in text.splitlines()]


def numbers(text: str) -> list[float]:
    """Return the numbers in a text."""
    return [float(number) for number in NUMBER.findall(text)]


def is_same(shown: str, printed: str) -> bool:
    """Compare word for word, numbers as numbers; how wide a column is hangs on the digits of its numbers."""
    return words(shown) == words(printed) and all(
        math.isclose(one, other, rel_tol=TOLERANCE, abs_tol=1e-9)
        for one, other in zip(numbers(shown), numbers(printed), strict=True)
    )


def blocks(text: str, language: str) -> list[str]:
    """Return the bodies of a document's blocks of "console" or "python"."""
    return [body for name, body in BLOCK.findall(text) if name == language]


def examples(block: str) -> list[tuple[str, str]]:
    """Split a console block into commands and what they print."""
    parts = re.split(r"^\$ (.*)\n", block, flags=re.MULTILINE)
    return list(zip(parts[1::2], parts[2::2], strict=True))


def is_runnable(block: str) -> bool:
    """Whether what a console block needs is installed: PyTorch is an extra."""
    return "isocalc measure" not in block or find_spec("torch") is not None


def files(block: str, text: str) -> dict[str, str]:
    """Return the files that a console block of a document names without their endings, by their names."""
    named = {match[1]: python for python in blocks(text, "python") if (match := FILE.match(python))}
    return {name: python for name, python in named.items() if name.removesuffix(".py") in block}


def outputs(block: str, text: str, folder: Path) -> Iterator[tuple[str, str, str]]:
    """Run a console block of a document in a folder; yield commands, what is shown and what they print."""
    for name, python in files(block, text).items():
        (folder / name).write_text(python, encoding="utf-8")
    for command, shown in examples(block):
        yield command, shown, _run(command, folder)


def _run(command: str, folder: Path) -> str:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=os.environ | {"PATH": path, "COLUMNS": "110"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    return done.stdout


def python_examples(text: str, name: str) -> Iterator[tuple[str, doctest.DocTest]]:
    """Yield the Python blocks of a document as they are and as tests, to be run in one namespace.

    Run them with ``clear_globs=False``.
    """
    names: dict[str, object] = {}
    for block in blocks(text, "python"):
        test = doctest.DocTestParser().get_doctest(block, {}, name, None, 0)
        test.globs = names
        yield block, test


class _Renewal(doctest.OutputChecker):
    """Keeps what examples in Python print where it is not what is shown."""

    def __init__(self) -> None:
        self.changes: list[tuple[str, str]] = []

    def check_output(self, want: str, got: str, optionflags: int) -> bool:
        if not super().check_output(want, got, optionflags):
            self.changes.append((want, got))
        return True


def _renewed_console(block: str, text: str) -> str:
    if not is_runnable(block):
        return block
    with tempfile.TemporaryDirectory() as folder:
        return "".join(
            f"$ {command}\n{_renewed(shown, printed)}"
            for command, shown, printed in outputs(block, text, Path(folder))
        )


def _renewed(shown: str, printed: str) -> str:
    """Return what is printed, in lines that are shown already as they are shown."""
    if is_same(shown, printed):
        return shown
    old = [line for line in shown.splitlines(keepends=True) if "," in line]
    return "".join(
        next((line for line in old if is_same(line, fresh)), fresh)
        for fresh in printed.splitlines(keepends=True)
    )


def _renewed_python(block: str, test: doctest.DocTest) -> str:
    renewal = _Renewal()
    doctest.DocTestRunner(checker=renewal, verbose=False).run(test, clear_globs=False)
    for want, got in renewal.changes:
        block = block.replace(want, got, 1)
    return block


def renew(document: Path) -> None:
    """Write what the examples of a document print into it."""
    text = document.read_text(encoding="utf-8")
    python = python_examples(text, document.stem)

    def fresh(match: re.Match[str]) -> str:
        language, block = match.groups()
        body = _renewed_console(block, text) if language == "console" else _renewed_python(*next(python))
        return f"```{language}\n{body}```"

    document.write_text(BLOCK.sub(fresh, text), encoding="utf-8")


if __name__ == "__main__":
    for chosen in [Path(name) for name in sys.argv[1:]] or DOCUMENTS:
        renew(chosen)
