import zlib

import naive
import numpy as np
import pytest
import reference
from mpmath import mp, mpf

from isocalc.activations.averages import averages, by_octaves, second_moment_and_slope
from isocalc.activations.catalogue import FAMILIES, activation
from isocalc.numerics.quadrature import legendre_rule

SPECS = [name for name in FAMILIES if name != "threshold"] + [
    "leaky_relu:0.2",
    "leaky_relu:-1",
    "softplus:20",
    "softplus:0.01",
    "celu:0.01",
    "celu:5",
    "elu:-2",
    "hardtanh:-100:100",
    "hardtanh:0.5:3",
    "softshrink:3",
    "hardshrink:3",
    "threshold:20:1",
    "threshold:20:0",
    "threshold:-1:0",
    "threshold:0:1",
    "snake:5",
    "snake:0.01",
]
SMOOTH = [spec for spec in SPECS if activation(spec).slopes is None and spec not in {"sin", "squared_relu"}]
SMOOTH = [spec for spec in SMOOTH if not spec.startswith("snake")]
# Off the round numbers, so that no panel is favoured.
Q = np.geomspace(1.37e-12, 0.83e8, 21)
NAMES = ("mean", "second", "gate", "gate_squared", "curvature")
UNDERFLOW = 1e-290


def resolved(act, q):
    """Whether the naive twin's panels resolve the oscillations of sin and snake."""
    return act.closed_averages is None or q < 100 * act.scale**2


@pytest.mark.parametrize("spec", SPECS)
def test_against_many_more_panels(spec):
    act = activation(spec)
    q = np.array([q for q in Q if resolved(act, q)])
    result = averages(act, q)
    for i in range(q.size):
        # A tail beyond z standard deviations is conditioned like z².
        tail = any(abs(point) > 5 * q[i] ** 0.5 for point in act.breakpoints)
        for name, got, (value, size) in zip(NAMES, result, naive.averages(act, q[i]), strict=True):
            assert abs(got[i] - value) <= (2e-13 if tail else 5e-15) * size + UNDERFLOW, (name, q[i])


@pytest.mark.parametrize("spec", SMOOTH)
def test_against_mpmath(spec):
    act = activation(spec)
    q = 10 ** np.random.default_rng(zlib.crc32(spec.encode())).uniform(-12, 8)
    for name, got, (value, size) in zip(NAMES, averages(act, q), naive.exact_averages(act, q), strict=True):
        assert abs(mpf(float(got)) - value) <= 2e-15 * size, (name, q)


def soft_shrink(q):
    cut = mpf(1) / 2
    z = cut / mp.sqrt(q)
    tail, height = mp.erfc(z / mp.sqrt(2)) / 2, mp.npdf(z)
    return 0, 2 * ((q + cut**2) * tail - cut * mp.sqrt(q) * height), 2 * tail, 2 * tail, 4 * q * tail


def hard_tanh(q):
    z = 1 / mp.sqrt(q)
    inside, height = mp.erf(z / mp.sqrt(2)), mp.npdf(z)
    second = q * inside - 2 * mp.sqrt(q) * height + mp.erfc(z / mp.sqrt(2))
    return 0, second, inside, inside, 2 * q * inside - 4 * mp.sqrt(q) * height


CLOSED = {
    "linear": lambda q: (0, q, 1, 1, 2 * q),
    "relu": lambda q: (mp.sqrt(q / (2 * mp.pi)), q / 2, mpf(1) / 2, mpf(1) / 2, q),
    "abs": lambda q: (mp.sqrt(2 * q / mp.pi), q, 1, 1, 2 * q),
    "squared_relu": lambda q: (q / 2, 3 * q**2 / 2, 2 * q, 24 * q**2, 6 * q**2),
    "erf": lambda q: (
        0,
        2 / mp.pi * mp.asin(2 * q / (1 + 2 * q)),
        4 / mp.pi / mp.sqrt(1 + 4 * q),
        16 / mp.pi**2 / mp.sqrt(1 + 8 * q),
        8 * q / mp.pi / ((1 + 2 * q) * mp.sqrt(1 + 4 * q)),
    ),
    "gaussian": lambda q: (
        1 / mp.sqrt(1 + 2 * q),
        1 / mp.sqrt(1 + 4 * q),
        4 * q / mp.sqrt(1 + 4 * q) ** 3,
        48 * q**2 / mp.sqrt(1 + 8 * q) ** 5,
        -4 * q / mp.sqrt(1 + 4 * q) ** 3,
    ),
    "hardtanh": hard_tanh,
    "softshrink": soft_shrink,
}


@pytest.mark.parametrize("spec", CLOSED)
def test_against_closed_forms(spec):
    act = activation(spec)
    q = np.geomspace(1e-12, 1e8, 161)
    result = averages(act, q)
    with mp.workdps(40):
        for i in range(q.size):
            mean, second, gate, fourth, curvature = CLOSED[spec](mpf(float(q[i])))
            # E|f| of the mean and of the curvature, or less.
            sizes = max(mean, mp.sqrt(second) / 4), second, gate, fourth, max(second, abs(curvature))
            for name, got, value, size in zip(
                NAMES, result, (mean, second, gate, fourth, curvature), sizes, strict=True
            ):
                assert abs(mpf(float(got[i])) - value) <= 5e-13 * size + UNDERFLOW, (name, q[i])


@pytest.mark.parametrize("q", [3.2e-3, 4.9e-3, 2.4e-3, 1.2e-3, 2e-4])
def test_kinks_far_out_on_the_tail(q):
    with mp.workdps(40):
        exact = soft_shrink(mpf(q))
    result = averages(activation("softshrink"), q)
    # The tail beyond z standard deviations is conditioned like z².
    for got, value in zip(result[1:], exact[1:], strict=True):
        assert float(got) == pytest.approx(float(value), rel=4e-16 * 0.25 / q + 4e-15, abs=0)


@pytest.mark.parametrize("row", reference.rows("gauss_moments"), ids=lambda row: str(row["activation"]))
def test_reference_values(row):
    result = averages(activation(row["activation"]), row["q"])
    assert float(result.mean) == pytest.approx(
        row["mean_phi"], rel=1e-14, abs=1e-15 * row["mean_phi2"] ** 0.5
    )
    assert float(result.second) == pytest.approx(row["mean_phi2"], rel=2e-15)
    assert float(result.gate) == pytest.approx(row["mean_dphi2"], rel=2e-15)


@pytest.mark.parametrize("spec", SPECS)
def test_zero_variance_is_the_limit(spec):
    act = activation(spec)
    at_zero, near = averages(act, 0.0), averages(act, 1e-34)
    for name, limit, value in zip(NAMES, at_zero, near, strict=True):
        assert float(limit) == pytest.approx(float(value), rel=1e-12, abs=1e-12), name


@pytest.mark.parametrize("spec", ["tanh", "relu", "sin", "hardtanh", "softshrink"])
def test_shapes_and_company_do_not_matter(spec):
    act = activation(spec)
    q = np.geomspace(1e-12, 1e8, 24).reshape(2, 3, 4)
    whole = averages(act, q)
    assert averages(act, np.empty((0, 2))).mean.shape == (0, 2)
    for name, average in zip(NAMES, whole, strict=True):
        assert average.shape == (2, 3, 4)
        alone = [float(getattr(averages(act, value), name)) for value in q.ravel()]
        size = np.abs(alone)
        if name in {"mean", "curvature"}:
            size = np.maximum(size, whole.second.ravel() ** (0.5 if name == "mean" else 1.0))
        assert np.all(np.abs(average.ravel() - alone) <= 2e-13 * size + UNDERFLOW), name


@pytest.mark.parametrize("spec", SPECS)
def test_slope_of_the_second_moment(spec):
    act = activation(spec)
    q = np.geomspace(1e-12, 1e8, 41)
    result = averages(act, q)
    second, slope = second_moment_and_slope(act, q)
    assert second == pytest.approx(result.second, rel=1e-12, abs=UNDERFLOW)
    # In the tail z² − 1 makes the curvature larger than E φ².
    size = np.maximum(second, np.abs(result.curvature)) / q
    assert np.all(np.abs(slope - result.curvature / (2 * q)) <= 1e-12 * size + UNDERFLOW)


def test_slope_keeps_its_digits_where_the_variance_is_tiny():
    """For erf it is 4/π / ((1 + 2q) √(1 + 4q)); E φ² (z² − 1) / 2q would do as well only for large q."""
    q = np.geomspace(1e-14, 1e4, 19)
    _, slope = second_moment_and_slope(activation("erf"), q)
    assert slope == pytest.approx(4 / np.pi / ((1 + 2 * q) * np.sqrt(1 + 4 * q)), rel=4e-15)


@pytest.mark.parametrize("count", [4, 16])
def test_legendre_rule(count):
    for ours, numpys in zip(legendre_rule(count), np.polynomial.legendre.leggauss(count), strict=True):
        assert ours == pytest.approx(numpys, rel=1e-14, abs=1e-16)


@pytest.mark.parametrize("spec", ["tanh", "gelu", "hardtanh", "softshrink", "sin", "tanh(10*x)"])
def test_many_variances_are_interpolated(spec):
    """Between nodes the averages are those taken directly; so they are where one vanishes."""
    act = activation(spec)
    q = np.exp(np.random.default_rng(5).uniform(-3, 4, 1500))
    asked = []

    def both(q):
        asked.append(q.size)
        found = averages(act, q)
        return np.column_stack((found.second, found.gate))

    interpolated = by_octaves(both, q)
    assert sum(asked) < 1500 + 400
    second, gate, *_ = averages(act, q)[1:]
    assert interpolated == pytest.approx(np.column_stack((second, gate)), rel=5e-15, abs=0)
