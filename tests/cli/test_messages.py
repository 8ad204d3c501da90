"""Messages: the library knows no options, the command line says everything in their words."""

import ast
import pickle
import re
from pathlib import Path
from typing import get_args

import click
import pytest
from running import call

import isocalc as package
from isocalc.cli.group import COMMANDS, isocalc
from isocalc.cli.messages import ADVICE, SEE_ALL, advised, option_of, told
from isocalc.errors import InvalidInputError, NextStep, NoAnswerError

ROOT = Path(package.__path__[0])
LIBRARY = [path for path in ROOT.rglob("*.py") if "cli" not in path.relative_to(ROOT).parts]
OPTION = re.compile(rf"--[a-z]|(?<!\S)-o FILE|\bisocalc (?:{'|'.join(COMMANDS)})\b")


def texts(source):
    """Yield the line and the whole text of each literal of a module, pieces of f-strings joined."""
    inner = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.JoinedStr):
            parts = [part for part in node.values if isinstance(part, ast.Constant)]
            inner.update(map(id, parts))
            yield node.lineno, "{}".join(part.value for part in parts)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inner:
            yield node.lineno, node.value


def test_no_text_of_the_library_names_an_option_or_a_command():
    assert len(LIBRARY) > 50
    found = [
        (path.relative_to(ROOT).as_posix(), line, text)
        for path in LIBRARY
        for line, text in texts(path.read_text(encoding="utf-8"))
        if OPTION.search(text)
    ]
    assert found == []


@pytest.mark.parametrize(
    "source",
    [
        'raise NoAnswerError("ask for other values with --at")',
        'raise NoAnswerError(\n    f"{what} is not known: "\n    "simulate with isocalc mc"\n)',
        "'''A docstring.\n\n    What --law takes.\n'''",
        'advice = "give -o FILE"',
    ],
)
def test_such_texts_are_found_wherever_they_stand(source):
    assert any(OPTION.search(text) for _, text in texts(source))


def test_every_next_step_has_advice_that_names_what_exists():
    assert set(ADVICE) == set(get_args(NextStep))
    ctx = click.Context(isocalc)
    options = {
        option
        for name in COMMANDS
        for param in isocalc.get_command(ctx, name).params
        for option in param.opts
    } | {"--help"}
    named = re.findall(r"--[a-z-]+", " ".join((*ADVICE.values(), SEE_ALL)))
    assert len(named) > 8
    assert set(named) <= options


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (NoAnswerError("it is so"), "it is so"),
        (
            NoAnswerError("it is so", ("ask for other values", "simulate")),
            "it is so; ask for other values with --at, or simulate with isocalc mc",
        ),
        (InvalidInputError("sigma_w", "greater than 0", -1), "--sigma-w must be greater than 0, got -1"),
        (
            InvalidInputError("activation", "known", "x", "", ("list the activations",)),
            "--act must be known, got 'x'. 'isocalc acts' lists them.",
        ),
        (
            InvalidInputError("target", "a module", 1, "Wrap it.", ("measure a part",)),
            "TARGET must be a module, got 1. Wrap it. --module measures a part of it alone.",
        ),
    ],
)
def test_errors_in_the_words_of_the_command_line(error, message):
    assert told(error) == message
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - as workers send it
    assert (type(again), str(again), told(again)) == (type(error), str(error), message)
    assert not OPTION.search(str(error))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("param", "--act", "xyzzy"),
            "--act must be a known activation, got 'xyzzy'. 'isocalc acts' lists them.",
        ),
        (
            ("param", "--act", "open(x)"),
            "The function open is not known. 'isocalc acts --help' has the language.",
        ),
        (("param", "--act", "x[0]"), "The letter '[' is not in it. 'isocalc acts --help' has the language."),
    ],
)
def test_advice_reaches_the_reader(arguments, message):
    done = call(*arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.endswith(f"{message}\n")


def test_the_status_of_a_row_advises_too():
    done = call(
        "density", "--arch", "feedforward", "--act", "squared_relu", "--sigma-w", "1.5,1.6", "--sigma-b", 1
    )
    advice = "; give --input-variance, the mean square of the input's entries"
    assert done.exit_code == 1
    assert [line.endswith(f'{advice}"') for line in done.stdout.splitlines()[1:]] == [True, True]
    assert [line.endswith(advice) for line in done.stderr.splitlines()[:2]] == [True, True]


def test_the_python_name_of_every_option_leads_back_to_it():
    """So that any error about an argument of a command names its option."""
    ctx = click.Context(isocalc)
    for name in COMMANDS:
        for param in isocalc.get_command(ctx, name).params:
            shown = param.opts[-1] if isinstance(param, click.Option) else param.name.upper()
            assert option_of(param.name) == shown


def test_advice_is_the_end_of_a_sentence():
    assert advised("no law is known", ()) == "no law is known"
    assert advised("no law is known", ("simulate",)) == "no law is known; simulate with isocalc mc"
