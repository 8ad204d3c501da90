import math

import naive
import numpy as np
import pytest
from mpmath import mp, mpf

from isocalc import NoAnswerError
from isocalc.laws import universal as module
from isocalc.laws.universal import (
    Curve,
    density_and_survival,
    edge,
    log_laplace,
    mean_of,
    quantile,
    relative_variance_of_s,
)

EPS = float(np.finfo(float).eps)
C = [1e-12, 1e-8, 1e-5, 1e-2, 0.1, 0.7, 1.0, 3.0, 10.0, 100.0, 1e3, 1e4, 1e6]
# In units of the edge: the middle, the bulk, and both sides of where the square root begins.
PLACES = [0.0, 1e-15, 1e-3, 0.3, 0.77, 0.97, 0.9995, 1 - 1e-7, 1 - 1e-11, 1 - 3e-15]
MASSES = np.array([0.0, 1e-300, 1e-15, 1e-9, 1e-4, 0.03, 0.2, 0.4, 0.4999, 0.5 - 1e-12, 0.5])


def solved(y, c):
    return density_and_survival(np.asarray(y, dtype=float), Curve.trace(c))


@pytest.mark.parametrize("c", C)
def test_density_against_the_root_of_the_equation(c):
    """Within a few times what rounding y and the edge in the last place does to the density."""
    y = edge(c) * np.array(PLACES)
    density, survival = solved(y, c)
    with mp.workdps(40):
        for i in range(y.size):
            m = naive.universal_root(float(y[i]), c)
            assert abs(mp.log((1 + m) / m) + mpf(c) * (1 + 2 * m) - mpf(float(y[i]))) < mpf(10) ** -20
            slope = 1 / (2 * mpf(c) - 1 / (m * (1 + m)))
            conditioning = EPS * edge(c) * float(abs(slope.imag / m.imag))
            assert abs(density[i] * mp.pi / -m.imag - 1) <= 4 * conditioning + 8 * EPS
            exact = (mpf(c) * m * m - mp.log1p(m)).imag / mp.pi
            assert abs(survival[i] - exact) <= 4 * EPS * (1 + c)


@pytest.mark.parametrize("c", [1e-10, 1e-3, 0.5, 4.0, 60.0, 1e4])
@pytest.mark.parametrize("place", [0.02, 0.6, 0.99])
def test_survival_against_the_integral_of_the_density(c, place):
    y = place * edge(c)
    with mp.workdps(30):
        exact = naive.universal_survival(y, c)
    assert abs(solved([y], c)[1][0] - exact) <= 4 * EPS * (1 + c)


@pytest.mark.parametrize("c", C)
def test_edge(c):
    with mp.workdps(40):
        exact = naive.edge(c)
    assert edge(c) == pytest.approx(float(exact), rel=2 * EPS, abs=0)


@pytest.mark.parametrize("c", C)
def test_even_and_zero_outside(c):
    places = edge(c) * np.array([0.0, 0.1, 0.8, 0.999])
    right, left = solved(places, c), solved(-places, c)
    assert np.array_equal(right[0], left[0])
    assert left[1] == pytest.approx(1 - right[1], abs=EPS * (1 + c))
    outside = np.array([edge(c), np.nextafter(edge(c), np.inf), 1.5 * edge(c), 1e300, np.inf])
    density, survival = solved(np.concatenate((outside, -outside)), c)
    assert not density.any()
    assert survival.tolist() == [0.0] * 5 + [1.0] * 5


def test_beside_the_edge():
    """Within a few ulps rounding can leave the equation without a root; the square root is what there is.

    With ζ = x₀ + it at the edge y falls short of it by coth(x₀/2) t²/2, and density = t/2πc.
    """
    trouble = [
        1.0,
        5.0278708786546e-08,
        0.4582576169381985,
        11.825104528586362,
        248.7638708966673,
        155061.36592852706,
    ]
    ulps = np.concatenate((np.arange(0, 20), [60, 255, 256, 257, 700, 4000]))
    for c in trouble + (10 ** np.random.default_rng(5).uniform(-14, 6, 200)).tolist():
        below = ulps * np.spacing(edge(c))
        density, mass = solved(edge(c) - below, c)
        expected = np.sqrt(2 * below * math.sqrt(c / (c + 2))) / (2 * math.pi * c)
        assert np.all(np.abs(density - expected) <= expected * 4 / np.maximum(ulps, 1))
        assert np.all(np.abs(mass - 2 / 3 * below * expected) <= 8 * EPS * (1 + c))


@pytest.mark.parametrize("c", [1e-300, 1e-101, 1e-99, 1e-40, 1e-13])
def test_small_c_is_a_semicircle(c):
    radius = 2 * math.sqrt(2 * c)
    y = radius * np.array([0.0, 0.4, -0.8, 0.99])
    density, survival = solved(y, c)
    height = np.sqrt(1 - (y / radius) ** 2)
    assert density == pytest.approx(2 / (math.pi * radius) * height, rel=1e-12)
    z = y / radius
    assert survival == pytest.approx(0.5 - (z * height + np.arcsin(z)) / math.pi, abs=1e-14)


def test_large_c_is_flat():
    """λ has the law of e^y with y uniform, asymptotically: density 1/2c inside (-c, c)."""
    density, survival = solved([0.0, 0.5e6, -0.5e6], 1e6)
    assert density == pytest.approx(np.full(3, 0.5e-6), rel=1e-5)
    assert survival == pytest.approx([0.5, 0.25, 0.75], abs=1e-5)


@pytest.mark.parametrize("c", C)
def test_quantiles_return(c):
    y = quantile(MASSES, Curve.trace(c))
    assert np.all(np.diff(y) <= 0)
    assert y[0] == pytest.approx(edge(c), rel=4 * EPS)
    assert y[-1] == 0
    assert np.abs(solved(y, c)[1] - MASSES).max() <= 4 * EPS * (1 + c)


def test_quantiles_of_small_masses_keep_digits():
    """Near the edge the mass is 2/3 of height times width: y falls short of the edge like mass^(2/3)."""
    c = 1.0
    y = quantile(np.array([1e-6, 1e-9]), Curve.trace(c))
    with mp.workdps(30):
        for value, mass in zip(y, (1e-6, 1e-9), strict=True):
            slope = naive.universal_density(value, c)
            off = (naive.universal_survival(value, c) - mass) / slope
            assert abs(off) <= 1e-15 / mass * (edge(c) - value) + 4 * EPS


@pytest.mark.parametrize("c", [1e-12, 0.3, 40.0, 1e4])
def test_compiled_solver_is_the_interpreted_one(c):
    curve = Curve.trace(c)
    y = curve.edge * np.concatenate(([0.0, 1e-12], np.random.default_rng(3).uniform(0, 1, 400), [1 - 1e-9]))
    plain, compiled = module._solve(y, curve), module._solve_compiled(y, curve)  # noqa: SLF001 - the twins
    conditioning = EPS / (1 - y / curve.edge)
    for one, other in zip(plain[:2], compiled[:2], strict=True):
        assert np.all(
            np.abs(one - other) <= 8 * (EPS + conditioning) * np.abs(one) + 4 * EPS * c * (other <= 0.5)
        )
    assert compiled[2] <= 1e3 * EPS * curve.edge


def test_large_arrays_are_small_ones(monkeypatch):
    monkeypatch.setattr(module, "NUMBA_FROM", 1000)
    monkeypatch.setattr(module, "NUMBA_FROM_LOADED", 1000)
    y = np.linspace(-1.01, 1.01, 6003).reshape(3, 2001) * edge(2.0)
    density, survival = solved(y, 2.0)
    assert density.shape == survival.shape == y.shape
    some = solved(y[1, ::30], 2.0)
    assert density[1, ::30] == pytest.approx(some[0], rel=1e-10)
    assert survival[1, ::30] == pytest.approx(some[1], abs=1e-14)
    assert solved(np.empty((0, 4)), 2.0)[0].shape == (0, 4)
    assert solved(np.array(0.1), 2.0)[0].shape == ()


def test_next_to_nothing():
    for c in (5e-324, 1e-320, 1e-310):
        assert max(abs(log_laplace(power, c)) for power in (0.5, 1.0, 2.0, 2.3)) <= 1e-300
        assert relative_variance_of_s(c) <= 1e-300


def test_what_is_out_of_reach_is_refused():
    for question in (Curve.trace, lambda c: log_laplace(1.0, c)):
        with pytest.raises(NoAnswerError, match="computed for c up to 1e\\+06"):
            question(1.0000001e6)
    with pytest.raises(NoAnswerError, match="terms"):
        log_laplace(1e8, 1.0)


def test_newton_that_does_not_arrive_is_not_believed():
    curve = Curve.trace(1.0)
    astray = Curve(curve.c, curve.edge, curve.x + 40.0, curve.t, curve.stretch)
    with pytest.raises(NoAnswerError, match="not solved to full accuracy"):
        density_and_survival(np.array([0.5]), astray)


@pytest.mark.parametrize("c", [1e-12, 1e-6, 1e-3, 0.4, 1.0, 9.0, 77.0, 1e3])
@pytest.mark.parametrize("power", [0.5, 1.0, 1.5, 2.0, 3.0, 0.01, 2.7, 10.0, 33.5, -1.0, -2.5])
def test_moments_against_kummers_function(c, power):
    with mp.workdps(60):
        exact = mp.log(naive.universal_moment(power, c))
    got = log_laplace(power, c)
    assert abs(got - float(exact)) <= 4e-16 * (1 + 2 * float(exact))


@pytest.mark.parametrize(("power", "polynomial"), [(1, lambda _: 1), (2, lambda c: 1 + 2 * c)])
def test_low_moments(power, polynomial):
    """E λ = e^c, E λ² = (1 + 2c) e^{2c}."""
    for c in (1e-9, 0.2, 5.0):
        assert math.exp(log_laplace(power, c)) == pytest.approx(
            math.exp(power * c) * polynomial(c), rel=1e-14
        )


@pytest.mark.parametrize("c", [1e-300, 1e-16, 1e-9, 1e-3, 0.4, 0.999, 1.001, 5.0, 80.0, 900.0])
def test_variance_of_s_without_cancellation(c):
    with mp.workdps(400):
        mean = naive.universal_moment(0.5, c)
        exact = (mp.exp(mpf(c)) - mean**2) / mean**2
    assert relative_variance_of_s(c) == pytest.approx(float(exact), rel=1e-14 * (1 + c), abs=0)


@pytest.mark.parametrize("c", [1e-200, 1e-8, 0.5, 3.0, 500.0])
def test_moments_of_y(c):
    """Var log λ = 2c + c²/3, and nothing odd."""
    assert mean_of(np.ones_like, c) == pytest.approx(1, rel=1e-14)
    assert mean_of(lambda y: y, c) == 0
    assert mean_of(lambda y: (y / edge(c)) ** 2, c) * edge(c) ** 2 == pytest.approx(
        2 * c + c * c / 3, rel=1e-13
    )
