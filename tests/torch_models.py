"""PyTorch modules to measure: factories, as a user writes them."""

import math
import os

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn
from torch.nn.utils import prune


def gaussian(fan_in, fan_out, sigma, sigma_b=0.0):
    layer = nn.Linear(fan_in, fan_out)
    nn.init.normal_(layer.weight, std=sigma / math.sqrt(fan_in))
    nn.init.normal_(layer.bias, std=sigma_b) if sigma_b else nn.init.zeros_(layer.bias)
    return layer


def orthogonal(width, sigma):
    layer = nn.Linear(width, width, bias=False, dtype=torch.float64)
    nn.init.orthogonal_(layer.weight, gain=sigma)
    return layer


class Of(nn.Module):
    """Layers and a function of them and of x."""

    def __init__(self, function, *layers):
        super().__init__()
        self.layers, self.function = nn.ModuleList(layers), function

    def forward(self, x):
        return self.function(self.layers, x)


def chained(step):
    def function(layers, x):
        for layer in layers:
            x = step(layer, x)
        return x

    return function


def mlp():
    """PyTorch's own initialisation, uniform."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(64, 200), nn.Tanh(), nn.Linear(200, 200), nn.Tanh(), nn.Linear(200, 50)
    )


def post(width=200, depth=10, sigma=1.2, sigma_b=0.1):
    layers = (gaussian(width, width, sigma / math.sqrt(depth), sigma_b) for _ in range(depth))
    return Of(chained(lambda layer, x: x + torch.tanh(layer(x))), *layers)


def post_relu(width=150, depth=20):
    layers = (gaussian(width, width, 1 / math.sqrt(depth)) for _ in range(depth))
    return Of(chained(lambda layer, x: x + torch.relu(layer(x))), *layers)


def pre(width=150, depth=8):
    layers = (gaussian(width, width, 1.0) for _ in range(depth))
    return Of(chained(lambda layer, x: 0.9 * x + 0.5 * layer(F.relu(x))), *layers)


class PreLayerNorm(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, 3 * width), nn.Linear(3 * width, width)

    def forward(self, x):
        return x + self.down(F.silu(self.up(self.norm(x))))


def preln():
    return nn.Sequential(*(PreLayerNorm(120) for _ in range(6)))


def whole():
    return nn.Sequential(nn.Linear(20, 60), post(60, 4), nn.Linear(60, 5))


class Conv(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.drop, self.head = nn.Conv2d(3, 4, 3), nn.Dropout(), nn.Linear(64, 5)

    def forward(self, x):
        return self.head(self.drop(torch.relu(self.conv(x)).flatten(1)))


class Branching(nn.Module):
    """Python that looks at numbers cannot be vectorised."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(12, 9)

    def forward(self, x):
        y = self.layer(x)
        return torch.tanh(y) if float(y.detach().sum()) > 0 else torch.sin(y)


def isometry():
    return nn.Sequential(*(orthogonal(30, 1.1) for _ in range(7)))


def deep_linear():
    return nn.Sequential(*(gaussian(12, 12, 1.0) for _ in range(40)))


def deep_leaky():
    return nn.Sequential(*(nn.Sequential(gaussian(60, 60, 1.3), nn.LeakyReLU(0.1)) for _ in range(6)))


def wide():
    return nn.Sequential(gaussian(10, 40, 1.0), nn.GELU(), gaussian(40, 30, 1.0))


def autoencoder():
    """Layers that share their weights, transposed and in another order: not free of each other."""
    return Of(lambda layers, x: F.linear(layers[0](x), layers[0].weight.t().flip(0)), gaussian(100, 100, 1.0))


class Talkative(nn.Linear):
    def forward(self, x):
        print("not a result either")
        return super().forward(x)


def noisy_import():
    print("not a result")
    return nn.Sequential(Talkative(10, 40), nn.GELU(), gaussian(40, 30, 1.0))


def off_centre():
    """Weights whose mean is not 0, which have no law here, and gates that close."""
    layers = [gaussian(60, 60, 1.4) for _ in range(3)]
    for layer in layers:
        layer.weight.data += 0.05
    return nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2])


def the_same():
    """Seeds itself, as those do who load a network."""
    torch.manual_seed(0)
    return mlp()


def random_forward():
    return Of(lambda layers, x: F.dropout(layers[0](x)), gaussian(20, 20, 1.0))


class Counting(nn.Linear):
    calls = 0

    def forward(self, x):
        self.calls += 1
        return self.calls * super().forward(x)


def counting():
    return Counting(20, 20)


def in_place():
    return nn.Sequential(nn.ReLU(inplace=True), gaussian(20, 20, 1.0))


def cubes_in_place():
    return Of(lambda layers, x: layers[0](x.pow_(3)), gaussian(20, 20, 1.0))


def tokens():
    return nn.Sequential(gaussian(16, 16, 1.0), nn.Tanh(), gaussian(16, 16, 1.0))


class OldStyle(torch.autograd.Function):
    """A function with a backward pass of its own, in the style that torch.func does not take."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, grad):
        return 3 * ctx.saved_tensors[0] ** 2 * grad


def old_style():
    return Of(lambda layers, x: OldStyle.apply(layers[0](x)), gaussian(20, 20, 1.0))


instance = nn.Sequential(gaussian(40, 40, 1.0), nn.Tanh())


def fails():
    raise ValueError("no\nconfiguration")


def a_number():
    return 3


class TwoInputs(nn.Linear):
    def __init__(self):
        super().__init__(4, 4)

    def forward(self, x, mask):
        return super().forward(x) * mask


def a_tuple():
    return Of(lambda layers, x: (layers[0](x), None), nn.Linear(4, 4))


def no_parameters():
    return nn.Tanh()


def infinite():
    return Of(lambda layers, x: layers[0](x) / 0, nn.Linear(4, 4))


def meta():
    return nn.Linear(4, 4, device="meta")


def without_a_row(width=8, depth=12):
    """A neuron of the third layer is pruned away."""
    layers = [gaussian(width, width, 1.0) for _ in range(depth)]
    layers[2].weight.data[3] = 0
    return nn.Sequential(*(nn.Sequential(layer, nn.Tanh()) for layer in layers))


def masked():
    """Half of the neurons of every layer are pruned by PyTorch's masks."""
    layers = [gaussian(12, 12, 1.0) for _ in range(4)]
    for layer in layers:
        prune.ln_structured(layer, "weight", 0.5, n=2, dim=0)
    return nn.Sequential(*(nn.Sequential(layer, nn.Tanh()) for layer in layers), gaussian(12, 12, 1.0))


def sparse():
    layers = [nn.Linear(12, 12, dtype=torch.float64) for _ in range(5)]
    for layer in layers:
        nn.init.sparse_(layer.weight, 0.8)
    return nn.Sequential(*(nn.Sequential(layer, nn.Tanh()) for layer in layers))


def dead():
    """No gate of the second layer is open."""
    layers = [gaussian(8, 8, 1.0) for _ in range(3)]
    layers[1].bias.data[:] = -100
    return nn.Sequential(*(nn.Sequential(layer, nn.ReLU()) for layer in layers))


class Scaled(PreLayerNorm):
    """LayerScale: the branch begins next to nothing."""

    def forward(self, x):
        return x + 1e-5 * self.down(F.gelu(self.up(self.norm(x))))


def layer_scale():
    return nn.Sequential(Scaled(40), Scaled(40))


def normalised(act=nn.Tanh, width=40, depth=6):
    parts = ((nn.Linear(width, width), nn.BatchNorm1d(width), act()) for _ in range(depth))
    return nn.Sequential(*(part for parts_of_one in parts for part in parts_of_one))


def normalised_relu():
    return normalised(nn.ReLU)


def undefined():
    """The derivative of the branch that is not taken is 0 times infinity."""
    layer = gaussian(8, 8, 1.0)
    layer.weight.data[3] = 0
    return Of(lambda layers, x: torch.where((y := layers[0](x)) != 0, y.abs().sqrt(), 0 * y), layer)


def holding(number):
    model = nn.Sequential(gaussian(8, 8, 1.0), nn.Tanh(), gaussian(8, 8, 1.0), nn.Tanh())
    model[2].weight.data[1, 1] = number
    return model


def with_infinity():
    return holding(math.inf)


def with_nan():
    return holding(math.nan)


class Changing(Counting):
    """Fewer outputs from the call on that `after` says."""

    def __init__(self, after):
        super().__init__(8, 8)
        self.after = after

    def forward(self, x):
        self.calls += 1
        return nn.Linear.forward(self, x)[:, : 8 if self.calls <= self.after else 5]


def another_shape():
    return Changing(1)


def another_shape_later():
    return Changing(2)


class OwnError(BaseException):
    """Not an Exception."""


class SilentError(Exception):
    """Its message fails."""

    def __str__(self):
        raise ValueError("no message")


class Failing(Counting):
    """Fails from the call on that `after` says."""

    def __init__(self, after, error=None):
        super().__init__(8, 8)
        self.after, self.error = after, error or OwnError("of my own")

    def forward(self, x):
        self.calls += 1
        if self.calls > self.after:
            raise self.error
        return nn.Linear.forward(self, x)


def failing():
    return Failing(0)


def failing_later():
    return Failing(2)


def failing_silently():
    return Failing(0, SilentError())


def not_made():
    raise OwnError("of my own")


class Writing(nn.Linear):
    """Writes past Python's standard output."""

    def forward(self, x):
        os.write(1, b"not a result, written\n")
        os.system("echo not a result of a child")  # noqa: S605
        return super().forward(x)


def writing():
    os.system("echo not a result of its making")  # noqa: S605
    return Writing(8, 8)


class RaisesItsOwn(nn.Linear):
    """Fails on any input, by an exception of no Exception."""

    def __init__(self):
        super().__init__(8, 8)

    def forward(self, x):
        del x
        raise KeyboardInterrupt("my own")
