"""Activations made of polynomial pieces. At a kink φ' is what PyTorch's gradient is there."""

import math

import numpy as np

from isocalc._special import Array, capped, positive_part
from isocalc.activation_type import Activation, Function

quiet = np.errstate(over="ignore")


def linear() -> Activation:
    return Activation(phi=np.positive, dphi=np.ones_like, slopes=(1.0,), odd=True)


def leaky_relu(slope: float) -> Activation:
    if slope == 1.0:
        return linear()

    @quiet
    def phi(x: Array) -> Array:
        return np.maximum(x, 0.0) + slope * np.minimum(x, 0.0)

    return Activation(
        phi=phi,
        dphi=lambda x: np.where(x.real > 0.0, 1.0, slope),
        breakpoints=(0.0,),
        slopes=(slope, 1.0),
    )


def relu() -> Activation:
    return _kinked(0.0, math.inf, lambda x: np.maximum(x, 0.0))


def relu6() -> Activation:
    return _kinked(0.0, 6.0, lambda x: np.clip(x, 0.0, 6.0))


def hardtanh(low: float, high: float) -> Activation:
    return _kinked(low, high, lambda x: np.clip(x, low, high), odd=low == -high)


def hardsigmoid() -> Activation:
    return _kinked(-3.0, 3.0, _hardsigmoid, slope=1.0 / 6.0)


def _hardsigmoid(x: Array) -> Array:
    return (np.clip(x, -3.0, 3.0) + 3.0) / 6.0


def _kinked(low: float, high: float, phi: Function, *, slope: float = 1.0, odd: bool = False) -> Activation:
    """Return the activation of slope ``slope`` between ``low`` and ``high``, flat elsewhere."""

    def dphi(x: Array) -> Array:
        return slope * ((x.real > low) & (x.real < high)).astype(np.float64)

    if math.isinf(high):
        return Activation(phi=phi, dphi=dphi, breakpoints=(low,), slopes=(0.0, slope))
    return Activation(phi=phi, dphi=dphi, breakpoints=(low, high), slopes=(0.0, slope, 0.0), odd=odd)


def hardswish() -> Activation:
    def dphi(x: Array) -> Array:
        return np.where(x.real < 3.0, np.where(x.real > -3.0, capped(x, 3.0) / 3.0 + 0.5, 0.0), 1.0)

    return Activation(phi=lambda x: x * _hardsigmoid(x), dphi=dphi, breakpoints=(-3.0, 3.0))


def hardshrink(lambd: float) -> Activation:
    return _shrink(lambd, lambda x: np.where(np.abs(x) > lambd, x, 0.0), jumps=True)


def softshrink(lambd: float) -> Activation:
    return _shrink(lambd, lambda x: x - np.clip(x, -lambd, lambd), jumps=False)


def _shrink(lambd: float, phi: Function, *, jumps: bool) -> Activation:
    if lambd == 0.0:
        return linear()
    return Activation(
        phi=phi,
        dphi=lambda x: np.greater(np.abs(x.real), lambd).astype(np.float64),
        breakpoints=(-lambd, lambd),
        jumps=(-lambd, lambd) if jumps else (),
        slopes=(1.0, 0.0, 1.0),
        odd=True,
    )


def threshold(at: float, value: float) -> Activation:
    return Activation(
        phi=lambda x: np.where(x > at, x, value),
        dphi=lambda x: np.greater(x.real, at).astype(np.float64),
        breakpoints=(at,),
        jumps=() if at == value else (at,),
        slopes=(0.0, 1.0),
    )


def absolute() -> Activation:
    return Activation(phi=np.abs, dphi=lambda x: np.sign(x.real), breakpoints=(0.0,), slopes=(-1.0, 1.0))


def squared_relu() -> Activation:
    @quiet
    def phi(x: Array) -> Array:
        return np.square(np.maximum(x, 0.0))

    @quiet
    def dphi(x: Array) -> Array:
        return 2.0 * positive_part(x)

    return Activation(phi=phi, dphi=dphi, breakpoints=(0.0,))
