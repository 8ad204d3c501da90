"""The language of expressions: what it reads, how it writes it, what it refuses and in which words."""

import subprocess
import sys
import time
from pathlib import Path

import hostile
import numpy as np
import pytest

from isocalc.activations.catalogue import activation
from isocalc.activations.expressions.build import activation_of
from isocalc.activations.expressions.language import FUNCTIONS, parse, written
from isocalc.cli.options.types import Activations
from isocalc.errors import InvalidInputError

LANGUAGE = "a known activation or an expression of x such as x*tanh(x)"
DEFINED = "defined for every x"
FINITE = "finite for every x, and its derivative too"
STEADY = "an expression that varies slowly enough to be averaged"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("x*tanh( log1p(exp(x)) )", "x*tanh(log1p(exp(x)))"),
        ("max(x,0.10*x)", "max(x, 0.1*x)"),
        ("where(x>1,1.0,x)", "where(x > 1, 1, x)"),
        ("((x))", "x"),
        ("x-(x-1)*(2)", "x - (x - 1)*2"),
        ("x-(2-(x+1))", "x - (2 - (x + 1))"),
        ("(-x)**2+-x**2*-3", "(-x)**2 + -x**2*-3"),
        ("2*x**3**2/x**8", "2*x**3**2/x**8"),
        ("(x**3)**2", "(x**3)**2"),
        ("+x", "x"),
        ("x*(x>=0)", "x*(x >= 0)"),
        ("arctan(pi*x/e)", "atan(pi*x/e)"),
        ("maximum(x, 0)", "max(x, 0)"),
        (" 1e-3*x + 1_000 ", "0.001*x + 1000"),
    ],
)
def test_how_expressions_are_written(text, name):
    assert written(parse(text)) == name
    assert parse(name) == parse(text)


def test_random_expressions_read_back_as_the_same():
    for text in hostile.texts(2000, seed=5):
        try:
            tree = parse(text)
        except Exception:  # noqa: BLE001, S112 - refused, which another test looks at
            continue
        assert parse(written(tree)) == tree


def test_powers_bind_as_in_python():
    x = np.array([-1.7, 0.4, 2.1])
    assert activation("-x**2").phi(x) == pytest.approx(-(x**2), rel=1e-15)
    assert activation("2*x**2**2 - x/2/4").phi(x) == pytest.approx(2 * x**4 - x / 8, rel=1e-14)
    assert activation("x - 1 - 2 - (3 - x)").phi(x) == pytest.approx(2 * x - 6, rel=1e-14)


@pytest.mark.process
@pytest.mark.parametrize("text", hostile.HOSTILE, ids=lambda text: ascii(text[:40]))
def test_hostile_texts_are_read_or_refused_in_one_line_and_soon(text):
    start = time.perf_counter()
    try:
        act = activation_of(text)
    except InvalidInputError as error:
        message = str(error)
    else:
        message = act.name
        assert activation(act.name) == act
    assert len(message) < 800
    assert "\n" not in message
    assert time.perf_counter() - start < 20


def test_random_texts_are_read_or_refused():
    """The same in bulk; tests/bench/fuzz_expressions.py tries 100,000."""
    rules = set()
    for text in hostile.texts(800, seed=11):
        try:
            act = activation_of(text)
        except InvalidInputError as error:
            rules.add(error.rule)
        else:
            rules.add("")
            x = np.array([-1.0, 0.0, 1.0]) if act.steep else np.array([-30.0, -1.0, 0.0, 1.0, 30.0])
            assert np.isfinite(act.phi(x)).all()
            assert np.isfinite(act.dphi(x)).all()
    assert rules >= {"", LANGUAGE, DEFINED, FINITE, STEADY}


@pytest.mark.process
def test_nothing_is_run(tmp_path):
    """With every way to run code watched: compiling to a syntax tree is all that happens."""
    program = """
import sys
sys.path.insert(0, sys.argv[1])
import hostile, isocalc, scipy.special
from isocalc.activations.expressions.build import activation_of
for text in ("unknown(x)", "x + sin(x)", "max(x, erfc(x))"):  # loads what is loaded on first use
    try: activation_of(text)
    except isocalc.InvalidInputError: pass
seen = set()
sys.addaudithook(lambda event, args: seen.add(event))
for text in hostile.HOSTILE:
    try: activation_of(text)
    except isocalc.InvalidInputError: pass
print(*sorted(seen - {"object.__getattr__"}))
"""
    command = [sys.executable, "-c", program, str(Path(__file__).parents[1])]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert set(done.stdout.split()) <= {"compile"}


@pytest.mark.parametrize(
    ("text", "rule", "advice"),
    [
        ("x.real", LANGUAGE, "It has an attribute (a name after a dot), which is not in the language."),
        ("np.tanh(x)", LANGUAGE, "Write tanh, without the name of a library."),
        ("open(x)", LANGUAGE, "The function open is not known."),
        ("tanhh(x)", LANGUAGE, "The function tanhh is not known. Did you mean tanh?"),
        ("ReLU(x) + x", LANGUAGE, "The function ReLU is not known. Did you mean relu?"),
        ("x^2", LANGUAGE, "The letter '^' is not in it. Powers are written **."),
        ("x[0]", LANGUAGE, "The letter '[' is not in it."),
        ("2*y + x", LANGUAGE, "The name y is not known; the variable is x."),
        ("2*tanh + x", LANGUAGE, "The function tanh has no argument; write tanh(x)."),
        ("tanh(x", LANGUAGE, "It does not parse: '(' was never closed."),
        ("tanh(x, 1)", LANGUAGE, "tanh takes 1 argument, not 2."),
        ("max(x)", LANGUAGE, "max takes at least 2 arguments, not 1."),
        (
            "where(x, 1, 2)",
            LANGUAGE,
            "Write where(condition, value, otherwise), with one comparison as condition.",
        ),
        (
            "0 < x < 1",
            LANGUAGE,
            "Write where(condition, value, otherwise), with one comparison as condition.",
        ),
        ("x == 1", LANGUAGE, "Of comparisons <, <=, > and >= are in the language."),
        ("x // 2", LANGUAGE, "Of operators + - * / and ** are in the language."),
        ("x**x", LANGUAGE, "A power must be a constant; write exp(y*log(x)) for x**y where x > 0."),
        ("x**1e9", LANGUAGE, "A power must be at most 50 in size."),
        ("(-" * 50 + "x" + ")" * 50, LANGUAGE, "It is nested more than 40 deep."),
        ("x+" * 300 + "x", LANGUAGE, "It is longer than 400 letters."),
        ("1e999*x", "made of finite numbers", "A constant in it is too large or not a number."),
        ("3*4", "one whose derivative is not 0 everywhere", "It is constant, or made of steps."),
        ("sign(x)", "one whose derivative is not 0 everywhere", "It is constant, or made of steps."),
        ("1/x", DEFINED, "It divides by 0 at x = 0."),
        ("1/(x**2 - 3*x + 2.25)", DEFINED, "It divides by 0 at x = 1.5."),
        ("where(x > 1, 1/(x - 1), 0)", DEFINED, "It divides by 0 at x = 1."),
        ("log(x + 3)", DEFINED, "The argument of log is less than 0 beside x = -3."),
        ("x**1.5", DEFINED, "What is raised to the power 1.5 is less than 0 beside x = 0."),
        ("log(-1 - x**2)", DEFINED, "The argument of log is less than 0 at x = 0."),
        ("sqrt(abs(x))", FINITE, "Its derivative is infinite at x = 0."),
        ("x*log(abs(x))", FINITE, "Its derivative is infinite at x = 0."),
        ("relu(x - 2)**0.9", FINITE, "Its derivative is infinite at x = 2."),
        ("log(abs(x))", FINITE, "It is infinite at x = 0."),
        ("x*tan(x)", DEFINED, "tan is infinite at x = -1.571."),
        (
            "x**3*exp(x)/(1 + exp(x))",
            FINITE,
            "It cannot be computed from x = 690.2 on, where a part of it overflows.",
        ),
        ("sin(exp(x))", FINITE, "The expression is not finite at x = 709.8."),
        ("x + 1e300", LANGUAGE, "A number in it is above 1e+50."),
        ("abs(sin(x))", "made of at most 40 pieces", "It has more kinks."),
    ],
)
def test_what_is_refused_and_how(text, rule, advice):
    with pytest.raises(InvalidInputError) as refusal:
        activation(text)
    shown = repr(text)
    if len(shown) > 200:
        shown = f"{shown[:100]} ... ({len(shown)} characters) ... {shown[-50:]}"
    assert str(refusal.value) == f"activation must be {rule}, got {shown}. {advice}"


def test_inactive_branches_need_not_be_defined():
    x = np.array([-800.0, -0.5, 0.5, 800.0])
    assert activation("where(x > 0, log1p(x), x)").phi(x) == pytest.approx(
        np.where(x > 0, np.log1p(np.abs(x)), x)
    )
    assert activation("(x > 0)*x + (x <= 0)*(exp(x) - 1)").phi(x) == pytest.approx(
        np.where(x > 0, x, np.expm1(np.minimum(x, 0)))
    )


@pytest.mark.parametrize("name", ["relu", "abs", "tanh", "erf", "gelu", "leaky_relu:0.2"])
def test_names_win_over_expressions(name):
    assert activation(name).reference


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("leaky-relu", "Did you mean leaky_relu?"),
        ("nn.ReLU", "Did you mean relu?"),
        ("tanhh", "Did you mean tanh?"),
        ("hard tanh", "Did you mean hardtanh?"),
    ],
)
def test_misspelt_names_are_told_from_expressions(text, advice):
    with pytest.raises(InvalidInputError) as refusal:
        activation(text)
    assert str(refusal.value) == f"activation must be a known activation, got {text!r}. {advice}"


def test_lists_may_hold_expressions():
    parts = Activations().convert("relu,max(x, 0.1*x),where(x>1,1,x),leaky_relu:0.2", None, None)
    assert parts == ("relu", "max(x, 0.1*x)", "where(x>1,1,x)", "leaky_relu:0.2")
    assert Activations().convert(activation("max(x, 0.1*x)").name, None, None) == ("max(x, 0.1*x)",)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_of_the_language_is_documented(name):
    from isocalc.cli.commands.acts import command  # noqa: PLC0415 - one of its kind

    assert name in command.epilog.replace(",", " ").replace("(", " ").split()
