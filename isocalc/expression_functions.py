"""The functions an expression may call, with derivatives, for real arrays and complex ones near the axis."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from isocalc import _smooth
from isocalc._special import erf, erfc, magnitude, positive_part
from isocalc.complex_logs import log1p as complex_log1p

Numbers = npt.NDArray[Any]  # real or complex

_SQRT_HALF = math.sqrt(0.5)


class Primitive(NamedTuple):
    """A smooth function and its derivative, the latter of the argument and of the function's value there."""

    value: Callable[[Numbers], Numbers]
    slope: Callable[[Numbers, Numbers], Numbers]


def _log1p(u: Numbers) -> Numbers:
    return complex_log1p(u) if np.iscomplexobj(u) else np.log1p(u)


def _softplus(u: Numbers) -> Numbers:
    return positive_part(u) + _log1p(np.exp(-magnitude(u)))


def _phi(u: Numbers) -> Numbers:
    return 0.5 * erfc(-_SQRT_HALF * u)


def _dphi(u: Numbers, _: Numbers) -> Numbers:
    return _smooth.gaussian(_SQRT_HALF * u) / math.sqrt(2.0 * math.pi)


def _tan_slope(u: Numbers, v: Numbers) -> Numbers:
    del u
    return 1.0 + v * v


def _of_argument(slope: Callable[[Numbers], Numbers]) -> Callable[[Numbers, Numbers], Numbers]:
    return lambda u, _: slope(u)


def _asinh_slope(u: Numbers, _: Numbers) -> Numbers:
    return 1.0 / np.sqrt(1.0 + u * u)


SMOOTH: dict[str, Primitive] = {
    "exp": Primitive(np.exp, lambda _, v: v),
    "log": Primitive(np.log, lambda u, _: 1.0 / u),
    "log1p": Primitive(_log1p, lambda u, _: 1.0 / (1.0 + u)),
    "expm1": Primitive(np.expm1, _of_argument(np.exp)),
    "sqrt": Primitive(np.sqrt, lambda _, v: 0.5 / v),
    "sin": Primitive(np.sin, _of_argument(np.cos)),
    "cos": Primitive(np.cos, lambda u, _: -np.sin(u)),
    "tan": Primitive(np.tan, _tan_slope),
    "sinh": Primitive(np.sinh, _of_argument(np.cosh)),
    "cosh": Primitive(np.cosh, _of_argument(np.sinh)),
    "tanh": Primitive(np.tanh, _of_argument(_smooth.dtanh)),
    "asinh": Primitive(np.arcsinh, _asinh_slope),
    "atan": Primitive(np.arctan, _of_argument(_smooth.darctan)),
    "erf": Primitive(erf, _of_argument(_smooth.derf)),
    "erfc": Primitive(erfc, lambda u, _: -_smooth.derf(u)),
    "Phi": Primitive(_phi, _dphi),
    "sigmoid": Primitive(_smooth.sigmoid, _of_argument(_smooth.dsigmoid)),
    "softplus": Primitive(_softplus, _of_argument(_smooth.sigmoid)),
    "silu": Primitive(_smooth.silu, _of_argument(_smooth.dsilu)),
    "gelu": Primitive(_smooth.gelu, _of_argument(_smooth.dgelu)),
    # Not for users: x - tanh(x) is made into it.
    "tanhshrink": Primitive(_smooth.tanhshrink, _of_argument(_smooth.dtanhshrink)),
}
HIDDEN = ("tanhshrink",)
"""Functions that rewriting alone makes."""
CONDITIONAL = {"abs": 1, "relu": 1, "sign": 1, "max": 2, "min": 2, "where": 3, "clip": 3}
"""Functions made of pieces, with how many arguments they take (max and min: at least)."""
ALIASES = {"arctan": "atan", "arcsinh": "asinh", "maximum": "max", "minimum": "min"}
CONSTANTS = {"pi": math.pi, "e": math.e}

__all__ = ["ALIASES", "CONDITIONAL", "CONSTANTS", "HIDDEN", "SMOOTH", "Numbers", "Primitive"]
