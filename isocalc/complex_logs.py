"""Logarithms with the digits and on the side of the cut that solutions of free products need."""

import numpy as np
import numpy.typing as npt

Complex = npt.NDArray[np.complex128]


def lower_log(x: Complex) -> Complex:
    """Return log x, x in the closed lower half-plane but for rounding, which may have left it above −1."""
    log = np.log(x)
    log.imag[log.imag > np.pi / 2] -= 2 * np.pi
    return log


def log1p(x: Complex) -> Complex:
    """Return log(1 + x) with the digits of a small x, which numpy's loses where x is complex."""
    log = np.empty_like(x)
    log.real = np.log1p(x.real * (2 + x.real) + x.imag * x.imag) / 2
    log.imag = np.arctan2(x.imag, 1 + x.real)
    return log


def log1p_like(x: Complex, log: Complex) -> Complex:
    """Return log(1 + x), which is also ``log``: with the digits of a small x and on the branch of ``log``."""
    own = log1p(x)
    own.imag += 2 * np.pi * np.rint((log.imag - own.imag) / (2 * np.pi))
    cancels = (1 + x.real) ** 2 + x.imag**2 < 0.25
    own[cancels] = log[cancels]
    return own


def log_ratio(m: Complex, above: Complex, share: float = 1.0) -> Complex:
    """Return log((m + share)/m), small where m is large, from m and ``above`` = m + share."""
    ratio = lower_log(above) - lower_log(m)
    large = m.real * m.real + m.imag * m.imag > 4 * share * share
    ratio[large] = log1p(share / m[large])
    return ratio


def log_one_plus_m(zeta: Complex) -> Complex:
    """Return log(1 + m) from ζ = log((1+m)/m)."""
    return lower_log(np.asarray(-1 / np.expm1(-zeta), dtype=complex))
