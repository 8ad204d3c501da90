"""Means over pairs of inputs as series and as integrals over kinks."""

import naive
import numpy as np
import pytest
from mpmath import mp, mpf
from test_correlation import CLOSED, GAPS

from isocalc import activation
from isocalc.signal.correlation import (
    CorrelationKinks,
    CorrelationSeries,
    moments_of_pair,
    stable_correlations,
)

Q = np.array([1e-10, 0.02, 0.3, 1.7, 9.0, 30.0])


def means_of(spec, q, degree=1024):
    act = activation(spec)
    return CorrelationKinks(act, q) if act.slopes else CorrelationSeries.of(act, q, degree)


def at(means, gap):
    every = np.arange(Q.size)
    ratio, slope = means.at(every, np.full(Q.size, gap))
    return ratio, slope, means.holds(np.full(Q.size, gap))


@pytest.mark.parametrize("spec", CLOSED)
def test_against_closed_forms(spec):
    means = means_of(spec, Q)
    for gap in GAPS:
        ratio, slope, holds = at(means, gap)
        # Gates of |x| are uncorrelated at c = 0: nothing is left of the difference.
        assert holds[:3].all() or (spec, gap) == ("abs", 1.0)
        for i in np.flatnonzero(holds):
            q = mpf(float(Q[i]))
            with mp.workdps(60):
                (whole, size), (product, gates) = (CLOSED[spec](q, c) for c in (mpf(1), 1 - mpf(gap)))
                exact = (whole - product) / (q * mpf(gap))
            assert ratio[i] == pytest.approx(float(exact), rel=2e-14 if gap > 0.2 else 1e-13), (q, gap)
            assert abs(slope[i] - gates) <= 1e-14 * size, (q, gap)


@pytest.mark.parametrize("spec", ["tanh", "gelu", "softplus", "silu"])
def test_smooth_activations_against_a_product_rule(spec):
    act, means = activation(spec), means_of(spec, Q)
    for gap in (0.98, 0.2):
        ratio, slope, holds = at(means, gap)
        assert holds.all()
        for i in (1, 3, 4):
            product, gates = naive.smooth_pair(act, Q[i], 1 - gap)
            (second, _) = naive.averages(act, Q[i])[1]
            assert abs(ratio[i] * Q[i] * gap - (second - product)) <= 1e-14 * second
            assert slope[i] == pytest.approx(gates, rel=1e-13)


@pytest.mark.parametrize(
    "spec",
    [
        *("hardtanh", "relu6", "softshrink", "hardsigmoid", "hardtanh:-2:9"),
        *("hardshrink", "hardshrink:2", "threshold:-1:10", "threshold:1:2"),
    ],
)
@pytest.mark.parametrize("gap", [0.97, 0.3, 1e-3])
def test_kinks_in_one_dimension(spec, gap):
    act = activation(spec)
    ratio, slope, holds = at(means_of(spec, Q), gap)
    assert holds[3:].all() or (spec, gap) == ("threshold:1:2", 0.97)  # its slope goes through 0 here
    for i in np.flatnonzero(holds & (Q > 0.1)):
        product, gates = naive.piecewise_linear_pair(act, Q[i], 1 - gap)
        (second, _) = naive.averages(act, Q[i])[1]
        assert abs(ratio[i] * Q[i] * gap - float(second - product)) <= 2e-14 * second
        assert slope[i] == pytest.approx(float(gates), rel=2e-13)


@pytest.mark.parametrize(("spec", "degree"), [("tanh", 128), ("erf", 128), ("elu", 384), ("softsign", 1024)])
def test_few_terms_hold_where_they_say_so(spec, degree):
    """A kink at 0, and large q: terms left out fall slowly; the means of a longer series are the same."""
    act = activation(spec)
    few, many = means_of(spec, Q, degree), means_of(spec, Q)
    found, everywhere = 0, at(few, 1e-9)[2]
    for gap in (1.0, 0.6, 0.3, 0.1):
        ratio, slope, holds = at(few, gap)
        best, steepest, trusted = at(many, gap)
        found += (holds & ~everywhere).sum()
        assert ratio[holds & trusted] == pytest.approx(best[holds & trusted], rel=1e-13)
        assert slope[holds & trusted] == pytest.approx(steepest[holds & trusted], rel=1e-13)
    assert found
    assert not at(means_of("softsign", Q), 1e-3)[2][1:].any()
    assert act.odd or act.breakpoints


def test_what_terms_left_out_add_holds_where_it_says_so():
    """It is a difference of sums divided by the gap; the plane's quadrature has no such difference."""
    act, q = activation("elu"), np.linspace(0.5, 9.0, 12)
    means = CorrelationSeries.of(act, q, 16384)
    for gap in (1.6e-3, 2.7e-3, 2.1e-2, 0.1):
        every = np.full(q.size, gap)
        ratio, _ = means.at(np.arange(q.size), every)
        holds = means.holds(every)
        for i in np.flatnonzero(holds):
            assert ratio[i] == pytest.approx(moments_of_pair(act, q[i], gap)[0] / (q[i] * gap), rel=1e-13)
    assert holds.all()


def test_activations_left_to_others():
    """Curves with jumps or with kinks away from 0, oscillations, next to critical networks."""
    one = np.array([1.0])
    for spec in ("where(x > 1, x, tanh(x) + 3)", "hardswish", "sin"):
        assert np.isnan(stable_correlations(activation(spec), one, 2 * one, 1.5 * one)).all()
    assert np.isnan(stable_correlations(activation("tanh"), one, 2 * one, 1 + 1e-10 * one)).all()


@pytest.mark.parametrize("name", ["tanh", "gelu", "softplus"])
def test_series_of_many_variances_are_those_of_one_at_a_time(name):
    act, q = activation(name), np.geomspace(0.6, 3.8, 300)
    chosen, places = np.arange(0, 300, 37), np.arange(0, 300, 37).size
    many = CorrelationSeries.of(act, q, most=128)
    for gap in (0.02, 0.3, 0.9):
        gaps = np.full(places, gap)
        together = many.at(chosen, gaps)
        alone = [CorrelationSeries.of(act, q[[k]], most=128).at(np.zeros(1, int), gaps[:1]) for k in chosen]
        np.testing.assert_allclose(together, np.array(alone)[..., 0].T, rtol=1e-13)
