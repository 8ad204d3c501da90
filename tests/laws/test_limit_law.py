"""Feed-forward networks whose variance grows without bound: their law as q → ∞."""

import warnings

import numpy as np
import pytest
from running import call, table

from isocalc import FeedForward, Replicate, fixed_points, propagate, run, spectrum
from isocalc.activations.catalogue import activation
from isocalc.errors import LimitWarning, NoAnswerError, NoFixedPointError
from isocalc.judging.judge import judge
from isocalc.signal.fixed_points import limit_network

AT = np.array([0.01, 0.5, 1.0, 5.0])
SOFTPLUS = ("density", "--arch", "feedforward", "--act", "softplus", "--sigma-w", 2, "--depth", 10)


def limit_law(network):
    with pytest.warns(LimitWarning, match=r"grows without bound.*; its law is that of q -> infinity$"):
        return spectrum(network)


@pytest.mark.parametrize(
    ("spec", "lines"),
    [
        ("softplus", "relu"),
        ("gelu", "relu"),
        ("mish", "relu"),
        ("elu", "relu"),
        ("hardswish", "relu"),
        ("logsigmoid", "relu"),
        ("threshold:-1:2", "relu"),
        ("(x+sqrt(x**2+4))/2", "relu"),
        ("tanhshrink", "linear"),
        ("softshrink", "linear"),
        ("sqrt(1+x**2)", "linear"),
        ("0.3*x+0.7*softplus(x)", "leaky_relu:0.3"),
    ],
)
@pytest.mark.parametrize("weights", ["gaussian", "orthogonal"])
def test_far_out_an_activation_is_two_lines(spec, lines, weights):
    options = {"sigma_w": 2.0, "depth": 6, "weights": weights}
    found = limit_law(FeedForward(spec, sigma_b=1.0, **options))
    expected = spectrum(FeedForward(lines, **options))
    np.testing.assert_allclose(found.pdf(AT), expected.pdf(AT), rtol=1e-12)
    np.testing.assert_allclose(found.cdf(AT), expected.cdf(AT), rtol=1e-12)
    assert found.atoms == pytest.approx(np.array(expected.atoms), rel=1e-12)


def test_slopes_and_scale_that_differ_on_both_sides():
    """selu: 1.05 times ReLU; x atan x: φ' is −π/2 and π/2, so that its gate is a number."""
    selu = limit_law(FeedForward("selu", sigma_w=2.0, depth=5))
    scale = float(activation("selu").dphi(np.ones(1))[0]) ** 5
    np.testing.assert_allclose(
        selu.cdf(AT * scale), spectrum(FeedForward("relu", sigma_w=2.0, depth=5)).cdf(AT), rtol=1e-12
    )
    rotation = limit_law(FeedForward("x*atan(x)", sigma_w=2.0, sigma_b=1.0, depth=3, weights="orthogonal"))
    ((place, mass),) = rotation.atoms
    assert (place, mass) == (pytest.approx(np.pi**3, rel=1e-13), 1.0)


def test_chains_of_widths():
    widths = (30, 60, 20)
    found = limit_law(FeedForward("gelu", sigma_w=1.5, sigma_b=1.0, layer_widths=widths))
    expected = spectrum(FeedForward("relu", sigma_w=1.5, layer_widths=widths))
    np.testing.assert_allclose(found.cdf(AT), expected.cdf(AT), rtol=1e-12)


@pytest.mark.parametrize("weights", ["gaussian", "orthogonal"])
def test_the_phase_of_a_wave_is_uniform(weights):
    """x + sin(x): E φ'² = E (1 + cos θ)² = 3/2 and E φ'⁴ = 35/8 over a uniform phase θ."""
    law = limit_law(FeedForward("x+sin(x)", sigma_w=2.0, depth=4, weights=weights)).using("lambda")
    one_layer = 35 / 8 / 1.5**2 - (weights == "orthogonal")
    assert law.mean() == pytest.approx((4 * 1.5) ** 4, rel=1e-12)
    assert law.var() / law.mean() ** 2 == pytest.approx(4 * one_layer, rel=1e-11)


def test_the_law_of_a_finite_variance_tends_to_it():
    limit = limit_law(FeedForward("softplus", sigma_w=2.0, depth=3)).cdf(AT)
    near, far = (
        np.abs(
            spectrum(FeedForward("softplus", sigma_w=2.0, depth=3, input_variance=p)).cdf(AT) - limit
        ).max()
        for p in (1e4, 1e8)
    )
    # As q^(-1/2), the share of inputs that φ bends for.
    assert near / 150 < far < near / 50


@pytest.mark.parametrize(
    ("spec", "sigma_b"), [("squared_relu", 1.0), ("x**3+x", 1.0), ("x*log(1+abs(x))", 1.0)]
)
def test_gates_that_have_no_limit(spec, sigma_b):
    network = FeedForward(spec, sigma_w=2.0, sigma_b=sigma_b, depth=3)
    assert limit_network(network) is None
    with pytest.raises(NoFixedPointError, match="grows without bound, by a factor that rises"):
        spectrum(network)


def test_networks_that_have_a_law_of_their_own_have_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        spectrum(FeedForward("softplus", sigma_w=1.0, depth=2))
        spectrum(FeedForward("softplus", sigma_w=2.0, depth=2, input_variance=1.0))
        spectrum(FeedForward("relu", sigma_w=2.0, depth=2))


@pytest.mark.parametrize("ask", [fixed_points, propagate])
def test_the_signal_itself_has_no_answer(ask):
    with pytest.raises(NoAnswerError, match="no fixed point"):
        ask(FeedForward("softplus", sigma_w=2.0, depth=2))


def test_density_says_that_it_is_a_limit():
    result = call(*SOFTPLUS, "--at", "0.5,1")
    assert result.exit_code == 0
    grows = "q grows without bound, by a factor that tends to 2 a layer"
    note = f"softplus has no fixed point here: {grows}; this is the law of q -> infinity, --input-variance"
    assert result.stderr.startswith(f"isocalc: {note} gives")
    of_relu = call(*("relu" if word == "softplus" else word for word in SOFTPLUS), "--at", "0.5,1")
    assert result.stdout == of_relu.stdout
    summary = call(*SOFTPLUS, "--summary")
    assert "\nsoftplus,10,layered,0.0,,0.0:236.04" in summary.stdout
    of_relu = call(*("relu" if word == "softplus" else word for word in SOFTPLUS), "--summary")
    assert summary.stdout == of_relu.stdout.replace("relu,", "softplus,")


def test_density_says_where_there_is_no_limit():
    network = ("--act", "squared_relu,gelu", "--sigma-w", 2, "--sigma-b", 1, "--depth", 3, "--at", 1)
    rows = table("density", "--arch", "feedforward", *network, code=1)
    assert [row["status"] == "ok" for row in rows] == [False, True]
    assert "and phi'^2 has no limit as q -> infinity; give --input-variance" in rows[0]["status"]


@pytest.mark.parametrize("command", ["param", "mc"])
def test_other_commands_say_that_there_is_no_fixed_point(command):
    result = call(command, *SOFTPLUS[1:])
    assert (result.exit_code, result.stdout) == (1, "")
    assert "Error: softplus has no fixed point here" in result.stderr


@pytest.mark.slow
def test_networks_of_a_large_signal_agree_with_it():
    options = {"sigma_w": 2.0, "depth": 4}
    law = limit_law(FeedForward("softplus", **options))
    network = FeedForward("softplus", **options, input_variance=1e8)
    log_s = np.stack(run([Replicate(network, width=100, seed=3, trial=trial) for trial in range(8)]))
    assert judge(log_s, network, law=law).disagrees == ()
    wrong = spectrum(FeedForward("leaky_relu:0.3", **options))
    assert "ks_distance" in judge(log_s, network, law=wrong).disagrees
