"""From the text of an expression to an activation: ``x*tanh(x)``, ``max(x, 0.1*x)``, ``where(x > 1, 1, x)``.

The language is in `isocalc.activations.expressions.language`; nothing of a text is ever run as a program.

A straight line plus a periodic function, such as x + sin(x)², has averages in closed form: φ(x) = b + a x +
p(x), p(0) = 0, p of period P with Fourier coefficients c_k, sampled to rounding. With x ~ N(0, q),
``E e^{iωx} = e^{-ω²q/2}``; differences of exponentials are by expm1, so that small q loses nothing.
"""

import math
from fractions import Fraction
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from isocalc.activations.definition import Activation
from isocalc.activations.expressions.evaluation import PieceFunction, function_of, pieces_of
from isocalc.activations.expressions.language import parse, simplified, written
from isocalc.activations.expressions.shape import is_odd, shape_of
from isocalc.activations.expressions.tree import Node, RefusedError, polynomial
from isocalc.activations.tolerances import (
    EQUAL,
    EQUAL_FREQUENCY,
    FAINT,
    LONGEST_WAVE,
    MOST_HARMONICS,
    SAMPLES,
)
from isocalc.errors import InvalidInputError
from isocalc.numerics.tolerances import EXP_IS_0, LARGEST_DOUBLE

Array = npt.NDArray[np.float64]
Complex = npt.NDArray[np.complex128]
Whole = npt.NDArray[np.int64]


class Line(NamedTuple):
    """A function is ``slope`` times x plus one made of waves of these angular frequencies."""

    slope: float
    frequencies: frozenset[float] = frozenset()


def line_and_waves(tree: Node) -> Line | None:
    """Return the slope and the frequencies of a straight line plus a periodic function, else ``None``."""
    line = polynomial(tree)
    if line is not None:
        return Line(line[1] if len(line) == 2 else 0.0) if len(line) <= 2 else None
    if tree.op in ("sin", "cos", "tan") and len(inside := polynomial(tree.args[0]) or ()) == 2:
        return Line(0.0, frozenset({abs(inside[1])}))
    parts = [line_and_waves(arg) for arg in tree.args]
    if any(part is None for part in parts):
        return None
    lines = [part for part in parts if part is not None]
    frequencies = frozenset().union(*(line.frequencies for line in lines))
    slope = _slope_of(tree, [line.slope for line in lines])
    return None if slope is None else Line(slope, frequencies)


def _slope_of(tree: Node, slopes: list[float]) -> float | None:
    if tree.op in ("add", "sub", "neg"):
        return (
            slopes[0] + slopes[1]
            if tree.op == "add"
            else -slopes[0]
            if tree.op == "neg"
            else slopes[0] - slopes[1]
        )
    if tree.op == "mul" and tree.args[0].op == "const":
        return tree.args[0].number * slopes[1]
    if tree.op == "div" and tree.args[1].op == "const":
        return slopes[0] / tree.args[1].number
    return None if any(slopes) else 0.0


def waves_of(function: PieceFunction) -> "Waves | None":
    """Return the waves of an expression, ``None`` where it has none, too many, or is more than those."""
    line = line_and_waves(function.tree) if not function.pieces.cuts else None
    if line is None or not line.frequencies:
        return None
    lowest = min(line.frequencies)
    if not 1 / LONGEST_WAVE < lowest <= max(line.frequencies) < LONGEST_WAVE:
        return None
    ratios = [
        Fraction(frequency / lowest).limit_denominator(MOST_HARMONICS // 2) for frequency in line.frequencies
    ]
    exact = all(
        abs(float(r) * lowest / w - 1) < EQUAL_FREQUENCY
        for r, w in zip(ratios, line.frequencies, strict=True)
    )
    if not exact:
        return None
    base = lowest / math.lcm(*(ratio.denominator for ratio in ratios))
    x = 2 * math.pi / base * np.arange(SAMPLES) / SAMPLES
    start = function.phi(np.zeros(1))
    gate_start = function.dphi(np.zeros(1)) ** 2
    waves = _spectrum(function.phi(x) - line.slope * x - start)
    gates = _spectrum(function.dphi(x) ** 2)
    if waves is None or gates is None:
        return None
    return Waves(float(start[0]), line.slope, base, *waves, float(gate_start[0]), *gates)


def _spectrum(values: Array) -> tuple[Whole, Complex] | None:
    """Return the harmonics of a sampled period that count, and their coefficients; None of too many."""
    coefficients = np.fft.fft(values / values.size)
    if not np.isfinite(coefficients).all():
        return None
    harmonics = np.fft.fftfreq(values.size, 1 / values.size).round().astype(np.int64)
    kept = np.abs(coefficients) > EQUAL * max(np.abs(coefficients).max(), 1e-300)
    if np.abs(harmonics[kept]).max(initial=0) > MOST_HARMONICS:
        return None
    return harmonics[kept], coefficients[kept]


class Waves(NamedTuple):
    """φ(x) = start + slope x + r(x), and φ'², by Fourier coefficients: r is the sum of c_k (e^{iωkx} - 1)."""

    start: float
    slope: float
    base: float
    """ω"""
    harmonics: Whole
    coefficients: Complex
    gate_start: float
    """φ'(0)²"""
    gates: Whole
    gate_coefficients: Complex

    @property
    def period(self) -> float:
        """Period of φ'²; ``math.inf`` where it is constant."""
        common = math.gcd(*self.gates.tolist())
        return 2 * math.pi / self.base / common if common else math.inf

    @property
    def scale(self) -> float:
        """Length over which the fastest wave varies."""
        size = np.abs(self.coefficients * self.harmonics)
        fast = np.abs(self.harmonics[size > FAINT * size.max(initial=0.0)])
        return 1 / self.base / float(fast.max(initial=1))

    def averages(self, q: Array) -> tuple[Array, Array, Array, Array, Array]:
        """Return E φ, E φ², E φ'², E φ'⁴ and E φ² (x²/q - 1), each of the shape of q."""
        with np.errstate(over="ignore", under="ignore"):
            rows = [self._averages(each) for each in np.asarray(q, dtype=float).ravel().tolist()]
        mean, second, gate, fourth, curvature = np.array(rows).reshape(-1, 5).T.reshape(5, *np.shape(q))
        return mean, second, gate, fourth, curvature

    def _averages(self, q: float) -> tuple[float, float, float, float, float]:
        k, c, b, a = self.harmonics, self.coefficients, self.start, self.slope
        s = min(float(np.square(self.base * np.sqrt(q))) / 2, EXP_IS_0)
        waves = np.expm1(-k * k * s)
        mean = b + _real(c @ waves)
        along = _real(1j * self.base * (c * k) @ np.exp(-k * k * s))
        second = b * b + 2 * b * _real(c @ waves) + q * (a * a + 2 * a * along) + _of_pairs(k, c, s)
        gate, fourth = self._gate_moments(s)
        turning = _real(1j * self.base * (c * k * (1 - k * k * s)) @ np.exp(-k * k * s))
        curvature = 2 * b * _real(c @ _turned(k * k, s)) + q * (2 * a * a + 4 * a * turning)
        pairs = _turned(np.add.outer(k, k) ** 2, s) - np.add.outer(*2 * [_turned(k * k, s)])
        return mean, second, gate, fourth, curvature + _real(c @ pairs @ c)

    def _gate_moments(self, s: float) -> tuple[float, float]:
        j, g, start = self.gates, self.gate_coefficients, self.gate_start
        change = _real(g @ np.expm1(-j * j * s))
        return start + change, start * start + 2 * start * change + _of_pairs(j, g, s)

    def correlation(self, q: float, correlation: Array) -> tuple[Array, Array]:
        """Return E φ(x) φ(y) and E φ'(x) φ'(y) for x, y of variance q, of the shape of the correlation."""
        with np.errstate(over="ignore", under="ignore"):
            rows = [self._correlation(q, each) for each in np.ravel(correlation).tolist()]
        product, slopes = np.array(rows).reshape(-1, 2).T.reshape(2, *np.shape(correlation))
        return product, slopes

    def _correlation(self, q: float, correlation: float) -> tuple[float, float]:
        k, c, b, a = self.harmonics, self.coefficients, self.start, self.slope
        s = min(float(np.square(self.base * np.sqrt(q))) / 2, LARGEST_DOUBLE / SAMPLES**2)
        along = _real(1j * self.base * (c * k) @ np.exp(-k * k * s))
        product = b * b + 2 * b * _real(c @ np.expm1(-k * k * s)) + q * correlation * (a * a + 2 * a * along)
        d = 1j * self.base * c * k
        slopes = a * a + 2 * a * along + _real(d @ np.exp(-_exponents(k, s, correlation)) @ d)
        return product + _of_pairs(k, c, s, correlation), slopes


def _exponents(k: Whole, s: float, correlation: float) -> Array:
    """E (ωk x + ωl y)² / 2 for each pair k, l."""
    apart = 2 * (1 - correlation) * np.multiply.outer(k, k)
    return np.asarray(s * (np.add.outer(k, k) ** 2 - apart))


def _of_pairs(k: Whole, c: Complex, s: float, correlation: float = 1.0) -> float:
    """E of the product of Σ c_k (e^{iωkx} - 1) at x and y."""
    alone = np.expm1(-k * k * s)
    return _real(c @ (np.expm1(-_exponents(k, s, correlation)) - np.add.outer(alone, alone)) @ c)


def _turned(m: Whole, s: float) -> Array:
    """Twice s times the slope of e^{-ms} in s."""
    return np.asarray(-2 * m * s * np.exp(-m * s))


def _real(value: Any) -> float:
    return float(np.real(value))


def activation_of(text: str) -> Activation:
    """Return the activation that an expression of x means.

    Parameters
    ----------
    text : str

    Returns
    -------
    Activation
        Its name is the expression as isocalc writes it, which reads back as the same.

    Raises
    ------
    InvalidInputError
        The text is not in the language, or the expression is not defined or not finite for some x, or varies
        ever faster; the message says where.
    """
    try:
        with np.errstate(all="ignore"):
            return _activation_of(parse(text))
    except RefusedError as refusal:
        raise InvalidInputError(
            "activation", refusal.rule, text, refusal.advice, refusal.next_steps
        ) from None


def step_function_of(text: str) -> Activation | None:
    """Return the function that an expression made of steps means, ``None`` where it is another.

    Its gates are closed everywhere: no network has it, but its signal has a gain.
    """
    try:
        parsed = parse(text)
        tree = simplified(parsed)
        pieces = pieces_of(tree)
        if any(part.op != "const" for part in pieces.parts):
            return None
        function = function_of(tree, pieces)
        name = written(parsed)
        return Activation(
            name=name, phi=function.phi, dphi=function.dphi, formula=name, **shape_of(function).fields
        )
    except RefusedError:
        return None


@lru_cache(maxsize=64)
def _activation_of(parsed: Node) -> Activation:
    tree = simplified(parsed)
    pieces = pieces_of(tree)
    if all(part.op == "const" for part in pieces.parts):
        raise RefusedError("one whose derivative is not 0 everywhere", "It is constant, or made of steps.")
    function = function_of(tree, pieces)
    name = written(parsed)
    if waves := waves_of(function):
        return Activation(
            name=name,
            phi=function.phi,
            dphi=function.dphi,
            scale=waves.scale,
            odd=is_odd(function),
            period=waves.period,
            formula=name,
            closed_averages=waves.averages,
            closed_correlation=waves.correlation,
        )
    return Activation(
        name=name, phi=function.phi, dphi=function.dphi, formula=name, **shape_of(function).fields
    )
