"""Code in PyTorch, JAX or NumPy that draws a network: ready to paste, the same text for the same network.

`source` fills in a template. Activations of the catalogue have their `SPELLINGS`; expressions of x
are `translated`, node by node.
"""

import re
from functools import reduce
from itertools import count
from typing import Literal, NamedTuple, get_args

import numpy as np

from isocalc.activations.catalogue import FAMILIES, Activation
from isocalc.activations.expressions.language import nodes, parse, simplified, written
from isocalc.activations.expressions.tree import SMOOTH, Node, RefusedError, const, value_of
from isocalc.errors import InvalidInputError, require_choice, require_network
from isocalc.networks.descriptions import FeedForward, ResNet

_COMPARISONS = {"<", "<=", ">", ">="}
_CALLED = {*SMOOTH, "abs", "relu", "sign"}


class Dialect(NamedTuple):
    """How a framework names what expressions call; other functions have their own name there."""

    library: str
    names: dict[str, str]


_OF_SCIPY = {"erf": "erf", "erfc": "erfc", "Phi": "ndtr", "sigmoid": "expit"}
DIALECTS = {
    "numpy": Dialect("np", {"asinh": "np.arcsinh", "atan": "np.arctan", **_OF_SCIPY}),
    "jax": Dialect(
        "jnp",
        {
            "asinh": "jnp.arcsinh",
            "atan": "jnp.arctan",
            "erf": "jax.scipy.special.erf",
            "erfc": "jax.scipy.special.erfc",
            "Phi": "jax.scipy.special.ndtr",
            "sigmoid": "jax.nn.sigmoid",
            "silu": "jax.nn.silu",
            "relu": "jax.nn.relu",
        },
    ),
    "torch": Dialect("torch", {"Phi": "torch.special.ndtr", "silu": "F.silu", "gelu": "F.gelu"}),
}


def translated(text: str, framework: str) -> str:
    """Return the code of an expression of x.

    Parameters
    ----------
    text : str
        In the language of `isocalc.activations.expressions.language`.
    framework : {"torch", "jax", "numpy"}
    """
    try:
        tree = parse(text)
    except RefusedError:
        rule = "of a known activation or an expression"
        advice = "Python functions have code already: write one of them by hand."
        raise InvalidInputError("activation", rule, text, advice) from None
    return written(_Translation(DIALECTS[framework]).of(tree))


class _Translation:
    """Trees of names that a framework knows; what has no x in it is a number."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect, self._counter = dialect, count(1)

    def of(self, tree: Node) -> Node:
        """Return the tree of a tree."""
        if all(each.op != "x" for each in nodes(tree)):
            return const(float(value_of(simplified(tree), np.zeros(()))))
        if tree.op == "where":
            condition, *values = tree.args
            comparison = Node(condition.op, tuple(map(self.of, condition.args)))
            return self._call("where", comparison, *map(self.of, values))
        args = tuple(self.of(arg) for arg in tree.args)
        if tree.op in _COMPARISONS:
            return self._call("where", Node(tree.op, args), const(1.0), const(0.0))
        return self._made_of_others(tree.op, args) or (
            self._call(tree.op, *args) if tree.op in _CALLED else Node(tree.op, args)
        )

    def _made_of_others(self, name: str, args: tuple[Node, ...]) -> Node | None:
        """Return a call that has no name of its own in the framework, ``None`` where it has one."""
        match name:
            case "max" | "min":
                return reduce(lambda one, other: self._greatest(name, one, other), args)
            case "clip":
                return self._greatest("min", self._greatest("max", *args[:2]), args[2])
            case "relu" if self._dialect.library == "np":
                return self._greatest("max", args[0], const(0.0))
            case "softplus":
                return self._call("logaddexp", args[0], self._array(const(0.0)))
            case "silu" | "gelu" if name not in self._dialect.names:
                return self._times(args[0], "sigmoid" if name == "silu" else "Phi")
        return None

    def _call(self, name: str, *args: Node) -> Node:
        return Node(self._dialect.names.get(name, f"{self._dialect.library}.{name}"), args)

    def _greatest(self, name: str, one: Node, other: Node) -> Node:
        return self._call(f"{name}imum", self._array(one), self._array(other))

    def _array(self, tree: Node) -> Node:
        """Return what torch, too, takes where it wants arrays."""
        if tree.op != "const" or self._dialect.library != "torch":
            return tree
        return Node(f"torch.as_tensor({tree.number!r}, dtype=x.dtype)")

    def _times(self, tree: Node, gate: str) -> Node:
        """Return u times a gate of u, u written once."""
        if tree.op == "x":
            return Node("mul", (tree, self._call(gate, tree)))
        name = f"u{next(self._counter)}"
        return Node("mul", (Node(f"({name} := {written(tree)})"), self._call(gate, Node(name))))


class Spelling(NamedTuple):
    """φ(x) of one family in three languages, parameters in braces."""

    torch: str
    jax: str
    numpy: str


SPELLINGS: dict[str, Spelling] = {
    "linear": Spelling("x", "x", "x"),
    "relu": Spelling("F.relu(x)", "jax.nn.relu(x)", "np.maximum(x, 0.0)"),
    "leaky_relu": Spelling(
        "F.leaky_relu(x, {negative_slope})",
        "jnp.maximum(x, 0.0) + {negative_slope} * jnp.minimum(x, 0.0)",
        "np.maximum(x, 0.0) + {negative_slope} * np.minimum(x, 0.0)",
    ),
    "abs": Spelling("torch.abs(x)", "jnp.abs(x)", "np.abs(x)"),
    "relu6": Spelling("F.relu6(x)", "jax.nn.relu6(x)", "np.clip(x, 0.0, 6.0)"),
    "hardtanh": Spelling(
        "F.hardtanh(x, {min_val}, {max_val})",
        "jnp.clip(x, {min_val}, {max_val})",
        "np.clip(x, {min_val}, {max_val})",
    ),
    "hardsigmoid": Spelling("F.hardsigmoid(x)", "jax.nn.hard_sigmoid(x)", "np.clip(x + 3.0, 0.0, 6.0) / 6.0"),
    "hardswish": Spelling("F.hardswish(x)", "jax.nn.hard_silu(x)", "x * np.clip(x + 3.0, 0.0, 6.0) / 6.0"),
    "hardshrink": Spelling(
        "F.hardshrink(x, {lambd})",
        "jnp.where(jnp.abs(x) > {lambd}, x, 0.0)",
        "np.where(np.abs(x) > {lambd}, x, 0.0)",
    ),
    "softshrink": Spelling(
        "F.softshrink(x, {lambd})", "x - jnp.clip(x, -{lambd}, {lambd})", "x - np.clip(x, -{lambd}, {lambd})"
    ),
    "threshold": Spelling(
        "F.threshold(x, {threshold}, {value})",
        "jnp.where(x > {threshold}, x, {value})",
        "np.where(x > {threshold}, x, {value})",
    ),
    "squared_relu": Spelling("F.relu(x) ** 2", "jax.nn.relu(x) ** 2", "np.maximum(x, 0.0) ** 2"),
    "elu": Spelling(
        "F.elu(x, {alpha})",
        "jax.nn.elu(x, {alpha})",
        "np.where(x > 0, x, {alpha} * np.expm1(np.minimum(x, 0.0)))",
    ),
    "celu": Spelling(
        "F.celu(x, {alpha})",
        "jax.nn.celu(x, {alpha})",
        "np.where(x > 0, x, {alpha} * np.expm1(np.minimum(x, 0.0) / {alpha}))",
    ),
    "selu": Spelling(
        "F.selu(x)",
        "jax.nn.selu(x)",
        "1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(np.minimum(x, 0.0)))",
    ),
    "gelu": Spelling("F.gelu(x)", "jax.nn.gelu(x, approximate=False)", "x * ndtr(x)"),
    "gelu_tanh": Spelling(
        "F.gelu(x, approximate='tanh')",
        "jax.nn.gelu(x, approximate=True)",
        "0.5 * x * (1.0 + np.tanh(np.sqrt(2.0 / np.pi) * (x + 0.044715 * x**3)))",
    ),
    "silu": Spelling("F.silu(x)", "jax.nn.silu(x)", "x * expit(x)"),
    "mish": Spelling("F.mish(x)", "jax.nn.mish(x)", "x * np.tanh(np.logaddexp(0.0, x))"),
    "softplus": Spelling(
        "F.softplus(x, {beta}, 50.0)",
        "jnp.logaddexp(0.0, {beta} * x) / {beta}",
        "np.logaddexp(0.0, {beta} * x) / {beta}",
    ),
    "sigmoid": Spelling("torch.sigmoid(x)", "jax.nn.sigmoid(x)", "expit(x)"),
    "logsigmoid": Spelling("F.logsigmoid(x)", "jax.nn.log_sigmoid(x)", "-np.logaddexp(0.0, -x)"),
    "tanh": Spelling("torch.tanh(x)", "jnp.tanh(x)", "np.tanh(x)"),
    "tanhshrink": Spelling("F.tanhshrink(x)", "x - jnp.tanh(x)", "x - np.tanh(x)"),
    "softsign": Spelling("F.softsign(x)", "jax.nn.soft_sign(x)", "x / (1.0 + np.abs(x))"),
    "erf": Spelling("torch.erf(x)", "jax.scipy.special.erf(x)", "erf(x)"),
    "arctan": Spelling("torch.arctan(x)", "jnp.arctan(x)", "np.arctan(x)"),
    "gaussian": Spelling("torch.exp(-x * x)", "jnp.exp(-x * x)", "np.exp(-x * x)"),
    "sin": Spelling("torch.sin(x)", "jnp.sin(x)", "np.sin(x)"),
    "snake": Spelling(
        "x + torch.sin({a} * x) ** 2 / {a}",
        "x + jnp.sin({a} * x) ** 2 / {a}",
        "x + np.sin({a} * x) ** 2 / {a}",
    ),
}


def spelled(act: Activation, framework: str) -> str | None:
    """Return φ(x) as an expression, ``None`` where it is a Python function of the user's own.

    Parameters
    ----------
    act : Activation
    framework : {"torch", "jax", "numpy"}
    """
    name, *texts = act.name.split(":")
    if name not in SPELLINGS:
        return translated(act.name, framework) if act.formula == act.name else None
    parameters = FAMILIES[name].parameters
    values = [*map(float, texts), *(p.default for p in parameters[len(texts) :])]
    shown = {p.name: repr(value or 0.0) for p, value in zip(parameters, values, strict=True)}
    text: str = getattr(SPELLINGS[name], framework).format(**shown)
    return text


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
_CALLS_SCIPY = re.compile(r"(?<![.\w])(?:erfc?|expit|ndtr)(?=\()")

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
        Of square layers that do not share their weights, and an activation of the catalogue or an
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
        rule = f"left out with {network.act.name}, which is neither in the catalogue nor an expression"
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
        scipy=", ".join(sorted(set(_CALLS_SCIPY.findall(phi)))) or "nothing",
        hidden=(hidden := _hidden(network, framework)),
        end="\n    " if hidden else "",
        layers=_layers(network, framework),
        **_forward(network, framework),
    )
    return "".join(f"# {line}\n" for line in about.splitlines()) + _without_unused_imports(code)


def _hidden(network: ResNet | FeedForward, framework: str) -> str:
    """Return the line that counts the hidden neurons of a block of two matrices."""
    if not network.branch.has_hidden_layer:
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
    lines = [f"DEPTH = {network.depth}"]
    lines += [f"{name.upper()} = {getattr(network, name)!r}" for name in network.branch.scales]
    if isinstance(network, ResNet) and network.branch.has_hidden_layer:
        lines.append(f"HIDDEN_RATIO = {network.hidden_ratio!r}")
    lines += [f"SIGMA_B = {network.sigma_b!r}"] * bool(network.sigma_b)
    if isinstance(network, ResNet) and network.skip != 1:
        lines.append(f"SKIP = {network.skip!r}")
    return lines


def _layers(network: ResNet | FeedForward, framework: str) -> str:
    """Return the expression that draws the parameters of one layer, in torch those of all."""
    root = "SIGMA_W / math.sqrt(DEPTH)" if isinstance(network, ResNet) else "SIGMA_W"
    if network.branch.has_hidden_layer:
        return _two_matrices(network, framework)
    if framework == "torch":
        return f"linear(width, width, {root}) for _ in range(DEPTH)"
    key, _, bias = _random(network, framework, "width")
    return f"(linear({key}, width, width, {root}), {bias})"


def _two_matrices(network: ResNet | FeedForward, framework: str) -> str:
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
    skip = "" if isinstance(network, FeedForward) else "x + " if network.skip == 1 else "SKIP * x + "
    if not network.branch.has_hidden_layer:
        branch = image.format("phi(x)") if network.branch.acts_on_stream else f"phi({image.format('x')})"
        return {"names": names, "step": f"x = {skip}{branch}"}
    if torch:
        step = f"x = {skip}second(phi(first(F.layer_norm(x, x.shape[-1:]))))"
        return {"names": "first, second", "step": step}
    library = "jnp" if framework == "jax" else "np"
    mean, deviation = "x.mean(-1, keepdims=True)", f"{library}.std(x, -1, keepdims=True)"
    step = f"x = {skip}phi((x - {mean}) / {deviation} @ first + bias) @ second"
    return {"names": "first, bias, second", "step": step}
