"""PyTorch's formulae for the activations, as its documentation writes them, in mpmath's arithmetic."""

import functools

from mpmath import mp, mpf

from isocalc.activations.catalogue import FAMILIES

SELU_ALPHA = mpf(1.6732632423543772848170429916717)
SELU_SCALE = mpf(1.0507009873554804934193349852946)


def relu6(x):
    return min(max(mpf(0), x), mpf(6))


def sigmoid(x):
    return 1 / (1 + mp.exp(-x))


def softplus(x, beta=1):
    return mp.log(1 + mp.exp(beta * x)) / beta


def erfc(x):
    """Beyond 10⁶ mpmath's own fails, and the limits are right to 10¹¹ digits."""
    return mp.erfc(x) if abs(x) < 10**6 else mpf(1 - mp.sign(x))


def elu(x, alpha):
    return x if x > 0 else alpha * (mp.exp(x) - 1)


PHI = {
    "linear": lambda x: x,
    "relu": lambda x: max(mpf(0), x),
    "leaky_relu": lambda x, negative_slope: max(mpf(0), x) + negative_slope * min(mpf(0), x),
    "abs": abs,
    "relu6": relu6,
    "hardtanh": lambda x, low, high: min(max(x, low), high),
    "hardsigmoid": lambda x: 0 if x <= -3 else 1 if x >= 3 else x / 6 + mpf(1) / 2,
    "hardswish": lambda x: 0 if x <= -3 else x if x >= 3 else x * (x + 3) / 6,
    "hardshrink": lambda x, lambd: x if x > lambd or x < -lambd else 0,
    "softshrink": lambda x, lambd: x - lambd if x > lambd else x + lambd if x < -lambd else 0,
    "threshold": lambda x, threshold, value: x if x > threshold else value,
    "squared_relu": lambda x: max(mpf(0), x) ** 2,
    "elu": elu,
    "celu": lambda x, alpha: max(mpf(0), x) + min(mpf(0), alpha * (mp.exp(x / alpha) - 1)),
    "selu": lambda x: SELU_SCALE * elu(x, SELU_ALPHA),
    "gelu": lambda x: x * erfc(-x / mp.sqrt(2)) / 2,
    "gelu_tanh": lambda x: x / 2 * (1 + mp.tanh(mp.sqrt(2 / mp.pi) * (x + mpf(0.044715) * x**3))),
    "silu": lambda x: x * sigmoid(x),
    "mish": lambda x: x * mp.tanh(softplus(x)),
    "softplus": softplus,
    "sigmoid": sigmoid,
    "logsigmoid": lambda x: mp.log(sigmoid(x)),
    "tanh": mp.tanh,
    "tanhshrink": lambda x: x - mp.tanh(x),
    "softsign": lambda x: x / (1 + abs(x)),
    "erf": lambda x: 1 - erfc(x),
    "arctan": mp.atan,
    "gaussian": lambda x: mp.exp(-(x**2)),
    "sin": mp.sin,
    "snake": lambda x, a: x + mp.sin(a * x) ** 2 / a,
}

# What PyTorch's backward kernels (aten/src/ATen/native/cpu/Activation.cpp) return at each breakpoint, given
# the parameters.
GRADIENTS_AT_BREAKPOINTS = {
    "relu": lambda: (0,),
    "leaky_relu": lambda negative_slope: (negative_slope,),
    "abs": lambda: (0,),
    "relu6": lambda: (0, 0),
    "hardtanh": lambda *_: (0, 0),
    "hardsigmoid": lambda: (0, 0),
    "hardswish": lambda: (0, 1),
    "hardshrink": lambda _: (0, 0),
    "softshrink": lambda _: (0, 0),
    "threshold": lambda *_: (0,),
    "squared_relu": lambda: (0,),
    "elu": lambda alpha: (alpha,),
    "celu": lambda _: (1,),
    "selu": lambda: (SELU_ALPHA * SELU_SCALE,),
    "softsign": lambda: (1,),
}

NEED_PARAMETERS = ("threshold:0.1:0.5",)
WITH_PARAMETERS = (
    "leaky_relu:0.2",
    "leaky_relu:-0.5",
    "leaky_relu:1",
    "hardtanh:-2:2",
    "hardtanh:0.5:3",
    "hardshrink:1",
    "hardshrink:0",
    "softshrink:1",
    "softshrink:0",
    "threshold:-1:0",
    "threshold:0:0",
    "threshold:0:1",
    "elu:0.5",
    "elu:0",
    "elu:-2",
    "celu:2",
    "celu:0.3",
    "softplus:2",
    "softplus:0.25",
    "snake:2",
    "snake:-0.3",
)
BY_NAME = tuple(name for name in FAMILIES if not any(name == spec.split(":")[0] for spec in NEED_PARAMETERS))
EXAMPLES = BY_NAME + NEED_PARAMETERS + WITH_PARAMETERS


def parameters(spec):
    """The parameters of a specification, defaults filled in."""
    name, *given = spec.split(":")
    defaults = [parameter.default for parameter in FAMILIES[name].parameters]
    return [float(text) for text in given] + defaults[len(given) :]


def exact(spec):
    """φ as a function of an mpf."""
    return functools.partial(_called, PHI[spec.split(":")[0]], [mpf(value) for value in parameters(spec)])


def _called(phi, values, x):
    return mpf(phi(x, *values))
