"""Activations that are Python functions of the user's own: what works, what is refused, what runs where."""

import csv
import io
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest

import isocalc
from isocalc.activations.own import own_activation

MODULE = """
import numpy as np

def phi(x):
    return x * np.tanh(x)

def dphi(x):
    e = np.exp(-2 * np.where(x.real < 0, -x, x))
    return np.tanh(x) + 4 * x * e / (1 + e) ** 2

def odd(x):
    return x + np.tanh(x)

def kinked(x):
    return np.where(x.real > 0.5, x, 0.1 * x + 0.45)

kinked.breakpoints = (0.5,)

def stepped(x):
    return np.where(x.real > 0, x + 1, 0.1 * x)

stepped.jumps = (0.0,)

def real(x):
    return np.maximum(x, -1.0).astype(float)

def dreal(x):
    return (x > -1.0) * 1.0

real.breakpoints = (-1.0,)

def raises(x):
    raise KeyError("no such key")

def leaves(x):
    raise SystemExit(3)

def grows(x):
    return np.exp(x)

def one(x):
    return 1.0

def words(x):
    return np.full(x.shape, "a")

def modulus(x):
    return np.abs(x)

def sharp(x):
    return np.tanh(1e4 * (x - 3))

def unmarked(x):
    return np.where(x.real > 2.2, x, 2.2)

number = 3
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "my_module.py").write_text(MODULE, encoding="utf-8")
    (tmp_path / "broken.py").write_text("1 / 0\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path
    for name in ("my_module", "broken"):
        sys.modules.pop(name, None)


def run(*arguments, folder):
    return subprocess.run(
        [sys.executable, "-m", "isocalc", *arguments], cwd=folder, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("spec", "expression"),
    [
        ("my_module:phi", "x*tanh(x)"),
        ("my_module:phi,dphi", "x*tanh(x)"),
        ("my_module:kinked", "where(x > 0.5, x, 0.1*x + 0.45)"),
        ("my_module:stepped", "where(x > 0, x + 1, 0.1*x)"),
        ("my_module:real,dreal", "max(x, -1)"),
    ],
)
def test_results_are_those_of_the_expression(spec, expression, folder):
    del folder
    act = own_activation(spec)
    for block in ("post", "pre"):
        ours, theirs = (isocalc.propagate(isocalc.ResNet(a, depth=6, block=block)) for a in (act, expression))
        assert ours.c == pytest.approx(theirs.c, rel=1e-10)
    network = {"sigma_w": 0.8, "sigma_b": 0.3}
    ours, theirs = (isocalc.fixed_points(isocalc.FeedForward(a, **network)) for a in (act, expression))
    assert [p.q_star for p in ours] == pytest.approx([p.q_star for p in theirs], rel=1e-10)
    assert [p.chi for p in ours] == pytest.approx([p.chi for p in theirs], rel=1e-10)


def test_a_derivative_that_takes_complex_arrays_gives_laws_at_finite_depth(folder):
    del folder
    s = np.array([0.5, 1.0, 2.0])
    ours, theirs = (
        isocalc.spectrum(isocalc.ResNet(act, depth=6), law="layered").cdf(s)
        for act in (own_activation("my_module:phi,dphi"), "x*tanh(x)")
    )
    assert ours == pytest.approx(theirs, rel=1e-10)
    with pytest.raises(
        isocalc.NoAnswerError, match="needs a derivative, module:function,derivative, that takes"
    ):
        isocalc.spectrum(isocalc.ResNet(own_activation("my_module:phi"), depth=6), law="layered")


@pytest.mark.parametrize(
    ("derivative", "same"),
    [
        ("1 / np.cosh(x) ** 2", "tanh"),
        ("1 / (1 + np.exp(-x)) * (1 + x * (1 - 1 / (1 + np.exp(-x))))", "silu"),
    ],
)
def test_plain_derivatives_turn_where_they_underflow_or_round(folder, derivative, same):
    phi = {"tanh": "np.tanh(x)", "silu": "x / (1 + np.exp(-x))"}[same]
    body = f"def phi(x):\n    return {phi}\ndef dphi(x):\n    return {derivative}\n"
    (folder / f"plain_{same}.py").write_text(f"import numpy as np\n{body}")
    s = np.array([0.5, 1.0, 2.0])
    for net in ({"depth": 6}, {"depth": 3, "block": "pre"}):
        own, known = (
            isocalc.spectrum(isocalc.ResNet(act, **net), law="layered").cdf(s)
            for act in (own_activation(f"plain_{same}:phi,dphi"), same)
        )
        assert own == pytest.approx(known, rel=1e-9)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("os", "An example: my_module:phi,dphi."),
        ("my module:phi", "An example: my_module:phi,dphi."),
        ("my_module:phi,dphi,phi", "An example: my_module:phi,dphi."),
        ("my_module:(lambda x: x)", "An example: my_module:phi,dphi."),
        ("not_there:phi", "ModuleNotFoundError: No module named 'not_there'."),
        ("broken:phi", "ZeroDivisionError: division by zero."),
        ("my_module:nothing", "AttributeError: module 'my_module' has no attribute 'nothing'."),
        ("my_module:number", "number is no function."),
        ("my_module:raises", "my_module:raises failed: KeyError: 'no such key'."),
        ("my_module:leaves", "my_module:leaves failed: SystemExit: 3."),
        ("my_module:one", "my_module:one returned shape () and type float64"),
        ("my_module:words", "returned shape (880,) and type <U1"),
        ("my_module:grows", "The function or derivative is not finite at x = "),
        ("my_module:phi,kinked", "Its derivative is "),
        ("my_module:modulus", "Its complex step (give a derivative instead) is 0 at x = "),
        ("my_module:sharp", "Name its kinks: sharp.breakpoints = (0.0, 1.0)."),
        ("my_module:unmarked", "Name its kinks: unmarked.breakpoints = (0.0, 1.0)."),
    ],
)
def test_what_is_refused_and_how(spec, words, folder):
    del folder
    with pytest.raises(isocalc.InvalidInputError) as refusal:
        own_activation(spec)
    assert refusal.value.parameter == "act_from"
    assert words in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_they_pickle_by_what_they_were_loaded_from(folder):
    act = own_activation("my_module:phi")
    again = pickle.loads(pickle.dumps(act))  # noqa: S301 - our own
    assert again == act
    before = act.identity
    assert again.identity == before
    (folder / "my_module.py").write_text(
        MODULE.replace("x * np.tanh(x)", "1.5 * x * np.tanh(x)"), encoding="utf-8"
    )
    del sys.modules["my_module"]
    assert own_activation("my_module:phi").identity != before


@pytest.mark.process
def test_the_option(folder):
    done = run("param", "--act-from", "my_module:odd", "--depth", "10,20", folder=folder)
    # Laws at these depths want a derivative; all else does not.
    assert done.returncode == 1
    assert "s_max, condition_number are not known: the gates of my_module:odd" in done.stderr
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [row["activation"] for row in rows] == ["my_module:odd"] * 2
    of_file = run(
        "param", "--act-from", folder / "my_module.py:odd", "--depth", "10,20", folder=folder.parent
    )
    assert [row["c"] for row in csv.DictReader(io.StringIO(of_file.stdout))] == [row["c"] for row in rows]
    by_expression = run("param", "--act", "x+tanh(x)", "--depth", "10,20", folder=folder)
    for ours, theirs in zip(rows, csv.DictReader(io.StringIO(by_expression.stdout)), strict=True):
        assert float(ours["c"]) == pytest.approx(float(theirs["c"]), rel=1e-12)
    for arguments, words in (
        (("--act-from", "my_module:phi", "--act", "relu"), "--act cannot be given with --act-from"),
        (("--act-from", "my_module:nothing"), "--act-from must be module:function or"),
        (("--act-from", "my_module:raises"), "failed: KeyError: 'no such key'."),
        (("--act", "my_module:phi"), "--act must be a known activation, got 'my_module:phi'"),
    ):
        done = run("param", *arguments, folder=folder)
        assert (done.returncode, done.stdout) == (2, "")
        assert words in done.stderr
        assert done.stderr.count("\n") == 1


@pytest.mark.process
def test_workers_and_checkpoints(folder):
    """Workers load the module themselves; a checkpoint knows when the function has changed."""
    base = [
        "mc",
        "--act-from",
        "my_module:phi,dphi",
        "--depth",
        "4",
        "--width",
        "30",
        "--trials",
        "4",
        "--seed",
        "1",
    ]
    alone = run(*base, folder=folder)
    assert alone.returncode == 0, alone.stderr
    kept = run(*base, "--workers", "2", "--checkpoint", "kept", folder=folder)
    assert kept.stdout == alone.stdout
    module = MODULE.replace("x * np.tanh(x)", "(x + 0) * np.tanh(x) * 1.001").replace(
        "np.tanh(x) + 4", "1.001 * np.tanh(x) + 1.001 * 4"
    )
    (folder / "my_module.py").write_text(module, encoding="utf-8")
    os.utime(folder / "my_module.py", (1, 1))
    changed = run(*base, "--checkpoint", "kept", folder=folder)
    assert changed.returncode == 2
    assert "In it, activation is my_module:phi,dphi" in changed.stderr


@pytest.mark.process
def test_expressions_on_the_command_line(tmp_path):
    done = run("param", "--act", "relu,max(x, 0.1*x),where(x>1,1,x)", "--depth", "10", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    names = [row["activation"] for row in csv.DictReader(io.StringIO(done.stdout))]
    assert names == ["relu", "max(x, 0.1*x)", "where(x > 1, 1, x)"]
    done = run("density", "--act", "1/x", folder=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == ("Error: --act must be defined for every x, got '1/x'. It divides by 0 at x = 0.\n")
