"""The activations isocalc knows, as data, and how a name becomes one."""

import copyreg
import math
import re
from collections.abc import Callable

import numpy as np

from isocalc.activations import formulas
from isocalc.activations.definition import Activation, Family, Parameter
from isocalc.errors import InvalidInputError
from isocalc.limits import LARGEST_CONSTANT
from isocalc.numerics.special import Array, erf

__all__ = ["ALIASES", "FAMILIES", "Activation", "Array", "Family", "Parameter", "activation", "names"]


def _from_pair(
    pair: formulas.Pair, breakpoints: tuple[float, ...] = (), *, scale: float = 1.0, odd: bool = False
) -> Activation:
    return Activation(phi=pair[0], dphi=pair[1], breakpoints=breakpoints, scale=scale, odd=odd)


FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        Family("linear", "x", "torch.nn.Identity", formulas.linear),
        Family("relu", "max(0, x)", "torch.nn.ReLU", formulas.relu),
        Family(
            "leaky_relu",
            "max(0, x) + negative_slope min(0, x)",
            "torch.nn.LeakyReLU",
            formulas.leaky_relu,
            (Parameter("negative_slope", 0.01),),
        ),
        Family("abs", "|x|", "torch.abs", formulas.absolute),
        Family("relu6", "min(max(0, x), 6)", "torch.nn.ReLU6", formulas.relu6),
        Family(
            "hardtanh",
            "min(max(min_val, x), max_val)",
            "torch.nn.Hardtanh",
            formulas.hardtanh,
            (Parameter("min_val", -1.0), Parameter("max_val", 1.0, "a finite number greater than min_val")),
            lambda low, high: low < high,
        ),
        Family("hardsigmoid", "min(max(0, x + 3), 6) / 6", "torch.nn.Hardsigmoid", formulas.hardsigmoid),
        Family("hardswish", "x min(max(0, x + 3), 6) / 6", "torch.nn.Hardswish", formulas.hardswish),
        Family(
            "hardshrink",
            "x if |x| > lambd else 0",
            "torch.nn.Hardshrink",
            formulas.hardshrink,
            (Parameter("lambd", 0.5, "a finite number of at least 0"),),
            lambda lambd: lambd >= 0,
        ),
        Family(
            "softshrink",
            "x - min(max(-lambd, x), lambd)",
            "torch.nn.Softshrink",
            formulas.softshrink,
            (Parameter("lambd", 0.5, "a finite number of at least 0"),),
            lambda lambd: lambd >= 0,
        ),
        Family(
            "threshold",
            "x if x > threshold else value",
            "torch.nn.Threshold",
            formulas.threshold,
            (Parameter("threshold", None), Parameter("value", None)),
        ),
        Family("squared_relu", "max(0, x)^2", "So et al., arXiv 2109.08668", formulas.squared_relu),
        Family(
            "elu",
            "x if x > 0 else alpha (exp(x) - 1)",
            "torch.nn.ELU",
            lambda alpha: _from_pair(formulas.elu(alpha), (0.0,)) if alpha else formulas.relu(),
            (Parameter("alpha", 1.0),),
        ),
        Family(
            "celu",
            "x if x > 0 else alpha (exp(x/alpha) - 1)",
            "torch.nn.CELU",
            lambda alpha: _from_pair(formulas.elu(alpha, alpha), (0.0,), scale=alpha),
            (Parameter("alpha", 1.0, "a finite number greater than 0"),),
            lambda alpha: alpha > 0,
        ),
        Family(
            "selu",
            "1.0507 (x if x > 0 else 1.6733 (exp(x) - 1))",
            "torch.nn.SELU",
            lambda: _from_pair(formulas.selu(), (0.0,)),
        ),
        Family(
            "gelu",
            "x (1 + erf(x / sqrt(2))) / 2",
            "torch.nn.GELU",
            lambda: _from_pair((formulas.gelu, formulas.dgelu)),
        ),
        Family(
            "gelu_tanh",
            "x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) / 2",
            "torch.nn.GELU(approximate='tanh')",
            lambda: _from_pair((formulas.gelu_tanh, formulas.dgelu_tanh)),
        ),
        Family(
            "silu", "x / (1 + exp(-x))", "torch.nn.SiLU", lambda: _from_pair((formulas.silu, formulas.dsilu))
        ),
        Family(
            "mish",
            "x tanh(log(1 + exp(x)))",
            "torch.nn.Mish",
            lambda: _from_pair((formulas.mish, formulas.dmish)),
        ),
        Family(
            "softplus",
            "log(1 + exp(beta x)) / beta",
            "torch.nn.Softplus",
            lambda beta: _from_pair(formulas.softplus(beta), scale=1.0 / beta),
            (Parameter("beta", 1.0, "a finite number greater than 0"),),
            lambda beta: beta > 0,
        ),
        Family(
            "sigmoid",
            "1 / (1 + exp(-x))",
            "torch.nn.Sigmoid",
            lambda: _from_pair((formulas.sigmoid, formulas.dsigmoid)),
        ),
        Family(
            "logsigmoid",
            "-log(1 + exp(-x))",
            "torch.nn.LogSigmoid",
            lambda: _from_pair((formulas.logsigmoid, formulas.dlogsigmoid)),
        ),
        Family("tanh", "tanh(x)", "torch.nn.Tanh", lambda: _from_pair((np.tanh, formulas.dtanh), odd=True)),
        Family(
            "tanhshrink",
            "x - tanh(x)",
            "torch.nn.Tanhshrink",
            lambda: _from_pair((formulas.tanhshrink, formulas.dtanhshrink), odd=True),
        ),
        Family(
            "softsign",
            "x / (1 + |x|)",
            "torch.nn.Softsign",
            lambda: _from_pair((formulas.softsign, formulas.dsoftsign), (0.0,), odd=True),
        ),
        Family("erf", "erf(x)", "torch.erf", lambda: _from_pair((erf, formulas.derf), odd=True)),
        Family(
            "arctan", "arctan(x)", "torch.arctan", lambda: _from_pair((np.arctan, formulas.darctan), odd=True)
        ),
        Family(
            "gaussian",
            "exp(-x^2)",
            "Broomhead, Lowe 1988",
            lambda: _from_pair((formulas.gaussian, formulas.dgaussian)),
        ),
        Family("sin", "sin(x)", "torch.sin", formulas.sin),
        Family(
            "snake",
            "x + sin(a x)^2 / a",
            "Ziyin et al., arXiv 2006.08195",
            formulas.snake,
            (Parameter("a", 1.0, "a finite number other than 0"),),
            lambda a: a != 0,
        ),
    )
}

_NAME = re.compile(r"[A-Za-z_][\w .-]*")
ALIASES = {"identity": "linear", "swish": "silu", "atan": "arctan"}


def names() -> tuple[str, ...]:
    """Return the names of all activations, in the order of the list."""
    return tuple(FAMILIES)


def activation(spec: str | Activation) -> Activation:
    """Return the activation called ``spec``.

    Parameters
    ----------
    spec : str or Activation
        A name, then its parameters if any: ``"tanh"``, ``"leaky_relu:0.2"``, ``"hardtanh:-2:2"``. Parameters
        left out have PyTorch's defaults. Or an expression of x, ``"x*tanh(x)"``, which is parsed and never
        run. An Activation is returned as it is.

    Returns
    -------
    Activation
        With the shortest name that means the same: ``"leaky_relu"`` for ``"leaky_relu:0.010"``.

    Raises
    ------
    InvalidInputError
        The name is unknown, or a parameter is missing, superfluous, not a number or out of its range; or the
        expression is not in the language, or not defined or not finite for some x.
    """
    if isinstance(spec, Activation):
        return spec
    if not isinstance(spec, str):
        raise InvalidInputError("activation", "a name or an Activation", spec)
    name, *texts = spec.strip().split(":")
    family = FAMILIES.get(ALIASES.get(name, name))
    if family is None and _is_expression(name):
        from isocalc.activations.expressions.build import activation_of  # noqa: PLC0415 - names do without

        return activation_of(spec)
    if family is None:
        advice = _advice(name)
        raise InvalidInputError(
            "activation", "a known activation", spec, advice, () if advice else ("list the activations",)
        )
    values = _parameters(family, texts)
    if values is None:
        raise InvalidInputError("activation", family.rule, spec)
    if any(value and not 1 / LARGEST_CONSTANT <= abs(value) <= LARGEST_CONSTANT for value in values):
        rule = f"{family.usage} with sizes from {1 / LARGEST_CONSTANT:g} to {LARGEST_CONSTANT:g}, or 0"
        raise InvalidInputError("activation", rule, spec)
    return family.bind(values)


def _is_expression(text: str) -> bool:
    """Whether a text is not a name, known or misspelt, such as leaky-relu or nn.ReLU."""
    return bool(text) and (not _NAME.fullmatch(text) or re.search(r"\bx\b", text) is not None)


def _parameters(family: Family, texts: list[str]) -> tuple[float, ...] | None:
    """Return the values of all parameters, ``None`` where the texts break the family's rule."""
    try:
        given = tuple(float(text) + 0.0 for text in texts)
    except ValueError:
        return None
    defaults = (parameter.default for parameter in family.parameters[len(given) :])
    values = (*given, *(default for default in defaults if default is not None))
    complete = len(values) == len(family.parameters) and all(map(math.isfinite, values))
    return values if complete and family.holds(*values) else None


def _advice(name: str) -> str:
    from difflib import get_close_matches  # noqa: PLC0415 - needed for a misspelt name only

    close = get_close_matches(name.lower(), [*FAMILIES, *ALIASES], n=1)
    return f"Did you mean {close[0]}?" if close else ""


def _reduced(act: Activation) -> tuple[Callable[[str], Activation], tuple[str]]:
    return activation, (act.name,)


# Activations are made of lambdas: a pickle has the name, from which `activation` makes the same again.
copyreg.pickle(Activation, _reduced)
