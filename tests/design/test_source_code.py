"""Code that is ready to paste, by running it. PyTorch and JAX are tested where they are installed."""

import numpy as np
import pytest

from isocalc import FeedForward, InvalidInputError, ResNet, activation
from isocalc.activations.catalogue import Activation, names
from isocalc.activations.expressions.language import FUNCTIONS
from isocalc.design.source_code import FRAMEWORKS, SPELLINGS, source
from isocalc.judging.judge import judge
from isocalc.numerics.machine import one_blas_thread

ACTIVATIONS = ["threshold:0.1:0.5" if name == "threshold" else name for name in names()]
PARAMETERS = [
    "leaky_relu:-0.2",
    "hardtanh:-2:0.5",
    "elu:-1.5",
    "celu:0.7",
    "softplus:3",
    "snake:-2",
    "hardshrink:2",
]
WIDTH, TRIALS = 120, 8


class InNumpy:
    def run(self, code):
        self.names = {}
        exec(code, self.names)  # noqa: S102 - what a user does with it
        return self

    def phi(self, x):
        return self.names["phi"](x)

    def network(self, seed):
        parameters = self.names["init"](np.random.default_rng(seed), WIDTH)
        return lambda x: self.names["apply"](parameters, x)

    def jacobian(self, seed, x):
        """By differences of second order, all directions as one batch."""
        apply, steps = self.network(seed), 1e-6 * np.eye(x.size)
        return (apply(x + steps) - apply(x - steps)).T / 2e-6


class InTorch(InNumpy):
    def __init__(self):
        self.torch = pytest.importorskip("torch")

    def phi(self, x):
        return self.names["phi"](self.torch.tensor(x)).numpy()

    def jacobian(self, seed, x):
        self.torch.manual_seed(seed)
        net = self.names["Network"](WIDTH).double()
        return self.torch.func.jacrev(net)(self.torch.tensor(x)).detach().numpy()


class InJax(InNumpy):
    def __init__(self):
        self.jax = pytest.importorskip("jax")
        self.jax.config.update("jax_enable_x64", True)  # noqa: FBT003 - JAX's signature

    def phi(self, x):
        return np.asarray(self.names["phi"](self.jax.numpy.asarray(x)))

    def jacobian(self, seed, x):
        parameters = self.names["init"](self.jax.random.key(seed), WIDTH)
        forward = self.jax.jacrev(lambda y: self.names["apply"](parameters, y))
        return np.asarray(forward(self.jax.numpy.asarray(x)))


IN = {"numpy": InNumpy, "torch": InTorch, "jax": InJax}


def spectra(network, framework, power):
    """Return log singular values of pasted networks, one for a seed, at inputs of mean square ``power``."""
    pasted = IN[framework]().run(source(network, framework))
    rows = []
    for seed in range(TRIALS):
        x = np.random.default_rng(1000 + seed).normal(size=WIDTH)
        x *= np.sqrt(power * WIDTH / (x @ x))
        with one_blas_thread():  # small matrices: threads wait for each other on a busy machine
            rows.append(np.sort(np.log(np.linalg.svd(pasted.jacobian(seed, x), compute_uv=False))))
    return np.array(rows)


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("act", [*ACTIVATIONS, *PARAMETERS])
def test_activations_are_those_of_isocalc(act, framework):
    pasted, x = IN[framework]().run(source(ResNet(act), framework)), np.linspace(-7, 7, 1000)
    assert pasted.phi(x) == pytest.approx(activation(act).phi(x), rel=1e-12, abs=1e-13)


EXPRESSIONS = [
    "x*tanh(softplus(x))",
    "max(x, 0.1*x, -2 - x) + min(1, 2 - x) + sin(tanh(x))",
    "where(x > 1, 1, x) - (x <= -2)*x + clip(x, -1, sqrt(2))",
    "silu(gelu(silu(2*x))) + Phi(x) - erfc(x)*relu(x)",
    "exp(-x**2/2)*(x**3 - 1)/(1 + x**4) - -x",
    "asinh(x) + atan(x) + log1p(exp(x)) + expm1(-abs(x))*sign(x - 0.3) + pi*sigmoid(x)",
    "log(1 + x*x) + cosh(tanh(x)) + sinh(tanh(x)) + erf(x) + cos(tanh(x)) + tan(tanh(x)) + sqrt(1 + x**2)",
    "2**0.5*x + (x - 1)/(2 - (3 - 4)) + exp(1)*(relu(x) + 1)**1.5",
]


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("text", EXPRESSIONS)
def test_expressions_are_those_of_isocalc(text, framework):
    pasted, x = IN[framework]().run(source(ResNet(text), framework)), np.linspace(-7, 7, 1000)
    assert pasted.phi(x) == pytest.approx(activation(text).phi(x), rel=1e-12, abs=1e-12)


def test_every_function_of_the_language_is_in_an_expression():
    written_out = " ".join(EXPRESSIONS)
    assert [name for name in FUNCTIONS if f"{name}(" not in written_out] == []


def test_every_activation_has_a_spelling():
    assert tuple(SPELLINGS) == names()


NETWORKS = {
    "post": ResNet("tanh", depth=12, sigma_w=1.3, sigma_b=0.2),
    "orthogonal": ResNet("gelu", depth=12, sigma_w=1.9, weights="orthogonal", skip=0.9),
    "expression": ResNet("max(0.3*x, x*tanh(softplus(x)))", depth=8, sigma_w=1.5),
    "pre": ResNet("relu", depth=1, sigma_w=1.2, block="pre"),
    "preln": ResNet("silu", depth=8, sigma_w=1.5, sigma_w2=1.6, sigma_b=0.1, block="preln", hidden_ratio=2),
    "wide orthogonal": ResNet("tanh", depth=8, sigma_w2=1.4, block="preln", weights="orthogonal"),
    "narrow orthogonal": ResNet(
        "tanh", depth=8, sigma_w=1.4, sigma_w2=2, block="preln", weights="orthogonal", hidden_ratio=0.5
    ),
    "feed-forward": FeedForward("erf", depth=6, sigma_w=1.4, sigma_b=0.3, input_variance=0.5),
    "isometric": FeedForward(
        "tanh", depth=6, sigma_w=1.1, sigma_b=0.1, input_variance=0.5, weights="orthogonal"
    ),
}


@pytest.mark.parametrize(
    ("name", "framework"),
    [
        *((name, "numpy") for name in NETWORKS),
        *((name, "torch") for name in ("post", "expression", "preln", "wide orthogonal", "isometric")),
        *((name, "jax") for name in ("post", "expression", "preln", "narrow orthogonal", "isometric")),
    ],
)
def test_the_spectrum_of_a_pasted_network_is_that_of_the_law(name, framework):
    """Seeds 0 to 7; a right spectrum is rejected with a probability of at most 1 %, `judge`'s."""
    network = NETWORKS[name]
    assert judge(spectra(network, framework, network.input_variance), network).disagrees == ()


@pytest.mark.parametrize(
    ("name", "framework", "wrong"),
    [
        *((name, "numpy", wrong) for name in NETWORKS for wrong in (1.25, 0.8)),
        *((name, framework, 1.25) for name in ("post", "feed-forward") for framework in ("torch", "jax")),
    ],
)
def test_a_wrong_scale_is_found(name, framework, wrong, monkeypatch):
    """One scale of the code a quarter too large or too small; a forgotten 1/√L is 3 times and more."""
    network, code = NETWORKS[name], source(NETWORKS[name], framework)
    last = "SIGMA_W2" if "SIGMA_W2" in code else "SIGMA_W"
    spoilt = code.replace(f"\n{last} = ", f"\n{last} = {wrong} * ")
    assert spoilt != code
    monkeypatch.setattr("test_source_code.source", lambda *_: spoilt)
    assert judge(spectra(network, framework, network.input_variance), network).disagrees


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_text_is_the_same_for_the_same_network(framework):
    network = NETWORKS["preln"]
    code = source(network, framework, "two\nlines")
    assert code == source(network, framework, "two\nlines")
    assert code.startswith("# two\n# lines\nimport math\n")
    assert max(map(len, code.splitlines())) <= 110
    compile(code, "pasted", "exec")


@pytest.mark.parametrize(
    ("network", "framework", "words"),
    [
        (NETWORKS["post"], "tensorflow", "framework must be one of torch, jax, numpy, got 'tensorflow'"),
        (
            FeedForward("tanh", tied=True),
            "numpy",
            "network must be of square layers with weights of their own",
        ),
        (FeedForward("tanh", layer_widths=(3, 4)), "numpy", "network must be of square layers"),
        ("tanh", "numpy", "network must be ResNet or FeedForward"),
        (
            ResNet(Activation(name="mine", phi=np.tanh, dphi=np.cos)),
            "jax",
            "left out with mine, which",
        ),
    ],
)
def test_what_has_no_code_is_refused(network, framework, words):
    with pytest.raises(InvalidInputError, match=words):
        source(network, framework)
