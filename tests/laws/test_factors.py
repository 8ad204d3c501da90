import math
from itertools import pairwise

import numpy as np
import pytest
from mpmath import mp
from scipy import integrate

from isocalc.activations.catalogue import activation
from isocalc.laws.free.factors import ClosedForm, Place, Tangent
from isocalc.laws.free.layer_factors import Layer, ResidualLayer, Rotation
from isocalc.laws.gates.nodes import gate_rule

M = np.array([-0.3 - 0.2j, -0.6 - 1e-3j, 1.5 - 4j, -0.999 - 1e-4j, -0.2 - 30j, -1e-4 - 1e-5j])


def gate(spec, q=1.0):
    return gate_rule(activation(spec), q)


FACTORS = {
    "gaussian": Layer(gate("tanh", 0.5), orthogonal=False),
    "orthogonal": Layer(gate("gelu", 0.8), orthogonal=True),
    "narrowing": Layer(gate("relu"), orthogonal=True, share=1.5, growth=0.6),
    "widening": Layer(gate("tanh", 2.0), orthogonal=True, share=0.5, growth=1.9),
    "gaussian, narrowing": Layer(gate("leaky_relu:0.3"), orthogonal=False, share=1.5, growth=0.6),
    "residual gaussian": ResidualLayer(gate("tanh", 1.5), orthogonal=False, variance=0.4),
    "residual orthogonal": ResidualLayer(gate("relu"), orthogonal=True, variance=2.5),
    "residual barely": ResidualLayer(gate("erf", 0.3), orthogonal=False, variance=1e-6),
    "two gaussian": ResidualLayer(gate("tanh", 1.5), orthogonal=False, variance=0.4, hidden=4.0),
    "two gaussian, narrow": ResidualLayer(gate("relu"), orthogonal=False, variance=3.0, hidden=0.3),
    "two orthogonal": ResidualLayer(gate("gelu"), orthogonal=True, variance=1.4, hidden=2.5),
    "universal": ClosedForm("universal", 0.7),
    "smooth": ClosedForm("smooth", 0.7),
    "bernoulli": ClosedForm("bernoulli", 0.7),
    "rotation": Rotation(0.3),
    "rotation by 1": Rotation(1.0),
}
each_factor = pytest.mark.parametrize("factor", FACTORS.values(), ids=FACTORS)


def zeta_of(m):
    return np.log(1 + m) - np.log(m)


def at(factor, zeta):
    return Place.of(zeta, factor.mass_at_zero)


def start(factor, log_m):
    return factor.side_by_side([factor]).start(log_m)[:, 0]


def tangent_at(factor, u, place):
    """The one factor linearised, without the axis of factors."""
    log_s, rate, drift, direction, _ = factor.side_by_side([factor]).tangent(u[:, None], place)
    return Tangent(log_s[0], rate[0], drift[:, 0], direction[:, 0])


def potential(factor, u, zeta):
    return factor.side_by_side([factor]).potential(u[:, None], zeta)[0]


def solved(factor):
    """ζ and the unknowns at some log z in the strip, by Newton from far right in small steps."""
    width = min(1.0, math.sqrt(math.log1p(factor.relative_variance)))
    aim = factor.log_mean + width * np.array([-0.7, -0.3, 0.0, 0.5]) + 1j * np.array([0.3, 2.0, 0.1, 1.0])
    zeta = np.full(aim.size, 25 + 0.5j * np.pi)
    log_m = np.log(at(factor, zeta).m)
    begin, u = factor.log_mean - log_m, start(factor, log_m)
    for share in 1 - np.append(np.geomspace(1, 1e-3, 400), [0, 0, 0]):
        place = at(factor, zeta)
        tangent, (base, slope) = tangent_at(factor, u, place), place.seen_with(0.0)
        change = (begin + share * (aim - begin) - base + tangent.log_s) / (slope - tangent.rate)
        zeta, u = zeta + change, u + tangent.drift + tangent.direction * change
    for _ in range(2):
        u = u + tangent_at(factor, u, at(factor, zeta)).drift
    return zeta, u


def s_transform(factor, u, m):
    """S at m, which u has to stand for."""
    w = factor.mass_at_zero
    tangent = tangent_at(factor, u, at(factor, np.atleast_1d(np.log(1 + m - w) - np.log(m))))
    assert (np.abs(tangent.drift) < 1e-10).all()
    return np.exp(tangent.log_s)


@pytest.mark.parametrize(
    ("spec", "open_gates"), [("linear", 1.0), ("relu", 0.5), ("hardtanh", math.erf(math.sqrt(0.5)))]
)
@pytest.mark.parametrize(
    ("orthogonal", "share", "growth"),
    [(False, 1, 1), (True, 1, 1), (False, 1.5, 0.6), (True, 1.5, 0.6), (True, 0.7, 1.9), (False, 0.7, 1.9)],
)
def test_layers_whose_gates_are_open_or_closed(spec, open_gates, orthogonal, share, growth):
    layer = Layer(gate(spec), orthogonal, share, growth)
    inner = share * M
    s = s_transform(layer, np.log(inner / (open_gates + inner))[None], M)
    expected = (1 + inner) / (open_gates + inner)
    if not orthogonal:
        expected = expected / (1 + inner)
    else:
        rank, before = min(1, growth), share * growth * M
        expected = expected * (1 + before) / (rank + before) * rank
    assert s == pytest.approx(expected, rel=1e-11)


@pytest.mark.parametrize("orthogonal", [False, True])
@pytest.mark.parametrize(("spec", "open_gates"), [("linear", 1.0), ("relu", 0.5)])
@pytest.mark.parametrize("variance", [1e-5, 0.3, 4.0])
def test_residual_layers_are_free_sums(spec, open_gates, variance, orthogonal):
    layer = ResidualLayer(gate(spec), orthogonal, variance)
    zeta, u = solved(layer)
    m = 1 / np.expm1(zeta)
    m_a, t = 1 / np.expm1(u[1]), np.exp(u[0])
    m_x = open_gates * t / (1 - t)
    s_x = (1 + m_x) / (open_gates + m_x) / (variance * (1 if orthogonal else 1 + m_x))
    square = m_a * (1 + m_a)
    assert m_a + m_x == pytest.approx(m, rel=1e-10)
    assert m_x * (1 + m_x) * s_x == pytest.approx(square, rel=1e-10)
    s = np.exp(tangent_at(layer, u, at(layer, zeta)).log_s)
    assert s == pytest.approx(square / (m * (1 + m)), rel=1e-10)


@pytest.mark.parametrize("variance", [1e-5, 0.3, 4.0])
def test_linear_residual_layer_with_gaussian_weights_in_closed_form(variance):
    layer = ResidualLayer(gate("linear"), orthogonal=False, variance=variance)
    zeta, u = solved(layer)
    m = 1 / np.expm1(zeta)
    # m = m_a + v m_a (1 + m_a)
    m_a = 2 * m / (1 + variance + np.sqrt((1 + variance) ** 2 + 4 * variance * m))
    s = np.exp(tangent_at(layer, u, at(layer, zeta)).log_s)
    assert s == pytest.approx(m_a * (1 + m_a) / (m * (1 + m)), rel=1e-10)


def test_closed_forms_are_those_of_theory():
    c = 0.7
    expected = {
        "universal": np.exp(-c * (1 + 2 * M)),
        "smooth": np.exp(-c * M),
        "bernoulli": np.exp(-c * M / (1 + M)),
    }
    for kind, s in expected.items():
        found = s_transform(ClosedForm(kind, c), zeta_of(M)[None], M)
        assert found == pytest.approx(s, rel=1e-12), kind


@pytest.mark.parametrize("variance", [0.3, 1.0, 4.0])
def test_one_plus_a_rotation(variance):
    for z in (1 + 1j, 0.3 + 2j, 5 + 0.1j):

        def average(angle, z=z):
            value = abs(1 + math.sqrt(variance) * mp.expj(angle)) ** 2
            return value / (z - value) / mp.pi

        m = complex(mp.quad(average, mp.linspace(0, mp.pi, 17)))
        s = s_transform(Rotation(variance), np.array([[np.log(z)]]), m)
        assert s == pytest.approx((1 + m) / (m * z), rel=1e-11)


@each_factor
def test_unknowns_that_solve_do_not_drift(factor):
    zeta, u = solved(factor)
    tangent = tangent_at(factor, u, at(factor, zeta))
    size = np.maximum(1, np.abs(tangent.direction)) * 1e-13
    assert (np.abs(tangent.drift) < size).all()


@each_factor
def test_tangents_are_derivatives(factor):
    (zeta, u), h = solved(factor), 1e-5
    tangent, sides = tangent_at(factor, u, at(factor, zeta)), []
    for shift in (h, -h):
        there = u + tangent.direction * shift
        for _ in range(4):
            there = there + tangent_at(factor, there, at(factor, zeta + shift)).drift
        sides.append(
            (
                there,
                tangent_at(factor, there, at(factor, zeta + shift)).log_s,
                potential(factor, there, at(factor, zeta + shift).seen_with(0.0)[0]),
            )
        )
    slope = [(above - below) / (2 * h) for above, below in zip(*sides, strict=True)]
    assert slope[0] == pytest.approx(tangent.direction, rel=1e-6, abs=1e-9)
    assert slope[1] == pytest.approx(tangent.rate, rel=1e-6, abs=1e-9)
    # The potential is the integral of m d log S.
    assert slope[2] == pytest.approx(tangent.rate * at(factor, zeta).m, rel=1e-6, abs=1e-8)


@each_factor
def test_newton_off_a_solution_is_first_order(factor):
    (zeta, u), h = solved(factor), 1e-5
    exact = tangent_at(factor, u, at(factor, zeta))
    shifted = u * (1 + 1e-6)
    tangent = tangent_at(factor, shifted, at(factor, zeta))
    moved = shifted + tangent.drift + tangent.direction * h
    assert moved == pytest.approx(u + exact.direction * h, rel=1e-7, abs=1e-8)
    assert tangent.log_s + tangent.rate * h == pytest.approx(exact.log_s + exact.rate * h, abs=1e-7)


@each_factor
def test_log_mean_and_relative_variance_are_the_series_of_log_s(factor):
    # m is imaginary here, so that real parts are even in it.
    zeta = np.array([10 + 0.5j * np.pi])
    m = at(factor, zeta).m
    u = start(factor, np.log(m))
    for _ in range(8):
        u = u + tangent_at(factor, u, at(factor, zeta)).drift
    tangent = tangent_at(factor, u, at(factor, zeta))
    assert -tangent.log_s.real == pytest.approx(factor.log_mean, abs=1e-7)
    assert (tangent.rate / (m * (1 + m / (1 - factor.mass_at_zero)))).real == pytest.approx(
        factor.relative_variance, rel=1e-6, abs=1e-11
    )
    assert abs(potential(factor, u, np.log1p(1 / m))[0]) < 1e-7


def normal_mean(function):
    ends = [-12, -4, -1, 0, 1, 4, 12]
    return sum(
        integrate.quad(lambda z: function(z) * math.exp(-z * z / 2), *piece, epsabs=1e-13)[0]
        for piece in pairwise(ends)
    ) / math.sqrt(2 * math.pi)


@pytest.mark.parametrize("orthogonal", [False, True])
def test_mean_log_of_layers(orthogonal):
    tanh = normal_mean(lambda z: -4 * math.log(math.cosh(math.sqrt(0.5) * z)))
    weights = 0.0 if orthogonal else -1.0  # E log of Marchenko and Pastur's law
    assert Layer(gate("tanh", 0.5), orthogonal).mean_log == pytest.approx(tanh + weights, rel=1e-11)
    leaky = Layer(gate("leaky_relu:0.3"), orthogonal).mean_log
    assert leaky == pytest.approx(math.log(0.3) + weights, rel=1e-13)
    assert Layer(gate("relu"), orthogonal).mean_log == -math.inf
    assert Layer(gate("tanh", 0.5), orthogonal, share=0.8).mean_log is None


@pytest.mark.parametrize("variance", [0.3, 1.0, 1.7, 40.0])
def test_mean_log_of_linear_residual_layers(variance):
    log_v = max(0.0, math.log(variance))
    # Eigenvalues of X fill a disc uniformly, or a circle.
    disc = log_v - 1 + 1 / max(1.0, variance)
    gaussian, orthogonal = (ResidualLayer(gate("linear"), kind, variance).mean_log for kind in (False, True))
    assert gaussian == pytest.approx(disc, rel=1e-12, abs=1e-14)
    assert orthogonal == pytest.approx(log_v, rel=1e-12, abs=1e-14)


@pytest.mark.parametrize("kind", ["universal", "smooth", "bernoulli"])
def test_mean_log_of_closed_forms_is_the_integral_of_log_s(kind):
    c = 0.7
    log_s = {
        "universal": lambda m: -c * (1 + 2 * m),
        "smooth": lambda m: -c * m,
    }
    mean_log = ClosedForm(kind, c).mean_log
    if kind == "bernoulli":
        assert mean_log == -math.inf
    else:
        assert mean_log == pytest.approx(-integrate.quad(log_s[kind], -1, 0)[0], abs=1e-9)


def test_masses_at_zero_are_what_rank_leaves():
    for orthogonal in (False, True):
        for share, growth in ((1, 1), (2, 0.5), (0.25, 2), (0.5, 0.8), (1, 2), (3, 0.9), (1.5, 4.0)):
            n0 = 1.0
            after, before = n0 / share, n0 / (share * growth)
            for spec, open_gates in (("relu", 0.5), ("tanh", 1.0)):
                layer = Layer(gate(spec), orthogonal, share, growth)
                rank = min(n0, before, after * open_gates)
                assert layer.mass_at_zero == pytest.approx(1 - rank, abs=1e-14)
        assert ResidualLayer(gate("relu"), orthogonal, 1.0).mass_at_zero == 0
    assert ClosedForm("bernoulli", 0.7).mass_at_zero == 0


def test_point_masses():
    open_gates = math.erf(math.sqrt(0.5))
    ((place, mass),) = Layer(gate("hardtanh"), orthogonal=True).point_masses
    assert (place, mass) == (0, pytest.approx(open_gates, rel=1e-14))
    assert Layer(gate("hardtanh"), orthogonal=False).point_masses == ()
    # Twice as many gates as inputs: each that is closed takes one dimension from half of them.
    ((place, mass),) = Layer(gate("hardtanh"), orthogonal=True, share=0.5).point_masses
    assert (place, mass) == (0, pytest.approx(1 - 2 * (1 - open_gates), rel=1e-13))
    leaky = Layer(gate("leaky_relu:0.5"), orthogonal=True).point_masses
    assert leaky == ((pytest.approx(math.log(0.25)), 0.5), (0, 0.5))
    closed = 1 - math.erf(2 / math.sqrt(2))
    assert 2 * (1 - closed) > 1
    ((place, mass),) = ResidualLayer(gate("hardshrink:2"), orthogonal=True, variance=1.0).point_masses
    assert (place, mass) == (0, pytest.approx(1 - 2 * closed, rel=1e-13))
    ((_, none),) = ResidualLayer(gate("relu"), orthogonal=True, variance=1.0).point_masses
    assert none == 0
    ((place, mass),) = ClosedForm("bernoulli", 0.7).point_masses
    assert (place, mass) == (0.7, pytest.approx(0.3))


def test_ends_of_factors():
    assert Layer(gate("squared_relu"), orthogonal=True).is_unbounded
    assert ResidualLayer(gate("squared_relu"), orthogonal=False, variance=1.0).is_unbounded
    assert not Layer(gate("tanh"), orthogonal=True).is_unbounded
    assert Layer(gate("softplus"), orthogonal=True).last_real == 0  # −log of the largest d, 1
    assert Layer(gate("relu"), orthogonal=True).last_real == math.inf
    assert not Layer(gate("linear"), orthogonal=False).reaches_zero
    assert not Layer(gate("linear"), orthogonal=False).keeps_rank
    assert Layer(gate("leaky_relu:0.3"), orthogonal=True).keeps_rank
    assert not Layer(gate("relu"), orthogonal=True).keeps_rank
    assert Layer(gate("relu"), orthogonal=True, share=0.4, growth=2.5).rank == 1.25
    assert not Layer(gate("leaky_relu:0.3"), orthogonal=True).reaches_zero
    assert Layer(gate("tanh"), orthogonal=True).reaches_zero


def test_residual_layers_reach_zero_where_minus_one_is_an_eigenvalue():
    def reaches(spec, variance, *, orthogonal):
        return ResidualLayer(gate(spec), orthogonal, variance).reaches_zero

    assert not reaches("linear", 0.99, orthogonal=False)
    assert reaches("linear", 1.01, orthogonal=False)
    assert not reaches("relu", 1.9, orthogonal=False)
    assert reaches("relu", 2.1, orthogonal=False)
    # Orthogonal: the ring from 1/√(E 1/x²) to √(E x²).
    mean, mean_inverse = (1 + 0.25) / 2, (1 + 4) / 2
    assert not reaches("leaky_relu:0.5", 0.99 / mean, orthogonal=True)
    assert reaches("leaky_relu:0.5", 1.01 / mean, orthogonal=True)
    assert reaches("leaky_relu:0.5", 0.99 * mean_inverse, orthogonal=True)
    assert not reaches("leaky_relu:0.5", 1.01 * mean_inverse, orthogonal=True)
