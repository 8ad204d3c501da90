import ast
from collections import Counter
from pathlib import Path
from typing import get_args

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

import isocalc
from isocalc.cli.numbers import Typed
from isocalc.cli.options.network import NETWORK_OPTIONS
from isocalc.cli.options.types import Activations, Numbers, OneOf, Whole, split_outside_parentheses
from isocalc.cli.sweep import Sweep, run
from isocalc.errors import InvalidInputError, NoAnswerError
from isocalc.networks.branches import Block
from isocalc.networks.descriptions import WEIGHTS


def parsed(text, kind):
    return kind.convert(text, click.Option(["--sigma-w"]), None)


def test_ranges_are_those_of_the_decimals():
    # numpy.linspace(0.1, 0.5, 5)[2] is 0.30000000000000004.
    assert parsed("0.1:0.5:5", Numbers()) == (0.1, 0.2, 0.3, 0.4, 0.5)
    assert parsed("-1:1:3", Numbers()) == (-1.0, 0.0, 1.0)
    assert parsed("1e-300:3e-300:3", Numbers()) == (1e-300, 2e-300, 3e-300)


def test_lists_keep_their_order_and_may_hold_ranges():
    assert parsed("3, 1,2,1", Numbers()) == (3.0, 1.0, 2.0, 1.0)
    assert parsed("5,1:2:2", Numbers()) == (5.0, 1.0, 2.0)


def test_whole_numbers():
    values = parsed("10,1e3,1:9:3", Numbers(whole=True))
    assert values == (10, 1000, 1, 5, 9)
    assert {type(value) for value in values} == {int}
    assert parsed("17", Whole(1, 20)) == 17
    assert parsed("1e1", Whole(1, 20)) == 10
    assert parsed("9223372036854775807", Whole(0, 2**63)) == 2**63 - 1
    for text in ("0", "21", "1.5", "1e300", "nan", "inf", "x", ""):
        with pytest.raises(InvalidInputError, match="sigma_w must be a whole number from 1 to 20"):
            parsed(text, Whole(1, 20))


@given(st.floats(-1e300, 1e300), st.floats(-1e300, 1e300), st.integers(2, 50))
def test_ranges_include_both_ends(start, stop, count):
    text = f"{start!r}:{stop!r}:{count}"
    if start >= stop:
        with pytest.raises(InvalidInputError, match="start < stop"):
            parsed(text, Numbers())
    else:
        values = parsed(text, Numbers())
        assert len(values) == count
        assert (values[0], values[-1]) == (start, stop)
        assert list(values) == sorted(values)


@given(st.text(max_size=20))
def test_any_text_is_parsed_or_refused(text):
    for kind in (Numbers(), Numbers(whole=True), Whole(0, 9), OneOf(["a", "b"])):
        try:
            parsed(text, kind)
        except InvalidInputError as error:
            assert error.value in (text, *(item.strip() for item in text.split(",")))  # noqa: PT017 - may not raise


def test_activations_are_split_outside_parentheses():
    assert split_outside_parentheses("relu, x*max(0,x),tanh") == ["relu", "x*max(0,x)", "tanh"]
    assert parsed("relu,leaky_relu:0.2", Activations()) == ("relu", "leaky_relu:0.2")


def test_choices_are_those_of_the_networks():
    command = click.Command("x", params=[])
    for option in NETWORK_OPTIONS:
        option(command)
    choices = {option.name: getattr(option.type, "choices", None) for option in command.params}
    assert tuple(choices["weights"]) == WEIGHTS
    assert tuple(choices["block"]) == get_args(Block)


def test_numbers_are_as_typed_in_messages_alone():
    (number,) = parsed("1.50", Numbers())
    assert repr(number) == "1.50"
    (point,) = Sweep(lambda a: a, {"a": [number]}).points()
    assert type(point["a"]) is float
    with pytest.raises(ValueError, match="x"):
        Typed("x")


def test_a_sweep_varies_its_last_axis_fastest():
    sweep = Sweep(lambda a, b: (a, b), {"a": [1, 2], "b": [3, 4]})
    assert list(sweep) == [(1, 3), (1, 4), (2, 3), (2, 4)]
    assert sweep.swept == ["a", "b"]
    assert not sweep.single
    assert Sweep(lambda a: a, {"a": [1]}).single


def test_axes_beside_the_network_reach_the_computation():
    sweep = Sweep(lambda a: a, {"a": [1, 2]}).crossed(width=[10, 20])
    table, failed = run(sweep, ("product",), lambda a, width: [{"product": a * width}])
    assert table.columns == ["a", "width", "product", "status"]
    assert table.rows == [(1, 10, 10, "ok"), (1, 20, 20, "ok"), (2, 10, 20, "ok"), (2, 20, 40, "ok")]
    assert not failed


def test_a_bad_value_is_refused_before_anything_is_computed():
    def build(a, b):
        if b > 2:
            raise InvalidInputError("b", "at most 2", b)
        return a, b

    with pytest.raises(InvalidInputError, match="b must be at most 2, got 3"):
        Sweep(build, {"a": [1, 2], "b": [1, 3]})


def test_a_single_failure_is_raised_and_one_of_several_is_a_row(capsys):
    def compute(a):
        yield {"x": a, "y": 2 * a}
        if a == 2:
            raise NoAnswerError("no answer")

    with pytest.raises(NoAnswerError):
        run(Sweep(lambda a: a, {"a": [2]}), ("x", "y"), compute)
    table, failed = run(Sweep(lambda a: a, {"a": [1, 2, 3]}), ("x", "y"), compute)
    assert failed
    assert table.rows == [(1, 1, 2, "ok"), (2, None, None, "no answer"), (3, 3, 6, "ok")]
    assert capsys.readouterr().err == "isocalc: a 2: no answer\n"


def test_every_option_is_declared_once():
    """But for --input-variance, which in measure is one number and the mean square of random inputs."""
    sources = (path.read_text(encoding="utf-8") for path in Path(isocalc.__path__[0], "cli").rglob("*.py"))
    declared = Counter(
        next(arg.value for arg in node.args if arg.value.startswith("--"))
        for source in sources
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "click.option"
    )
    assert len(declared) > 40
    assert [option for option, count in declared.items() if count > 1] == ["--input-variance"]
