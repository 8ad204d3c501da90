"""The README and the guide cannot lie: their examples are run, and every command is shown."""

import ast
import doctest
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from documents import (
    DOCUMENTS,
    GUIDE,
    README,
    ROOT,
    blocks,
    examples,
    files,
    is_runnable,
    is_same,
    outputs,
    python_examples,
    renew,
    words,
)
from running import on_terminal, refusal, shell, table

import isocalc
from isocalc.cli.commands.guide import TOPICS
from isocalc.cli.group import isocalc as commands

PACKAGE = ROOT / "isocalc"
TEXTS = {document: document.read_text(encoding="utf-8") for document in DOCUMENTS}
LONGEST_README = 250
EQUATION = re.compile(r" \((\d+)\)$", re.MULTILINE)
CITATION = re.compile(r"[Tt]heory((?:(?:,| to| and)? \(\d+\))+)")


def assert_same(shown: str, printed: str) -> None:
    assert words(shown) == words(printed)
    assert is_same(shown, printed), printed


def named(value) -> str:
    return value.stem if isinstance(value, Path) else examples(value)[0][0][:60]


def distinct_blocks() -> list[tuple[Path, str]]:
    """Return the console blocks of all documents, what two of them show alike once."""
    found: dict[tuple[str, ...], tuple[Path, str]] = {}
    for document, text in TEXTS.items():
        for block in blocks(text, "console"):
            found.setdefault((block, *files(block, text).values()), (document, block))
    return [*found.values()]


@pytest.mark.process
@pytest.mark.parametrize(("document", "block"), distinct_blocks(), ids=named)
def test_console_examples(document, block, tmp_path):
    if not is_runnable(block):
        pytest.skip("PyTorch is an extra")
    for _, shown, printed in outputs(block, TEXTS[document], tmp_path):
        assert_same(shown, printed)


@pytest.mark.parametrize("document", [path for path in DOCUMENTS if ">>> " in TEXTS[path]], ids=named)
def test_python_examples(document):
    for _, test in python_examples(TEXTS[document], document.stem):
        assert doctest.DocTestRunner(verbose=False).run(test, clear_globs=False).failed == 0


@pytest.mark.process
def test_renewal_writes_what_is_printed_and_nothing_else(tmp_path):
    document = tmp_path / "document.md"
    text = "Words.\n\n```console\n$ echo 1 && echo 2\n{}$ cat b.py\n{}```\n\n```python\n# b.py\n```\n"
    text += "\n```python\n>>> 1 + 1\n{}\n>>> [0]\n[0]\n```\n"
    document.write_text(text.format("", "old\n", 3))
    renew(document)
    assert document.read_text() == text.format("1\n2\n", "# b.py\n", 2)


@pytest.mark.process
@pytest.mark.skipif(sys.platform == "win32", reason="a POSIX shell")
def test_completions_install_in_a_fresh_home(tmp_path):
    (commands,) = re.findall(
        r"^## Manual pages .*?```sh\n(.*?)```", TEXTS[GUIDE / "output.md"], re.DOTALL | re.MULTILINE
    )
    done = subprocess.run(
        ["bash", "-ec", commands], cwd=ROOT, env=os.environ | {"HOME": str(tmp_path)}, check=False
    )
    assert done.returncode == 0
    installed = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert installed == {"isocalc", "_isocalc", "isocalc.fish"}


def test_every_command_is_shown():
    shown = " ".join(
        command
        for text in TEXTS.values()
        for block in blocks(text, "console")
        for command, _ in examples(block)
    )
    for name in commands.list_commands(None):
        assert f"isocalc {name}" in shown


def test_the_readme_is_short():
    assert len(TEXTS[README].splitlines()) <= LONGEST_README


def test_topics_are_the_files():
    assert sorted(TOPICS) == sorted(path.stem for path in GUIDE.iterdir())
    for topic in TOPICS:
        assert f"`{topic}`" in TEXTS[README], f"README does not say where to read {topic}"


def test_the_rooms_that_contributors_are_shown_exist():
    text = TEXTS[GUIDE / "contributing.md"]
    names = re.findall(r"`([a-z_]+/[a-z_/.]*)`", text)
    assert names
    for name in names:
        places = [ROOT / name, ROOT / "isocalc" / name, ROOT / "isocalc" / f"{name}.py"]
        assert any(place.exists() for place in places), name
    dotted = re.findall(r"`([a-z_]+\.[\w.]+)`", text)
    assert [name for name in dotted if not in_room(name, PACKAGE) and not (ROOT / name).exists()] == []


def in_room(name: str, room: Path) -> bool:
    """Whether a dotted name is a module in a room, or defined in one."""
    first, _, rest = name.partition(".")
    if (room / first).is_dir():
        return not rest or in_room(rest, room / first)
    file = room / f"{first}.py"
    return file.is_file() and (not rest or rest in defined(file))


def defined(file: Path) -> set[str]:
    """Return the names of functions, classes and variables in a module, and of what it imports and uses."""
    nodes = [*ast.walk(ast.parse(file.read_text(encoding="utf-8")))]
    return {getattr(node, field, None) for node in nodes for field in ("id", "name", "attr", "arg")}


def mentioned(text: str) -> list[str]:
    """Return the names between single backticks."""
    return re.findall(r"(?<![`:])`([A-Za-z_][\w.]*)`(?!`)", text)


@pytest.mark.parametrize("file", sorted(PACKAGE.rglob("__init__.py")), ids=lambda file: file.parent.name)
def test_a_room_names_the_modules_it_has(file):
    docstring = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))
    assert docstring
    names = [name.removeprefix("isocalc.") for name in mentioned(docstring)]
    assert [name for name in names if not in_room(name, file.parent) and not in_room(name, PACKAGE)] == []


def test_names_in_docstrings_are_of_modules_or_of_code():
    files = sorted(PACKAGE.rglob("*.py"))
    modules = {file.stem for file in files} | {file.parent.name for file in files} | set(dir(isocalc))
    unknown = []
    for file in files:
        names = defined(file) | modules
        unknown += [
            f"{file.relative_to(PACKAGE)}: {name}"
            for docstring in docstrings_of(file)
            for name in mentioned(docstring)
            if name.split(".")[0] not in names and not in_room(name, file.parent)
        ]
    assert unknown == []


@pytest.mark.process
@pytest.mark.parametrize("topic", TOPICS)
def test_guide_prints_the_topic(topic):
    done = shell(f"isocalc guide {topic}")
    assert (done.stdout, done.stderr, done.returncode) == (TEXTS[GUIDE / f"{topic}.md"], "", 0)


@pytest.mark.process
def test_guide_without_a_topic_lists_them():
    done = shell("isocalc guide")
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert [line.split(maxsplit=1) for line in done.stdout.splitlines()[2:]] == [
        list(item) for item in TOPICS.items()
    ]


def test_guide_refuses_an_unknown_topic():
    assert refusal("guide", "glosary").endswith("got 'glosary'. Did you mean glossary?\n")


@pytest.mark.process
@pytest.mark.skipif(sys.platform == "win32", reason="a POSIX terminal")
def test_a_terminal_gets_the_guide_laid_out():
    text, code = on_terminal(
        "guide", "glossary", environment=os.environ | {"COLUMNS": "80", "TERM": "xterm", "NO_COLOR": "1"}
    )
    assert code == 0
    assert "**" not in text
    assert max(map(len, re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines())) <= 80


TABLES = (
    "acts",
    "density --c 1 --summary",
    "density --c 1 --at 1",
    "density --c 1 --at 1 --variable lambda",
    "density --c 1 --at 1 --variable log",
    "density --arch feedforward --act linear --depth 1 --summary",
    "init --act linear --depth 2 --schemes",
    "init --act relu --block preln --target-c 0.1",
    "init --act tanh --critical --sigma-b 0.1",
    "init --act relu --gain",
    "mc --act linear --depth 1 --width 10,20 --trials 6 --seed 1",
    "mc --act linear --depth 1 --width 10 --trials 2 --seed 1 --spectrum",
    "mc --act linear --depth 1 --width 10 --trials 2 --seed 1 --test freeness",
    "param --act relu",
    "param --act relu --depth 2 --layers",
    "param --arch feedforward --act tanh --depth 3",
    "param --arch feedforward --act tanh --input-variance 1 --depth 2 --layers",
)


@pytest.mark.parametrize("command", TABLES)
def test_the_glossary_has_every_column_and_statistic(command):
    explained = set(re.findall(r"`(\w+)`", TEXTS[GUIDE / "glossary.md"]))
    rows = table(*command.split())
    statistics = {row["statistic"] for row in rows if "statistic" in row}
    quantiles = {name for name in statistics if name.startswith("log_s_q")}
    assert {*rows[0], *statistics} - quantiles <= explained


def displayed() -> list[str]:
    """Return the lines of theory that are set apart, equations nearly all."""
    return "".join(re.findall(r"```text\n(.*?)```", TEXTS[GUIDE / "theory.md"], re.DOTALL)).splitlines()


def equations() -> list[str]:
    return EQUATION.findall("\n".join(displayed()))


def test_equations_are_numbered_in_order():
    assert equations() == [str(number) for number in range(1, len(equations()) + 1)]


def test_a_terminal_of_80_columns_holds_every_equation():
    assert max(map(len, displayed())) <= 76


def docstrings_of(file: Path) -> list[str]:
    """Return the docstrings of a module and of what it defines."""
    nodes = ast.walk(ast.parse(file.read_text(encoding="utf-8")))
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    return [ast.get_docstring(node) or "" for node in nodes if isinstance(node, documented)]


def test_cited_equations_exist():
    files = sorted(PACKAGE.rglob("*.py"))
    texts = [(file.name, docstring) for file in files for docstring in docstrings_of(file)]
    cited = [(name, number) for name, text in texts for number in _numbers(text)]
    cited += [(path.name, number) for path, text in TEXTS.items() for number in _numbers(text)]
    assert cited
    assert not [(name, number) for name, number in cited if number not in equations()]


def _numbers(text: str) -> list[str]:
    return [
        number
        for citation in CITATION.findall(" ".join(text.split()))
        for number in re.findall(r"\d+", citation)
    ]


def test_comparison_sees_a_wrong_digit_and_a_wrong_word():
    with pytest.raises(AssertionError):
        assert_same("c 0.5001", "c 0.5")
    with pytest.raises(AssertionError):
        assert_same("ordered 1", "chaotic 1")
