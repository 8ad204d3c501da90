"""How each activation is written in PyTorch, JAX and NumPy."""

from typing import NamedTuple

from isocalc.activations import FAMILIES, Activation
from isocalc.source_expressions import translated


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
