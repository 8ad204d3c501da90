import math
from itertools import pairwise

import naive
import numpy as np
import pytest
import reference
from scipy import integrate, special

from isocalc import FeedForward, ResNet, propagate, spectrum
from isocalc.errors import NoAnswerError
from isocalc.laws.free.factors import ClosedForm
from isocalc.laws.free.network_factors import layers
from isocalc.laws.free.product import FreeProduct

HE = math.sqrt(2)
WEIGHTS = {"gauss": "gaussian", "haar": "orthogonal"}
FIELDS = ("activation", "weights", "depth", "singular_value")


def layered(net, variable="singular"):
    return spectrum(net, variable, law="layered")


@pytest.mark.parametrize(
    "row",
    [*reference.rows("feedforward"), *reference.rows("resnet_finite_depth")],
    ids=lambda row: "-".join(
        f"{row[field]:.3g}" if field == "singular_value" else str(row[field]) for field in FIELDS
    ),
)
def test_reference_values(row):
    options = {"depth": int(row["depth"]), "weights": WEIGHTS[row["weights"]]}
    options |= {"sigma_w": row["sigma_w"], "sigma_b": row["sigma_b"]}
    if row["architecture"] == "feedforward":
        net = FeedForward(row["activation"], **options)
    else:
        net = ResNet(row["activation"], **options, input_variance=row["input_variance"])
    rel = 3e-12 if row["depth"] > 100 else 5e-13
    assert layered(net).pdf(row["singular_value"]) == pytest.approx(row["density"], rel=rel)


# --- Closed forms ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [1, 2, 5, 60, 1000])
def test_linear_gaussian_networks_are_fuss_catalan(depth):
    law = layered(FeedForward("linear", depth=depth), "log")
    f = np.array([0.02, 0.3, 0.6, 0.9]) * math.pi / (depth + 1)
    top, low, middle = (np.log(np.sin(k * f)) for k in (depth + 1, 1, depth))
    log_lambda = (depth + 1) * top - low - depth * middle
    log_density = 2 * low + (depth - 1) * middle - math.log(math.pi) - depth * top
    expected = 2 * np.exp(log_density + log_lambda)  # of log s
    assert law.pdf(log_lambda / 2) == pytest.approx(expected, rel=1e-14 * (10 + depth))
    ((low_end, high),) = law.support()
    edge = ((depth + 1) * math.log(depth + 1) - depth * math.log(depth)) / 2
    assert (low_end, high) == (-math.inf, pytest.approx(edge, rel=1e-13))


@pytest.mark.parametrize("spec", ["linear", "leaky_relu:0.3"])
@pytest.mark.parametrize("weights", ["gaussian", "orthogonal"])
def test_next_to_vast_weights_a_skip_connection_is_nothing(spec, weights):
    blocks = layered(ResNet(spec, depth=3, sigma_w=1e100, skip=0.5, weights=weights), "log")
    without = layered(FeedForward(spec, depth=3, sigma_w=1e100 / math.sqrt(3), weights=weights), "log")
    u = np.array([0.01, 0.3, 0.9])
    assert blocks.ppf(u) == pytest.approx(without.ppf(u), rel=1e-14)
    assert blocks.mean() == pytest.approx(without.mean(), rel=1e-14)
    assert blocks.pdf(blocks.ppf(u)) == pytest.approx(without.pdf(without.ppf(u)), rel=1e-9)


def test_quarter_circle():
    law, s = layered(FeedForward("linear", depth=1)), np.linspace(0.01, 1.99, 30)
    assert law.pdf(s) == pytest.approx(np.sqrt(4 - s * s) / math.pi, rel=1e-12)
    cdf = (s * np.sqrt(4 - s * s) / 2 + 2 * np.arcsin(s / 2)) / math.pi
    assert law.cdf(s) == pytest.approx(cdf, abs=1e-13)
    assert law.support() == ((0.0, pytest.approx(2, rel=1e-14)),)


@pytest.mark.parametrize("widths", [(100, 250), (250, 100), (1000, 999)])
def test_one_rectangular_layer_is_marchenko_pastur(widths):
    law = layered(FeedForward("linear", depth=1, layer_widths=widths), "lambda")
    ratio = widths[1] / widths[0]
    a, b = (1 - math.sqrt(ratio)) ** 2, (1 + math.sqrt(ratio)) ** 2
    x = a + (b - a) * np.array([0.01, 0.3, 0.7, 0.99])
    assert law.pdf(x) == pytest.approx(np.sqrt((b - x) * (x - a)) / (2 * math.pi * x), rel=1e-11)
    # Of a narrow gap above 0 a double's 1e-16 is much.
    assert law.support() == (
        (pytest.approx(a, rel=1e-9 if a < 1e-3 else 1e-12), pytest.approx(b, rel=1e-13)),
    )
    if ratio < 1:
        assert law.atoms == ((0.0, pytest.approx(1 - ratio, rel=1e-12)),)
    else:
        assert law.atoms == ()


@pytest.mark.parametrize("sigma_w", [0.5, 1.0, 2.0])
def test_one_plus_a_rotation_is_an_arcsine_law(sigma_w):
    law = layered(ResNet("linear", depth=1, weights="orthogonal", sigma_w=sigma_w), "lambda")
    a, b = (1 - sigma_w) ** 2, (1 + sigma_w) ** 2
    x = a + (b - a) * np.array([0.01, 0.3, 0.7, 0.99])
    assert law.pdf(x) == pytest.approx(1 / (math.pi * np.sqrt((x - a) * (b - x))), rel=1e-11)
    assert law.cdf(x) == pytest.approx(2 / math.pi * np.arcsin(np.sqrt((x - a) / (b - a))), abs=1e-11)
    assert law.support() == ((pytest.approx(a, rel=1e-12, abs=1e-15), pytest.approx(b, rel=1e-12)),)


def test_one_orthogonal_layer_is_its_gate():
    # s = σ_w erf'(x) = σ_w (2/√π) e^{−x²}; x² of variance q*.
    net = FeedForward("erf", depth=1, weights="orthogonal", sigma_w=1.5, sigma_b=0.2)
    law, top = layered(net), 1.5 * 2 / math.sqrt(math.pi)
    q = float(propagate(net).q[0])
    s = top * np.array([1e-3, 0.1, 0.5, 0.9, 0.999])
    below = special.erfc(np.sqrt(np.log(top / s)) / math.sqrt(2 * q))
    assert law.cdf(s) == pytest.approx(below, abs=1e-12)
    x = np.sqrt(np.log(top / s))
    density = 2 * np.exp(-x * x / (2 * q)) / math.sqrt(2 * math.pi * q) / (2 * x * s)
    assert law.pdf(s) == pytest.approx(density, rel=1e-9)
    assert law.edge_upper == pytest.approx(top, rel=1e-13)


@pytest.mark.parametrize("sigma_w", [0.3, 0.9, 1.0])
def test_edges_of_one_linear_residual_layer(sigma_w):
    # z = (1 + m_a)(1 + v m_a)²/m_a turns back where 2v m_a² + v m_a = 1.
    law, v = layered(ResNet("linear", depth=1, sigma_w=sigma_w), "lambda"), sigma_w**2
    m_a = (-v + np.array([-1, 1]) * math.sqrt(v * v + 8 * v)) / (4 * v)
    edges = (1 + m_a) * (1 + v * m_a) ** 2 / m_a
    ((low, high),) = law.support()
    assert high == pytest.approx(edges[1], rel=1e-12)
    assert low == pytest.approx(edges[0], rel=1e-11, abs=1e-14)


# --- Limits ------------------------------------------------------------------------------------------------


def distance(one, other, low, high):
    s = np.linspace(low, high, 60)
    return float(np.abs(one.cdf(s) - other.cdf(s)).max())


@pytest.mark.parametrize("weights", ["gaussian", "orthogonal"])
@pytest.mark.parametrize("activation", ["linear", "relu"])
def test_residual_networks_tend_to_the_universal_law_at_rate_one_over_depth(activation, weights):
    distances = []
    for depth in (100, 200, 400):
        net = ResNet(activation, depth=depth, weights=weights)
        distances.append(distance(layered(net), spectrum(net), 0.2, 4))
    assert distances[0] < 0.004
    for far, near in pairwise(distances):
        assert far / near == pytest.approx(2, rel=0.03)


@pytest.mark.parametrize(("kind", "activation"), [("bernoulli", "hardtanh"), ("smooth", "tanh")])
def test_critical_orthogonal_networks_tend_to_their_limit(kind, activation):
    c, distances = 0.5, []
    limit = FreeProduct([ClosedForm(kind, c)], [1.0])
    for depth in (200, 400, 800):
        if kind == "bernoulli":  # σ_0² = L (1 − p)/p
            q = 1 / (math.sqrt(2) * special.erfinv(1 / (1 + c / depth))) ** 2
        else:  # relative variance of tanh'² next to 0 is 2 q² times 2 L
            q = math.sqrt(c / depth / 2)
            for _ in range(50):
                d, weights = naive.normal_gates(lambda x: np.cosh(x) ** -2.0, q)
                spread = (weights * d * d).sum() / (weights * d).sum() ** 2 - 1
                q *= math.sqrt(c / depth / spread)
        # The first layer sees q; σ_w and σ_b keep it there.
        phi = {"hardtanh": lambda x: np.clip(x, -1, 1), "tanh": np.tanh}[activation]
        z = np.linspace(-9, 9, 20001)
        normal = np.exp(-z * z / 2) / np.exp(-z * z / 2).sum()
        second = float((phi(math.sqrt(q) * z) ** 2 * normal).sum())
        sigma_w = 0.9
        net = FeedForward(
            activation,
            depth=depth,
            weights="orthogonal",
            sigma_w=sigma_w,
            sigma_b=math.sqrt(q - sigma_w**2 * second),
        )
        assert propagate(net).q[-1] == pytest.approx(q, rel=1e-5)
        law = layered(net, "log")
        y = np.linspace(-1.5, 0.45, 40)
        log_mean = law.using("lambda").moment(1)
        ours = law.cdf(y / 2 + math.log(log_mean) / 2)
        distances.append(float(np.abs(ours - (1 - limit.density_and_survival(y)[1])).max()))
    assert distances[-1] < 0.03
    # Ever closer; faster where no scale of the point mass is off.
    assert distances[0] > 1.8 * distances[2]


# --- Atoms, gaps, ends -------------------------------------------------------------------------------------


def test_atoms_of_hard_tanh():
    net = FeedForward(
        "hardtanh", depth=3, weights="orthogonal", sigma_w=math.sqrt(1.2), sigma_b=math.sqrt(0.1)
    )
    (at_zero, top) = layered(net).atoms
    closed = special.erfc(1 / math.sqrt(2 * float(propagate(net).q[0])))
    assert propagate(net).q[0] == pytest.approx(0.58609, abs=1e-5)
    assert at_zero == (0.0, pytest.approx(closed, rel=1e-12))
    assert top == (pytest.approx(1.2**1.5, rel=1e-13), pytest.approx(1 - 3 * closed, rel=1e-12))
    assert top[1] == pytest.approx(0.4256, abs=5e-5)


@pytest.mark.parametrize("weights", ["gaussian", "orthogonal"])
def test_atoms_of_a_rectangular_chain(weights):
    net = FeedForward("relu", depth=2, weights=weights, sigma_w=HE, layer_widths=(800, 400, 800))
    law = layered(net)
    assert law.atoms[0] == (0.0, pytest.approx(1 - 400 * 0.5 / 800, rel=1e-14))
    assert law.cdf(law.edge_upper) == pytest.approx(1, abs=1e-12)
    assert law.cdf(0.0) == pytest.approx(0.75, abs=1e-11)


def test_pure_atoms():
    law = layered(FeedForward("linear", depth=4, weights="orthogonal", sigma_w=1.5))
    assert law.atoms == ((pytest.approx(1.5**4), 1.0),)
    assert law.support() == ()
    gone = layered(FeedForward("tanh", depth=2, sigma_w=0.0))
    assert gone.atoms == ((0.0, 1.0),)


def test_one_orthogonal_layer_of_two_slopes_is_two_atoms():
    law = layered(FeedForward("leaky_relu:0.5", depth=1, weights="orthogonal"))
    assert law.atoms == ((pytest.approx(0.5), 0.5), (pytest.approx(1.0), 0.5))


def test_two_orthogonal_layers_of_two_slopes():
    law = layered(FeedForward("leaky_relu:0.2", depth=2, weights="orthogonal"), "lambda")
    intervals = law.support()
    for low, high in intervals:
        assert 0.2**4 * (1 - 1e-12) <= low < high <= 1 + 1e-12
    # An end that is off by rounding misses the root of it in mass.
    masses = [law.cdf(high) - law.cdf(low) for low, high in intervals]
    assert sum(masses) + sum(mass for _, mass in law.atoms) == pytest.approx(1, abs=1e-6)


def test_gaps_carry_no_density():
    for net in (
        ResNet("leaky_relu:0.05", depth=1, weights="orthogonal", sigma_w=0.4),
        FeedForward("hardtanh", depth=2, weights="orthogonal", sigma_w=1.1, sigma_b=0.3),
    ):
        law = layered(net, "lambda")
        intervals = law.support()
        for (_, end), (start, _) in pairwise(intervals):
            inside = np.linspace(end, start, 12)[1:-1]
            assert (law.pdf(inside) == 0).all()
            assert np.ptp(law.cdf(inside)) < 1e-10 + sum(mass for at, mass in law.atoms if end < at < start)


def test_gates_without_bound_have_no_largest_singular_value():
    law = layered(FeedForward("squared_relu", depth=2, sigma_w=0.7, input_variance=1.0))
    assert law.edge_upper == math.inf
    assert law.support()[-1][1] == math.inf
    assert law.atoms == ((0.0, pytest.approx(0.5)),)
    assert law.pdf(2.0) > 0


# --- The law as a whole ------------------------------------------------------------------------------------

WHOLE = {
    "gaussian tanh": FeedForward("tanh", depth=4, sigma_w=1.3, sigma_b=0.2),
    "orthogonal gelu": FeedForward("gelu", depth=3, weights="orthogonal", sigma_w=1.3, sigma_b=0.3),
    "relu chain": FeedForward("relu", depth=3, sigma_w=HE, layer_widths=(100, 150, 70, 80)),
    "residual": ResNet("tanh", depth=6, sigma_w=1.5, sigma_b=0.2, skip=0.9),
    "residual orthogonal": ResNet("relu", depth=3, weights="orthogonal"),
    "leaky": FeedForward("leaky_relu:0.4", depth=5, weights="orthogonal"),
    "preln": ResNet("gelu", depth=3, block="preln", sigma_w2=1.3, hidden_ratio=0.7),
    "preln orthogonal": ResNet("tanh", depth=4, block="preln", weights="orthogonal", sigma_w2=1.5, skip=0.9),
}
each_network = pytest.mark.parametrize("net", WHOLE.values(), ids=WHOLE)


@each_network
def test_quantiles_invert_the_distribution(net):
    law = layered(net)
    u = np.linspace(0.02, 0.98, 13)
    s = law.ppf(u)
    assert (np.diff(s) >= 0).all()
    continuous = law.pdf(s) > 0
    assert law.cdf(s)[continuous] == pytest.approx(u[continuous], abs=1e-12)
    assert (law.cdf(s) >= u - 1e-12).all()
    again = law.ppf(law.cdf(s[continuous]))
    assert again == pytest.approx(s[continuous], rel=1e-9)


@each_network
def test_moments_by_additivity_are_integrals(net):
    law = layered(net, "lambda")
    means = np.zeros(3)
    for low, high in law.support():
        start = max(low, 0.0)

        def integrand(angle, power, start=start, high=high):
            x = start + (high - start) * math.sin(angle) ** 2
            return x**power * float(law.pdf(x)) * (high - start) * math.sin(2 * angle)

        for power in (1, 2):
            means[power] += integrate.quad(
                integrand, 0, math.pi / 2, args=(power,), epsrel=1e-11, epsabs=1e-13, limit=200
            )[0]
    for power in (1, 2):
        total = means[power] + sum(mass * at**power for at, mass in law.atoms)
        assert law.moment(power) == pytest.approx(total, rel=1e-8)


@pytest.mark.parametrize("name", ["gaussian tanh", "residual", "residual orthogonal", "leaky"])
def test_mean_of_log_s_by_additivity_is_an_integral(name):
    law = layered(WHOLE[name], "log")
    assert law.mean() == pytest.approx(law._centred.mean_of(lambda y: y) / 2 + law._scale.log_s, abs=1e-9)  # noqa: SLF001


def test_tied_weights_have_the_same_law():
    options = {"depth": 7, "sigma_w": 1.3, "sigma_b": 0.2}
    tied, untied = (layered(FeedForward("tanh", **options, tied=tied)) for tied in (True, False))
    s = np.linspace(0.01, 3, 20)
    assert tied.pdf(s).tolist() == untied.pdf(s).tolist()
    assert tied.cdf(s).tolist() == untied.cdf(s).tolist()


def test_equal_widths_are_no_widths():
    options = {"depth": 3, "sigma_w": HE, "weights": "orthogonal"}
    square, chain = FeedForward("relu", **options), FeedForward("relu", **options, layer_widths=(7,) * 4)
    s = np.linspace(0.1, 2.5, 20)
    assert layered(chain).pdf(s) == pytest.approx(layered(square).pdf(s), rel=1e-12)
    assert layered(chain).atoms == layered(square).atoms


@pytest.mark.parametrize("activation", ["linear", "relu", "tanh"])
@pytest.mark.parametrize("weights", ["gaussian", "orthogonal"])
@pytest.mark.parametrize("sigma_w", [0.7, 1.3])
def test_residual_layers_against_subordination(activation, weights, sigma_w):
    net = ResNet(activation, depth=1, sigma_w=sigma_w, sigma_b=0.3, weights=weights)
    gates = {
        "linear": (np.ones(1), np.ones(1)),
        "relu": (np.array([0.0, 1.0]), np.array([0.5, 0.5])),
        "tanh": naive.normal_gates(lambda x: np.cosh(x) ** -2.0, float(propagate(net).q[0])),
    }
    s = np.array([0.7, 1.1, 1.5])
    exact = [
        naive.residual_density(at, *gates[activation], sigma_w**2, orthogonal=weights == "orthogonal")
        for at in s
    ]
    assert layered(net).pdf(s) == pytest.approx(exact, rel=1e-12)


@pytest.mark.parametrize("sigma_w", [2.0, 5.0])
def test_residual_layers_whose_weights_outdo_the_skip_connection(sigma_w):
    # −1 is in the hole of the ring that the eigenvalues of X fill: a gap above λ = 0.
    law = layered(ResNet("leaky_relu:0.9", depth=1, weights="orthogonal", sigma_w=sigma_w))
    gates = np.array([0.81, 1.0]), np.array([0.5, 0.5])
    s = sigma_w + np.array([-0.3, 0.2])
    exact = [naive.residual_density(at, *gates, sigma_w**2, orthogonal=True) for at in s]
    assert law.pdf(s) == pytest.approx(exact, rel=1e-11)
    assert law.edge_lower > 0.9 * sigma_w - 1
    assert law.cdf(law.edge_upper) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("weights", ["gaussian", "orthogonal"])
@pytest.mark.parametrize("widths", [(100, 250), (100, 250, 250), (784, 1000, 1000), (100, 200, 50)])
def test_chains_that_widen_are_solved_down_to_the_gap_above_zero(widths, weights):
    law = layered(
        FeedForward("relu", depth=len(widths) - 1, weights=weights, sigma_w=HE, layer_widths=widths), "lambda"
    )
    rank = min(1, *(width / 2 / widths[0] for width in widths[1:]))
    assert sum(mass for at, mass in law.atoms if at == 0) == pytest.approx(1 - rank, abs=1e-13)
    assert law.cdf(law.support()[-1][1]) == pytest.approx(1, abs=1e-6)
    mean = law.mean_log_s if rank == 1 else None
    assert mean is None or math.isfinite(mean)


def test_gates_that_underflow_leave_no_edge_above_zero():
    # Half of the gates of late layers are e^(2x), x in the hundreds: closed, but for rounding.
    net = FeedForward("elu", depth=41, sigma_w=3.3797193753207138, input_variance=9.55061529533733)
    law = layered(net, "log")
    assert law.support()[0][0] == -math.inf
    assert law.cdf(law.ppf(0.75)) == pytest.approx(0.75, abs=1e-9)
    (place, mass), *others = law.atoms
    assert (place, mass, others) == (-math.inf, pytest.approx(0.5, abs=1e-9), [])


@pytest.mark.parametrize("widths", [(64, 1024), (10, 784), (1, 10_000), (3072, 2), (10_000, 1)])
def test_edges_of_marchenko_pastur_for_widths_that_differ_much(widths):
    law = spectrum(FeedForward("linear", depth=1, layer_widths=widths))
    root = math.sqrt(widths[1] / widths[0])
    ((low, high),) = law.support()
    assert (low, high) == pytest.approx((abs(1 - root), 1 + root), rel=1e-11)


@pytest.mark.parametrize(
    ("act", "widths"), [("tanh", (784, 100, 784)), ("gelu", (784, 32, 784)), ("mish", (100, 10, 1000, 100))]
)
def test_no_mass_lies_beyond_the_support_of_a_bottleneck(act, widths):
    depth = len(widths) - 1
    network = FeedForward(act, depth=depth, weights="orthogonal", layer_widths=widths, input_variance=1.0)
    law = spectrum(network, variable="log")
    high = law.support()[-1][1]
    assert law.cdf(high + 1e-9) == pytest.approx(1, abs=1e-9)
    assert (np.diff(law.ppf([0.98, 0.99, 1.0])) > 0).all()


@pytest.mark.parametrize(
    ("act", "depth", "settings"),
    [
        # phi' of gelu passes 1 by far-out inputs only, of mass 1e-6.
        ("gelu", 2, {"sigma_w": 2.2657, "skip": 1.1, "input_variance": 0.016822}),
        # phi' nears 1, which it does not reach, for inputs six standard deviations out.
        ("softplus", 1, {"sigma_w": 0.748043229847111, "skip": -1.0, "input_variance": 0.7138431471203828}),
        ("gelu_tanh", 2, {"sigma_w": 0.126540136628014, "skip": 0.9, "input_variance": 2.6247199074536303}),
        ("silu", 2, {"sigma_w": 0.5792468106, "skip": 1.1, "input_variance": 0.24731176879323716}),
    ],
)
def test_hidden_tails_of_gates_belong_to_the_support(act, depth, settings):
    law = spectrum(ResNet(act, depth=depth, weights="orthogonal", **settings), law="layered", variable="log")
    assert law.cdf(law.log_edge_upper + 1e-9) == pytest.approx(1, abs=1e-12)
    assert law.cdf(law.log_edge_lower - 1e-9) == pytest.approx(0, abs=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("act", "settings"),
    [
        (
            "hardtanh",
            {
                "depth": 975218,
                "weights": "orthogonal",
                "sigma_w": 8.91034966,
                "input_variance": 0.16481680026,
            },
        ),
        (
            "silu",
            {"depth": 39578, "sigma_w": 0.0522254532, "sigma_b": 0.970840244782767, "skip": -1.0}
            | {"input_variance": 0.22545811256861828},
        ),
    ],
)
def test_beside_edges_of_very_deep_networks_no_mass_is_left(act, settings):
    # Rounding times the number of layers is 1e-9 of log z, and near an edge its square root is a wrong side.
    law = spectrum(ResNet(act, **settings), law="layered", variable="log")
    law.support()
    beside = np.geomspace(1e-9, 1e-5, 20)
    assert law.cdf(law.log_edge_upper + beside) == pytest.approx(np.ones(20), abs=1e-9)
    assert law.cdf(law.log_edge_lower - beside) == pytest.approx(np.zeros(20), abs=1e-9)


def test_a_narrowing_orthogonal_layer_is_its_gate_and_zeros():
    # s = σ_w max(2 x, 0) for a third of the singular values.
    net = FeedForward(
        "squared_relu", depth=1, weights="orthogonal", layer_widths=(900, 300), input_variance=1.0
    )
    law = layered(net)
    q, s = float(propagate(net).q[0]), np.array([0.01, 0.5, 2.0, 6.0])
    assert law.cdf(s) == pytest.approx(2 / 3 + special.ndtr(s / 2 / math.sqrt(q)) / 3, abs=1e-13)
    assert law.pdf(s) == pytest.approx(np.exp(-s * s / 8 / q) / math.sqrt(8 * math.pi * q) / 3, rel=1e-9)
    assert law.atoms == ((0.0, pytest.approx(5 / 6, rel=1e-14)),)
    assert law.using("lambda").moment(3) == pytest.approx(64 * 15 * q**3 / 6, rel=1e-12)


@pytest.mark.parametrize("sigma_w", [0.5, 8.6])
def test_moments_of_one_gate_by_integrals(sigma_w):
    # λ = σ_w² (4/π) e^{−2x²}: E λ^k = (4 σ_w²/π)^k / √(1 + 4 k q).
    net = FeedForward("erf", depth=1, weights="orthogonal", sigma_w=sigma_w, sigma_b=2.0)
    law, q = layered(net, "lambda"), float(propagate(net).q[0])
    for k in (0.5, 3):
        expected = (4 * sigma_w**2 / math.pi) ** k / math.sqrt(1 + 4 * k * q)
        assert law.moment(k) == pytest.approx(expected, rel=1e-9)


@pytest.mark.slow
def test_growing_one_sided_gates_are_solved_where_they_can_be():
    # Half of the gates of late layers are below 1e-300, so that the path ends before 5e-8 of the mass.
    law = layered(FeedForward("silu", depth=100, sigma_w=1.7, input_variance=1.0), "log")
    assert law.cdf(law.ppf([0.6, 0.9])) == pytest.approx([0.6, 0.9], abs=1e-9)
    assert law.pdf(0.0) > 0
    with pytest.raises(NoAnswerError, match="not solved so near"):
        law.cdf(-1e5)
    with pytest.raises(NoAnswerError, match="not solved"):
        law.ppf(0.4999985)


def test_nothing_is_lost_beside_a_point_mass_of_many_layers():
    network = ResNet(
        "softshrink",
        depth=7349,
        weights="orthogonal",
        sigma_w=7.357041482160948,
        input_variance=1.3724265161779974,
    )
    law = spectrum(network, law="layered", variable="log")
    ((place, mass),) = law.atoms
    assert law.cdf(place + 1e-6) - law.cdf(place - 1e-6) == pytest.approx(mass, abs=1e-9)
    assert law.ppf([0.02, 0.5, 0.98]).tolist() == [place] * 3


@pytest.mark.parametrize(
    ("depth", "weights", "sigma_w", "input_variance"),
    [(7, "orthogonal", 0.060097388, 0.172739208), (19, "gaussian", 0.094765036, 3.1293781)],
)
def test_narrow_laws_with_a_long_tail_are_integrated(depth, weights, sigma_w, input_variance):
    # E log λ = 0 while σ_w² E d <= L; 99 % of the mass is within 1e-3, the upper end is at infinity.
    net = ResNet("squared_relu", depth=depth, weights=weights, sigma_w=sigma_w, input_variance=input_variance)
    law = layered(net, "log")
    assert law.support()[0][1] == math.inf
    assert law.moment(1) == pytest.approx(0, abs=1e-9)


def test_moments_of_a_gate_that_is_steep_for_its_argument():
    # phi' of softplus:5 turns within 1/5 of 0, where its argument has a standard deviation of 50.
    net = FeedForward("softplus:5", depth=1, weights="orthogonal", sigma_w=9.0, input_variance=30.0)
    law, q = layered(net, "lambda"), float(propagate(net).q[0])
    x = np.linspace(-8, 8, 400_001)  # the trapezoidal rule converges fast: steps are 1/100 of 1/5

    def mean(power):
        steep = special.expit(5 * x) ** (2 * power) - (x > 0) - 0.5 * (x == 0)
        return 0.5 + np.trapezoid(steep * np.exp(-x * x / 2 / q), x) / math.sqrt(2 * math.pi * q)

    for power in (0.5, 3):
        assert law.moment(power) == pytest.approx(81**power * mean(power), rel=1e-7)


def test_densities_however_thin():
    """Of log λ, by Newton's method with averages to 60 digits (mpmath), as in theory (22) and (26)."""
    law = layered(FeedForward("tanh", depth=10, sigma_w=1.05, sigma_b=0.05, weights="orthogonal"), "log")
    s = [0.001, 0.01, 0.03, 0.1]
    exact = [4.326416907572e-47, 7.6891677230013e-24, 2.0336880635369e-15, 4.7683621286592e-8]
    assert law.pdf(np.log(s)) / 2 == pytest.approx(exact, rel=1e-8, abs=0)


@pytest.mark.parametrize(
    ("net", "variable", "density"),
    [
        # Quarter circle of radius σ_w: density 2/(πσ_w) at 0. Of λ and of products it is infinite there.
        (FeedForward("linear", depth=1, sigma_w=1.5), "singular", 2 / (math.pi * 1.5)),
        (FeedForward("linear", depth=1), "lambda", math.inf),
        (FeedForward("linear", depth=3), "singular", math.inf),
        (FeedForward("relu", depth=3), "singular", math.inf),
        (FeedForward("tanh", depth=3), "singular", math.inf),
        # Two corners of free projections: density of λ like λ^(−1/2).
        (FeedForward("relu", depth=2, weights="orthogonal"), "lambda", math.inf),
        # All moments of 1/λ are finite.
        (FeedForward("tanh", depth=4, sigma_w=1.2, weights="orthogonal"), "lambda", 0.0),
        (FeedForward("tanh", depth=1, sigma_w=1.2, weights="orthogonal"), "lambda", 0.0),
        (ResNet("tanh", depth=4, sigma_w=0.2), "singular", 0.0),
    ],
)
def test_the_density_at_0(net, variable, density):
    law = layered(net, variable)
    found = law.pdf([0.0, 0.01, 4.0])
    assert found[0] == pytest.approx(density, rel=1e-12)
    assert found[1:] == pytest.approx(law.pdf([0.01, 4.0]), rel=1e-14)
    assert layered(net, "log").pdf(-math.inf) == 0


def test_a_tail_below_the_smallest_double_refuses_nothing():
    law = layered(FeedForward("tanh", depth=10, sigma_w=1.05, sigma_b=0.05, weights="orthogonal"))
    found = law.pdf([1e-300, 1e-20, 1e-3, 1.0])
    assert (found[:2] == 0).all()
    # By 60 digits for the density of log λ at s = 0.001.
    assert 0.001 * found[2] / 2 == pytest.approx(4.3e-47, rel=0.02)
    assert found[3] > 1


def test_a_thin_tail_and_complex_solutions_agree():
    """Where both are good: principal values are off by the square of an imaginary part."""
    network = FeedForward("tanh", depth=10, sigma_w=1.05, sigma_b=0.05, weights="orthogonal")
    factors = layers(network)
    product = FreeProduct(factors.factors, factors.counts)
    y = np.linspace(-6.0, -5.6, 5)
    state = product.solve(y)
    found = product._density_of_tail(state, y)  # noqa: SLF001
    assert found == pytest.approx(product.density_of(state[0]), rel=1e-7)


def test_low_densities_of_very_long_laws_are_no_tails():
    """λ of 300,000 leaky layers spreads over e^10⁷: the density of log λ is nowhere above 10⁻⁵."""
    law = layered(FeedForward("leaky_relu", depth=300_000, sigma_w=0.26), "log")
    u = np.linspace(0.1, 0.9, 9)
    ends = law.ppf(u + np.array([[-1e-4], [1e-4]]))
    assert law.pdf(law.ppf(u)) * (ends[1] - ends[0]) == pytest.approx(2e-4, rel=1e-3)


@pytest.mark.parametrize("act", ["relu", "leaky_relu"])
def test_a_narrow_gap_beside_what_the_skip_connection_leaves_alone(act):
    """With half of the gates closed, or next to it, λ − 1 of 1 + DW has N/2 values of either sign."""
    law = layered(ResNet(act, depth=1))
    (_, below), (above, _) = law.support()
    assert 1 <= below < 1.003 < above < 1.006
    assert law.cdf([below, 1.003, above]) == pytest.approx([0.5, 0.5, 0.5], abs=1e-12)
    assert law.pdf(1.003) == 0
    assert (law.pdf([below - 1e-4, above + 1e-4]) > 0).all()


def test_gates_that_are_all_but_constant_are_a_rotation():
    """Hard sigmoid is x/6 + 1/2 where its input has a variance of 0.13: 1 + √v O, with its ends."""
    law = layered(ResNet("hardsigmoid", depth=1, weights="orthogonal", block="pre", input_variance=0.13))
    (low, high) = law.support()[0]
    assert [low, high] == pytest.approx([5 / 6, 7 / 6], rel=1e-8)
    s = np.linspace(5 / 6, 7 / 6, 7)[1:-1]
    cosine = (s * s - 1 - 1 / 36) * 3
    assert law.cdf(s) == pytest.approx(1 - np.arccos(cosine) / math.pi, abs=1e-8)


def test_ranks_that_are_next_to_the_same_leave_an_edge_far_below():
    """Of five Gaussian layers four are of rank 1/2 and one of 1/2 − 2e-7."""
    net = FeedForward("relu6", depth=5, sigma_w=0.41, sigma_b=0.68, input_variance=5.4)
    law = layered(net, "log")
    low, high = law.support()[0]
    assert -60 < low < -20
    assert law.cdf(low - 0.01) == pytest.approx(law.atoms[0][1], abs=1e-12)
    assert law.cdf(high) == pytest.approx(1, abs=1e-12)


def test_masses_and_quantiles_far_down_in_a_tail():
    """Of one Gaussian layer s has the density √(4 − s²)/π; of tanh the integral of the density itself."""
    mass = np.array([1e-10, 1e-14, 1e-30, 1e-200])
    law = layered(FeedForward("linear", depth=1))
    assert law.ppf(mass) == pytest.approx(math.pi / 2 * mass, rel=1e-12)
    assert law.cdf(math.pi / 2 * mass) == pytest.approx(mass, rel=1e-12)
    thin = layered(FeedForward("tanh", depth=10, sigma_w=1.05, sigma_b=0.05, weights="orthogonal"))
    for s in (0.01, 0.1):
        below = integrate.quad(lambda x: float(thin.pdf(x)), 0, s, epsabs=0, epsrel=1e-9)[0]
        assert thin.cdf(s) == pytest.approx(below, rel=1e-7)


@pytest.mark.parametrize(
    ("net", "ends"),
    [
        (ResNet("linear", depth=1, weights="orthogonal", sigma_w=0.5), [0.5, 1.5]),
        (FeedForward("relu", depth=2, weights="orthogonal"), [1.0]),
        (ResNet("relu", depth=1), [1.0]),
    ],
)
def test_densities_are_infinite_at_hard_edges(net, ends):
    law = layered(net)
    assert np.isinf(law.pdf(ends)).all()
    assert np.isfinite(law.pdf(np.array(ends) - 1e-6)).all()


def test_moments_where_gates_next_to_closed_are_no_doubles():
    """2 % of λ are below e^−2000: of positive moments nothing. E s is the integral of quantiles."""
    law = layered(FeedForward("tanh", depth=10, sigma_w=100.0))
    nodes, weights = np.polynomial.legendre.leggauss(60)
    edges = 1 - np.append(0.5 ** np.arange(1, 40), 0.0)
    half = np.diff(edges)[:, None] / 2
    s = law.ppf((edges[:-1, None] + half * (1 + nodes)).ravel())
    assert float((half * weights).ravel() @ s) == pytest.approx(law.mean(), rel=1e-8)
