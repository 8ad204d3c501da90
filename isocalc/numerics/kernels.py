"""Compiled code on floats and arrays: the universal law and the signal through many layers."""
# ruff: noqa: FBT001 - kernels take no keywords

from math import (
    acos,
    atan2,
    cos,
    exp,
    expm1,
    frexp,
    inf,
    log2,
    pi,
    sin,
    sinh,
    sqrt,
)

import numpy as np
import numpy.typing as npt

from isocalc.numerics.jit import kernel

Array = npt.NDArray[np.float64]
Complex = npt.NDArray[np.complex128]
Whole = npt.NDArray[np.int64]


@kernel
def solve_universal(  # noqa: PLR0917 - kernels take no keywords
    y: Array,
    c: float,
    edge: float,
    knots_x: Array,
    knots_t: Array,
    newton_steps: int,
    density: Array,
    survival: Array,
) -> float:
    """Fill density and survival of the universal law at 0 <= y < edge; return the largest residual.

    The twin of ``universal._solve``, in real arithmetic; knots at equal steps of arccos(y/edge).
    """
    worst = 0.0
    steps_per_radian = (knots_x.size - 1) / (0.5 * pi)
    for i in range(y.size):
        place = acos(y[i] / edge) * steps_per_radian
        k = min(int(place), knots_x.size - 2)
        x = knots_x[k] + (place - k) * (knots_x[k + 1] - knots_x[k])
        t = knots_t[k] + (place - k) * (knots_t[k + 1] - knots_t[k])
        for step in range(newton_steps + 1):
            sinh_x, sin_t = sinh(x), sin(t)
            half_sinh, half_sin = sinh(0.5 * x), sin(0.5 * t)
            distance = 2 * (half_sinh * half_sinh + half_sin * half_sin)
            f_x = x + c * sinh_x / distance - y[i]
            f_t = t - c * sin_t / distance
            if step == newton_steps:
                break
            # f' = 1 - c / (cosh ζ - 1), with |cosh ζ - 1| = distance
            u = 2 * (half_sinh * half_sinh - half_sin * half_sin) - 4 * (half_sinh * half_sin) ** 2
            d_x = 1 - c * u / distance**2
            d_t = c * sinh_x * sin_t / distance**2
            norm = d_x * d_x + d_t * d_t
            x -= (f_x * d_x + f_t * d_t) / norm
            t -= (f_t * d_x - f_x * d_t) / norm
        worst = max(worst, sqrt(f_x * f_x + f_t * f_t))
        t = max(t, 0.0)
        decay = exp(-x)
        real = 2 * sin(0.5 * t) ** 2 * decay - expm1(-x)
        imag = decay * sin(t)
        norm = real * real + imag * imag
        m_real = (decay * cos(t) * real - decay * sin(t) * imag) / norm
        m_imag = -(decay * sin(t) * real + decay * cos(t) * imag) / norm
        density[i] = t / (2 * pi * c)
        survival[i] = min(max((2 * c * m_real * m_imag + atan2(imag, real)) / pi, 0.0), 0.5)
    return worst


@kernel
def follow_signal(  # noqa: PLR0917 - kernels take no keywords
    q: Array,
    gate: Array,
    second_moment: Array,
    mean: Array,
    done: int,
    p: float,
    m: float,
    weight: float,
    bias: float,
    skip: float,
    pre: bool,
    exponent: int,
    units: Array,
    coefficients: Array,
) -> tuple[int, float, float]:
    """Fill layers from ``done`` on while q stays in one octave; return the layers done and the last p and m.

    The twin of ``propagation._follow``, with ``average_table.AverageTable.at`` for one octave.
    """
    while done < q.size:
        variance = p if pre else weight * p + bias
        mantissa, place = frexp(variance)
        if place != exponent or not variance < inf:
            break
        t = 2 * log2(mantissa) + 1
        average = units[0] * clenshaw(coefficients[0], t)
        second = units[1] * exp(clenshaw(coefficients[1], t))
        if pre:
            p = skip * skip * p + weight * second + bias
        else:
            p = second + 2 * skip * m * average + skip * skip * p
            m = average + skip * m
            p = max(p, m * m)
        q[done] = variance
        gate[done] = units[2] * exp(clenshaw(coefficients[2], t))
        second_moment[done] = p
        mean[done] = m
        done += 1
    return done, p, m


@kernel
def clenshaw(series: Array, t: float) -> float:
    """Sum a Chebyshev series, coefficients lowest first."""
    b, previous = 0.0, 0.0
    for k in range(series.size - 1, -1, -1):
        b, previous = series[k] + 2 * t * b - previous, b
    return b - t * previous
