"""What a PyTorch module is recognised as, and what it must not be taken for."""

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402, N812
import torch_models  # noqa: E402
from torch import nn  # noqa: E402
from torch_models import Of, chained, gaussian, orthogonal  # noqa: E402

from isocalc import ResNet, activation  # noqa: E402
from isocalc.activations.catalogue import names  # noqa: E402
from isocalc.design.source_code import spelled  # noqa: E402
from isocalc.pytorch.layers import Block, Layer, steps_of  # noqa: E402
from isocalc.pytorch.module import Call, drawn_input  # noqa: E402
from isocalc.pytorch.recognition import LayerChain, Recognition  # noqa: E402
from isocalc.pytorch.tracing import traced  # noqa: E402
from isocalc.pytorch.weight_scales import NoLawError, pooled, scale_of  # noqa: E402

WIDTH = 60


def called(module, width=WIDTH, trial=0):
    return Call(module.double().eval(), drawn_input(1, trial, (width,), 1.3))


def recognised(make, trials=3, width=WIDTH):
    recognition = Recognition()
    for trial in range(trials):
        torch.manual_seed(trial)
        recognition.look_at(called(make(), width, trial))
    return recognition.found()


def reason(make, trials=2):
    with pytest.raises(NoLawError) as refusal:
        recognised(make, trials)
    return str(refusal.value)


ACTIVATIONS = ["threshold:0.1:0.5" if name == "threshold" else name for name in names()]
PARAMETERS = [
    "leaky_relu:-0.2",
    "hardtanh:-2:0.5",
    "celu:0.7",
    "softplus:3",
    "hardshrink:2",
    "softshrink:0.1",
]


@pytest.mark.parametrize("name", [*ACTIVATIONS, *PARAMETERS])
def test_activations_have_their_names(name):
    phi = eval(f"lambda x: {spelled(activation(name), 'torch')}", {"torch": torch, "F": F})  # noqa: S307
    module = Of(chained(lambda layer, x: phi(layer(x))), gaussian(WIDTH, WIDTH, 1.0))
    (step,) = steps_of(traced(called(module)))
    assert step.act.name == activation(name).name


@pytest.mark.parametrize(
    ("phi", "name"),
    [
        (lambda x: x * torch.sigmoid(x), "silu"),
        (lambda x: 0.5 * x * (1 + torch.erf(x / math.sqrt(2))), "gelu"),
        (lambda x: torch.clamp(x, min=0), "relu"),
        (lambda x: torch.maximum(x, 0.01 * x), "leaky_relu"),
        (lambda x: torch.where(x > 0, x, 0.01 * x), "leaky_relu"),
        (lambda x: F.relu_(x.clone()).square(), "squared_relu"),
        (lambda x: F.prelu(x, torch.tensor([0.01], dtype=x.dtype)), "leaky_relu"),
        (lambda x: F.elu(x, 0.5), None),
        (lambda x: x * torch.tanh(torch.exp(x)), None),
    ],
)
def test_activations_written_out_are_read(phi, name):
    module = Of(chained(lambda layer, x: phi(layer(x))), gaussian(WIDTH, WIDTH, 1.0))
    (step,) = steps_of(traced(called(module)))
    if name:
        assert step.act.name == name
    x = torch.linspace(-5, 5, 101, dtype=torch.float64)
    assert step.act.phi(x.numpy()) == pytest.approx(phi(x).numpy(), abs=1e-14)


def test_a_chain_has_the_scales_it_was_drawn_with():
    """Three networks of 9000 weights or more: σ_w to 5 of its standard errors, 0.006 each."""

    def make():
        layers = gaussian(WIDTH, 150, 1.3, 0.5), gaussian(150, 150, 0.8, 0.2), gaussian(150, 90, 2.0)
        return nn.Sequential(layers[0], nn.Tanh(), layers[1], nn.ReLU(), layers[2])

    found = recognised(make)
    chain = found.network
    assert isinstance(chain, LayerChain)
    assert chain.widths == (60, 150, 150, 90)
    assert [act.name for act in chain.acts] == ["tanh", "relu", "linear"]
    assert chain.sigma_w == pytest.approx((1.3, 0.8, 2.0), rel=0.03)
    assert chain.sigma_b == pytest.approx((0.5, 0.2, 0.0), rel=0.2)
    assert chain.input_variance == pytest.approx(1.3)
    assert "f = tanh, relu, and a linear one, widths 60, 150, 150, 90; independent entries" in found.words


def test_factors_go_into_the_weights():
    """Numbers before and after an activation, and weights that are scaled in the forward pass."""

    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Parameter(torch.randn(WIDTH, WIDTH))
            self.second = nn.Parameter(torch.randn(WIDTH, WIDTH))

        def forward(self, x):
            hidden = 1.7159 * torch.tanh(2 / 3 * (x @ self.first) / math.sqrt(WIDTH))
            return math.sqrt(2) * torch.relu(F.linear(hidden, self.second / math.sqrt(WIDTH)))

    chain = recognised(Scaled).network
    assert [act.name for act in chain.acts] == ["tanh", "relu"]
    assert chain.sigma_w == pytest.approx((2 / 3, 1.7159 * math.sqrt(2)), rel=0.05)


def test_orthogonal_weights_are_told_from_others():
    made = (orthogonal(WIDTH, 1.1), nn.ReLU(), orthogonal(WIDTH, 1.1), nn.ReLU(), gaussian(WIDTH, WIDTH, 1.0))
    chain = recognised(lambda: nn.Sequential(*made), trials=1).network
    assert chain.weights == ("orthogonal", "orthogonal", "gaussian")
    assert chain.sigma_w[:2] == pytest.approx((1.1, 1.1), rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(8, 8), (12, 50), (50, 12), (120, 120), (120, 360), (280, 120)])
@pytest.mark.parametrize("draw", [torch.randn, torch.rand])
def test_independent_entries_and_orthogonal_ones_of_any_shape(shape, draw):
    """200 matrices of a few neurons, 5 of many: none is taken for another kind."""
    torch.manual_seed(1)
    for _ in range(200 if max(shape) < 100 else 5):
        entries = draw(shape, dtype=torch.float64)
        entries = entries - 0.5 if draw is torch.rand else entries
        scales = [
            [scale_of(Layer(matrix, np.zeros(shape[0]), activation("relu")), np.ones(shape[1]))]
            for matrix in (entries.numpy(), nn.init.orthogonal_(entries.clone(), gain=1.3).numpy())
        ]
        kinds = [pooled([one])[0] for one in scales]
        assert [scale.kind for scale in kinds] == ["gaussian", "orthogonal"]
        assert kinds[1].sigma_w == pytest.approx(1.3, rel=1e-12)


def test_dropout_and_batch_normalisation_are_as_in_evaluation():
    def make():
        norm = nn.BatchNorm1d(WIDTH)
        norm.running_var.fill_(4.0)
        return nn.Sequential(gaussian(WIDTH, WIDTH, 1.0), norm, nn.Dropout(), nn.ReLU(inplace=True))

    assert recognised(make).network.sigma_w[0] == pytest.approx(0.5, rel=0.05)


RESIDUAL = {
    "post": (lambda layers, x: x + torch.tanh(layers(x)), "tanh", 1.0),
    "post, scaled": (lambda layers, x: 0.9 * x + 0.5 * torch.tanh(layers(x)), "tanh(x)*0.5", 0.9),
    "post, relu": (lambda layers, x: torch.relu(layers(x)) + x, "relu", 1.0),
    "pre": (lambda layers, x: x - layers(F.gelu(x)), "gelu", 1.0),
}


@pytest.mark.parametrize("name", RESIDUAL)
def test_residual_networks(name):
    step, act, skip = RESIDUAL[name]
    depth, sigma = 5, 0.9

    def make():
        layers = (gaussian(WIDTH, WIDTH, sigma / math.sqrt(depth), 0.3) for _ in range(depth))
        return Of(chained(step), *layers)

    network = recognised(make).network
    assert isinstance(network, ResNet)
    assert (network.block, network.act.name, network.depth) == (name.partition(",")[0], act, depth)
    assert (network.skip, network.weights) == (skip, "gaussian")
    assert network.sigma_w == pytest.approx(sigma, rel=0.03)
    assert network.sigma_b == pytest.approx(0.3, rel=0.1)


def normalised(layers, x):
    for up, down in zip(layers[::2], layers[1::2], strict=True):
        x = x + down(F.silu(up(F.layer_norm(x, (WIDTH,)))))
    return x


def test_pre_layer_norm_blocks():
    def make():
        pairs = ((gaussian(WIDTH, 90, 1.2, 0.2), gaussian(90, WIDTH, 0.7)) for _ in range(4))
        return Of(normalised, *(layer for pair in pairs for layer in pair))

    network = recognised(make).network
    assert (network.block, network.act.name, network.depth) == ("preln", "silu", 4)
    assert network.hidden_ratio == 1.5
    assert network.sigma_w == pytest.approx(1.2, rel=0.03)
    assert network.sigma_w2 == pytest.approx(0.7 * 2, rel=0.03)
    assert network.sigma_b == pytest.approx(0.2, rel=0.1)


def test_a_learned_gain_is_part_of_the_weights():
    """LayerNorm with a gain of 2: W₁ is twice as strong."""

    class Gained(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.LayerNorm(WIDTH)
            nn.init.constant_(self.norm.weight, 2.0)
            self.up, self.down = gaussian(WIDTH, WIDTH, 1.0), gaussian(WIDTH, WIDTH, 1.0)

        def forward(self, x):
            return x + self.down(torch.tanh(self.up(self.norm(x))))

    network = recognised(lambda: nn.Sequential(Gained(), Gained())).network
    assert network.sigma_w == pytest.approx(2.0, rel=0.05)
    steps = steps_of(traced(called(Gained())))
    assert isinstance(steps[0], Block)


class StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(x):
        return torch.relu(x)

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def backward(_ctx, gradient):
        return gradient


def tied(layers, x):
    for _ in range(3):
        x = x + torch.tanh(layers[0](x))
    return x


def two_kinds(layers, x):
    x = x + torch.tanh(layers[0](x))
    return x + torch.relu(layers[1](x))


def shifted(layer, mean):
    nn.init.constant_(layer.bias, mean)
    return layer


def uneven(factors):
    return Of(
        chained(lambda layer, x: x + torch.tanh(layer(x))), *(gaussian(WIDTH, WIDTH, f) for f in factors)
    )


def positive():
    layer = gaussian(WIDTH, WIDTH, 1.0)
    layer.weight.data.abs_()
    return layer


def low_rank():
    layer = gaussian(WIDTH, WIDTH, 1.0)
    layer.weight.data = torch.randn(WIDTH, 5) @ torch.randn(5, WIDTH)
    return layer


def plain():
    return gaussian(WIDTH, WIDTH, 1.0)


def permutation():
    layer = nn.Linear(WIDTH, WIDTH, bias=False)
    signs = torch.randint(0, 2, (WIDTH, 1)) * 2 - 1
    layer.weight.data = signs * torch.eye(WIDTH)[torch.randperm(WIDTH)]
    return layer


STRANGE = {
    "a product of two branches": lambda: Of(lambda f, x: f[0](x) * torch.sigmoid(f[1](x)), plain(), plain()),
    "x + W f(W x), for which no law is known": lambda: Of(
        lambda f, x: x + f[1](torch.relu(f[0](x))), plain(), plain()
    ),
    "a softmax": lambda: Of(lambda f, x: torch.softmax(f[0](x), -1), plain()),
    "none of them a skip connection": lambda: Of(lambda f, x: f[0](x) + f[1](x), plain(), plain()),
    "of a skip connection's sum": lambda: Of(lambda f, x: torch.relu(x + f[0](x)), plain()),
    "of its input": lambda: Of(lambda f, x: f[0](torch.tanh(x)), plain()),
    "derivatives that are not those": lambda: Of(lambda f, x: StraightThrough.apply(f[0](x)), plain()),
    "code that torch.func does not differentiate (": lambda: Of(
        lambda f, x: torch_models.OldStyle.apply(f[0](x)), plain()
    ),
    "the weights of its layers 1 and 2 are not independent": lambda: Of(tied, plain()),
    "of its layers 1 and 2 are not independent, transposed": lambda: Of(
        lambda f, x: F.linear(torch.tanh(f[0](x)), f[0].weight.t()), plain()
    ),
    "the weights of its layer 1 are not independent of their own transpose": lambda: Of(
        lambda f, x: x + torch.tanh(F.linear(x, f[0].weight - f[0].weight.t())), plain()
    ),
    "of its layers 1 and 3 are not independent": lambda: Of(
        lambda f, x: f[0](torch.tanh(f[1](torch.tanh(f[0](x))))), plain(), plain()
    ),
    "orthogonal but not random": lambda: nn.Sequential(permutation(), nn.Tanh()),
    "the scales of its weights differ": lambda: uneven([0.3, 0.3, 0.5]),
    "differ in kind, activation": lambda: Of(two_kinds, plain(), plain()),
    "the mean of its weights is not 0": positive,
    "neither those of independent entries": low_rank,
    "the mean of its biases is not 0": lambda: nn.Sequential(shifted(plain(), 0.5), nn.Tanh()),
    "the operation sort": lambda: Of(lambda f, x: f[0](x).sort()[0], plain()),
    "a LayerNorm outside": lambda: nn.Sequential(plain(), nn.LayerNorm(WIDTH)),
}


@pytest.mark.parametrize("why", STRANGE)
def test_what_is_something_else_has_no_law(why):
    assert why in reason(STRANGE[why])


def test_uniform_biases_that_are_strong_are_refused():
    def make(bound):
        layer = plain()
        nn.init.uniform_(layer.bias, -bound, bound)
        return nn.Sequential(layer, nn.Tanh())

    assert "strong, and not Gaussian" in reason(lambda: make(3.0), trials=20)
    assert recognised(lambda: make(0.2), trials=3).network.depth == 1


def test_biases_that_the_law_leaves_out_are_refused():
    def make(sigma):
        return Of(normalised, gaussian(WIDTH, WIDTH, 1.0), gaussian(WIDTH, WIDTH, 1.0, sigma))

    assert "the biases b2 of its residual blocks" in reason(lambda: make(0.5))
    assert recognised(lambda: make(0.02)).network.block == "preln"


def test_another_structure_in_every_trial_has_no_law():
    made = iter([nn.Tanh(), nn.ReLU()])
    assert reason(lambda: nn.Sequential(plain(), next(made))) == "it has another structure in every trial"


def test_the_input_may_have_any_shape():
    module = nn.Sequential(nn.Flatten(), gaussian(12, 12, 1.0)).double()
    (layer,) = steps_of(traced(Call(module, np.ones((3, 2, 2)))))
    assert np.array_equal(layer.matrix, module[1].weight.detach().numpy())


def measured_as(make, draws, trials=1):
    """Return how often so many layers, each pooled over trials, are called orthogonal."""
    act, found = activation("relu"), []
    for _ in range(draws):
        layers = [make() for _ in range(trials)]
        scales = [
            [scale_of(Layer(matrix, np.zeros(len(matrix)), act), np.ones(matrix.shape[1]))]
            for matrix in layers
        ]
        found.append(pooled(scales)[0].kind)
    return found.count("orthogonal")


@pytest.mark.parametrize("trials", [1, 8])
@pytest.mark.parametrize("shape", [(40, 2), (2, 2), (3, 30)])
def test_few_columns_are_not_orthogonal_by_chance(shape, trials):
    """Two Gaussian columns are within 2 % of what orthogonal ones have in 2 % of draws: of 400, 8."""
    rng = np.random.default_rng(5)
    assert measured_as(lambda: rng.standard_normal(shape), 400, trials) == 0
    assert (
        measured_as(
            lambda: np.linalg.qr(rng.standard_normal((max(shape),) * 2))[0][: shape[0], : shape[1]], 5, trials
        )
        == 5
    )


@pytest.mark.parametrize("shape", [(1, 30), (30, 1), (1, 1)])
def test_one_row_or_column_is_not_orthogonal(shape):
    rng = np.random.default_rng(5)
    assert measured_as(lambda: rng.standard_normal(shape), 50) == 0


@pytest.mark.parametrize("size", [1e200, 1e-200])
def test_weights_beyond_what_can_be_squared_have_no_law(size):
    layer = Layer(np.full((8, 8), size), np.zeros(8), activation("linear"))
    with pytest.raises(NoLawError, match="too large or small to be measured"):
        scale_of(layer, np.ones(8))
