"""Code in PyTorch, JAX or NumPy that draws a network: ready to paste, the same text for the same network."""

import re
from typing import Literal, get_args

from isocalc.errors import InvalidInputError
from isocalc.network import FeedForward, ResNet, require_choice, require_network
from isocalc.source_activations import spelled

Framework = Literal["torch", "jax", "numpy"]
FRAMEWORKS: tuple[Framework, ...] = get_args(Framework)

_TORCH = '''\
import math

import torch
import torch.nn.functional as F
from torch import nn

{constants}


def phi(x):
    return {phi}


def linear(fan_in, fan_out, scale, *, bias=True):
    """{weights}"""
    layer = nn.Linear(fan_in, fan_out, bias=bias)
    {draw}
    if bias:
        {draw_bias}
    return layer


class Network(nn.Module):
    def __init__(self, width):
        super().__init__(){hidden}
        self.layers = nn.ModuleList({layers})

    def forward(self, x):
        for {names} in self.layers:
            {step}
        return x
'''
_JAX = '''\
import math

import jax
import jax.numpy as jnp

{constants}


def phi(x):
    return {phi}


def linear(key, fan_in, fan_out, scale):
    """{weights}"""
    {draw}


def init(key, width):
    """Parameters of all layers."""
    keys = jax.random.split(key, (DEPTH, 3)){hidden}
    return [{layers} for k in keys{end}]


def apply(parameters, x):
    for {names} in parameters:
        {step}
    return x
'''
_NUMPY = '''\
import math

import numpy as np
from scipy.special import {scipy}

{constants}


def phi(x):
    return {phi}


def linear(rng, fan_in, fan_out, scale):
    """{weights}"""
    {draw}


def init(rng, width):
    """Parameters of all layers."""{hidden}
    return [{layers} for _ in range(DEPTH){end}]


def apply(parameters, x):
    for {names} in parameters:
        {step}
    return x
'''
_TEMPLATES: dict[str, str] = {"torch": _TORCH, "jax": _JAX, "numpy": _NUMPY}

# What of scipy.special NumPy lacks.
_OF_SCIPY = re.compile(r"(?<![.\w])(?:erfc?|expit|ndtr)(?=\()")

_DRAWS = {
    ("torch", "gaussian"): "nn.init.normal_(layer.weight, std=scale / math.sqrt(fan_in))",
    ("torch", "orthogonal"): "nn.init.orthogonal_(layer.weight, gain=scale)",
    ("jax", "gaussian"): "return scale / math.sqrt(fan_in) * jax.random.normal(key, (fan_in, fan_out))",
    ("jax", "orthogonal"): "return jax.nn.initializers.orthogonal(scale)(key, (fan_in, fan_out))",
    ("numpy", "gaussian"): "return rng.normal(0.0, scale / math.sqrt(fan_in), (fan_in, fan_out))",
    ("numpy", "orthogonal"): """\
q, r = np.linalg.qr(rng.normal(size=(max(fan_in, fan_out), min(fan_in, fan_out))))
    q *= scale * np.sign(np.diag(r))
    return q if fan_in >= fan_out else q.T""",
}
_WEIGHTS = {
    "gaussian": "Weights of variance scale^2 / fan_in.",
    "orthogonal": "Weights scale times an orthogonal matrix.",
}


def source(network: ResNet | FeedForward, framework: Framework, about: str = "") -> str:
    """Return code that draws a network at random and passes inputs through it.

    Parameters
    ----------
    network : ResNet or FeedForward
        Of square layers that do not share their weights, and an activation that `isocalc acts` lists or an
        expression of x.
    framework : {"torch", "jax", "numpy"}
        Inputs are rows; in NumPy some activations need SciPy.
    about : str
        What to say in the first comment.

    Raises
    ------
    InvalidInputError
        An argument breaks its rule.
    """
    require_network(network, ResNet, FeedForward)
    require_choice("framework", framework, FRAMEWORKS)
    phi = spelled(network.act, framework)
    if phi is None:
        rule = (
            f"left out with {network.act.name}, which is neither listed by `isocalc acts` nor an expression"
        )
        raise InvalidInputError("framework", rule, framework)
    if isinstance(network, FeedForward) and (network.layer_widths is not None or network.tied):
        raise InvalidInputError("network", "of square layers with weights of their own", network)
    code = _TEMPLATES[framework].format(
        constants="\n".join(_constants(network)),
        phi=phi,
        weights=_WEIGHTS[network.weights],
        draw=_DRAWS[framework, network.weights],
        draw_bias="nn.init.normal_(layer.bias, std=SIGMA_B)"
        if network.sigma_b
        else "nn.init.zeros_(layer.bias)",
        scipy=", ".join(sorted(set(_OF_SCIPY.findall(phi)))) or "nothing",
        hidden=(hidden := _hidden(network, framework)),
        end="\n    " if hidden else "",
        layers=_layers(network, framework),
        **_forward(network, framework),
    )
    return "".join(f"# {line}\n" for line in about.splitlines()) + _without_unused_imports(code)


def _hidden(network: ResNet | FeedForward, framework: str) -> str:
    """Return the line that counts the hidden neurons of a block of two matrices."""
    if not isinstance(network, ResNet) or network.block != "preln":
        return ""
    return "\n" + " " * (8 if framework == "torch" else 4) + "hidden = round(HIDDEN_RATIO * width)"


def _without_unused_imports(code: str) -> str:
    """Leave out the imports whose last word, the name they bind, is not in what follows."""
    imports, body = code.split("\n\nDEPTH", maxsplit=1)
    used = [
        line for line in imports.splitlines() if not line or re.search(rf"\b{line.split()[-1]}\b[.(]", body)
    ]
    return re.sub("\n\n+", "\n\n", "\n".join(used)).lstrip("\n") + "\n\nDEPTH" + body


def _constants(network: ResNet | FeedForward) -> list[str]:
    lines = [f"DEPTH = {network.depth}", f"SIGMA_W = {network.sigma_w!r}"]
    if isinstance(network, ResNet) and network.block == "preln":
        lines += [f"SIGMA_W2 = {network.sigma_w2!r}", f"HIDDEN_RATIO = {network.hidden_ratio!r}"]
    lines += [f"SIGMA_B = {network.sigma_b!r}"] * bool(network.sigma_b)
    if isinstance(network, ResNet) and network.skip != 1:
        lines.append(f"SKIP = {network.skip!r}")
    return lines


def _layers(network: ResNet | FeedForward, framework: str) -> str:
    """Return the expression that draws the parameters of one layer, in torch those of all."""
    root = "SIGMA_W / math.sqrt(DEPTH)" if isinstance(network, ResNet) else "SIGMA_W"
    if isinstance(network, ResNet) and network.block == "preln":
        return _two_matrices(network, framework)
    if framework == "torch":
        return f"linear(width, width, {root}) for _ in range(DEPTH)"
    key, _, bias = _random(network, framework, "width")
    return f"(linear({key}, width, width, {root}), {bias})"


def _two_matrices(network: ResNet, framework: str) -> str:
    """Do what `_layers` does, over several lines, for a block of two matrices."""
    key, second_key, bias = _random(network, framework, "hidden")
    scale = "SIGMA_W2 / math.sqrt(DEPTH)"
    if framework == "torch":
        return (
            "\n            nn.ModuleList(\n                [\n"
            "                    linear(width, hidden, SIGMA_W),\n"
            f"                    linear(hidden, width, {scale}, bias=False),\n"
            "                ]\n            )\n            for _ in range(DEPTH)\n        "
        )
    return (
        f"\n        (\n            linear({key}, width, hidden, SIGMA_W),\n            {bias},\n"
        f"            linear({second_key}, hidden, width, {scale}),\n        )\n       "
    )


def _random(network: ResNet | FeedForward, framework: str, width: str) -> tuple[str, str, str]:
    """Return what draws a layer's matrices, and its biases."""
    if framework == "jax":
        biases = (
            f"SIGMA_B * jax.random.normal(k[1], ({width},))" if network.sigma_b else f"jnp.zeros({width})"
        )
        return "k[0]", "k[2]", biases
    biases = f"rng.normal(0.0, SIGMA_B, {width})" if network.sigma_b else f"np.zeros({width})"
    return "rng", "rng", biases


def _forward(network: ResNet | FeedForward, framework: str) -> dict[str, str]:
    """Return the loop variables and the body of the forward pass."""
    torch = framework == "torch"
    image = "layer({})" if torch else "{} @ weight + bias"
    names = "layer" if torch else "weight, bias"
    if isinstance(network, FeedForward):
        return {"names": names, "step": f"x = phi({image.format('x')})"}
    skip = "SKIP * x + " if network.skip != 1 else "x + "
    if network.block == "post":
        return {"names": names, "step": f"x = {skip}phi({image.format('x')})"}
    if network.block == "pre":
        return {"names": names, "step": f"x = {skip}{image.format('phi(x)')}"}
    if torch:
        step = f"x = {skip}second(phi(first(F.layer_norm(x, x.shape[-1:]))))"
        return {"names": "first, second", "step": step}
    library = "jnp" if framework == "jax" else "np"
    mean, deviation = "x.mean(-1, keepdims=True)", f"{library}.std(x, -1, keepdims=True)"
    step = f"x = {skip}phi((x - {mean}) / {deviation} @ first + bias) @ second"
    return {"names": "first, bias, second", "step": step}
