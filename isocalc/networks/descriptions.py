"""Descriptions of random networks, validated when they are made."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import Any, Literal

from isocalc.activations.catalogue import Activation
from isocalc.activations.catalogue import activation as find_activation
from isocalc.errors import InvalidInputError, require_choice, require_number, require_whole
from isocalc.limits import MAX_DEPTH
from isocalc.networks.branches import BRANCHES, HIDDEN_OPTIONS, POST, Block, Branch, owners

Weights = Literal["gaussian", "orthogonal"]

WEIGHTS: tuple[Weights, ...] = ("gaussian", "orthogonal")
MAX_WIDTH = 10**9


class _Default(int):
    """A default, told apart from the same number when that is given."""


class _DefaultNumber(float):
    """The same for a number that need not be whole."""


_DEPTH = _Default(100)
_HIDDEN_RATIO, _SIGMA_W2 = _DefaultNumber(4.0), _DefaultNumber(1.0)


@dataclass(frozen=True, kw_only=True)
class _Network:
    activation: str | Activation = field(kw_only=False)
    depth: int = _DEPTH
    weights: Weights = "gaussian"
    sigma_w: float = 1.0
    sigma_b: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "depth", require_whole("depth", self.depth, 1, MAX_DEPTH))
        require_choice("weights", self.weights, WEIGHTS)
        self._require("sigma_w", "a finite number of at least 0", lambda value: value >= 0)
        self._require("sigma_b", "a finite number of at least 0", lambda value: value >= 0)
        self.act  # noqa: B018 - an unknown name is refused here

    def _require(self, parameter: str, rule: str, holds: Callable[[float], bool]) -> None:
        object.__setattr__(self, parameter, require_number(parameter, getattr(self, parameter), rule, holds))

    @cached_property
    def act(self) -> Activation:
        """The activation, looked up."""
        return (
            _named(self.activation) if isinstance(self.activation, str) else find_activation(self.activation)
        )

    @property
    def branch(self) -> Branch:
        """What a layer does, the skip connection apart."""
        return POST

    @property
    def has_weights(self) -> bool:
        """Whether no scale of weights is 0."""
        return all(getattr(self, scale) != 0 for scale in self.branch.scales)


@dataclass(frozen=True, kw_only=True)
class ResNet(_Network):
    """A residual network at random initialisation, of width N → ∞.

    Post-activation blocks [1]_: ``h = W x + b``, ``x' = φ(h) + a x``. Pre-activation blocks [2]_:
    ``x' = a x + W φ(x) + b``. Pre-LayerNorm blocks of two matrices: ``h = W₁ LN(x) + b``,
    ``x' = a x + W₂ φ(h)``, h of ρN neurons; ``LN`` takes off the mean and divides by the standard deviation,
    with no learned gain.

    Parameters
    ----------
    activation : str or Activation
        φ, applied to each entry: a name such as ``"tanh"`` or ``"leaky_relu:0.2"``, or ``"x*tanh(x)"``.
    depth : int
        Number of blocks L, from 1 to 10⁷.
    weights : {"gaussian", "orthogonal"}
        Entries of variance ``sigma_w**2 / (N L)``, or ``sigma_w / sqrt(L)`` times a Haar orthogonal matrix.
        Of two matrices: W₁ of entries of variance ``sigma_w**2 / N`` and W₂ of ``sigma_w2**2 / (L ρ N)``, or
        ``sigma_w`` and ``sigma_w2 / sqrt(L)`` times a semi-orthogonal matrix each.
    sigma_w, sigma_b : float
        Scale of the weights and standard deviation of the biases, at least 0.
    block : {"post", "pre", "preln"}
        Where the activation stands: after the weights, before them, or between two matrices after LayerNorm.
    skip : float
        The weight a of the skip connection, not 0.
    input_variance : float
        Mean square p⁰ of the entries of the input, greater than 0.
    hidden_ratio : float
        ρ, hidden neurons over N, greater than 0; of blocks "preln", as is ``sigma_w2``.
    sigma_w2 : float
        Scale of W₂, at least 0.

    Raises
    ------
    InvalidInputError
        An argument breaks its rule, or belongs to another block.

    References
    ----------
    .. [1] Tarnowski et al., arXiv 1809.08848.
    .. [2] Ling, He, Qiu, arXiv 1807.11694; all three, theory (2) to (4).
    """

    block: Block = "post"
    skip: float = 1.0
    input_variance: float = 1.0
    hidden_ratio: float = _HIDDEN_RATIO
    sigma_w2: float = _SIGMA_W2

    def __post_init__(self) -> None:
        super().__post_init__()
        require_choice("block", self.block, tuple(BRANCHES))
        self._require("skip", "a finite number other than 0", lambda value: value != 0)
        self._require("input_variance", "a finite number greater than 0", lambda value: value > 0)
        if self.branch.has_hidden_layer:
            self._require("hidden_ratio", "a finite number greater than 0", lambda value: value > 0)
            self._require("sigma_w2", "a finite number of at least 0", lambda value: value >= 0)
        else:
            for parameter in HIDDEN_OPTIONS:
                if not isinstance(getattr(self, parameter), _DefaultNumber):
                    rule = f"left out of blocks {self.block}: only {owners(parameter)} has a hidden layer"
                    raise InvalidInputError(parameter, rule, getattr(self, parameter))

    @property
    def branch(self) -> Branch:
        """What stands beside the skip connection."""
        return BRANCHES[self.block]

    @property
    def branch_scale(self) -> float:
        """The scale of the branch's last matrix: ``sigma_w``, of two matrices ``sigma_w2``."""
        return float(getattr(self, self.branch.scale))

    def with_branch_scale(self, scale: float) -> "ResNet":
        """Return the network with another scale of the branch's last matrix."""
        changed: dict[str, Any] = {self.branch.scale: scale}
        return replace(self, **changed)

    def hidden_width(self, width: int) -> int:
        """Return the hidden neurons of a block of two matrices and of width N: ρN, rounded, at least 1."""
        return max(1, round(self.hidden_ratio * width))


@dataclass(frozen=True, kw_only=True)
class FeedForward(_Network):
    """A feed-forward network at random initialisation, of width N → ∞: ``h = W x + b``, ``x' = φ(h)``.

    Parameters
    ----------
    activation : str or Activation
        φ, applied to each entry: a name such as ``"tanh"`` or ``"leaky_relu:0.2"``, or ``"x*tanh(x)"``.
    depth : int
        Number of layers L, from 1 to 10⁷; that of ``layer_widths`` where they are given.
    weights : {"gaussian", "orthogonal"}
        Entries of variance ``sigma_w**2 / N``, or ``sigma_w`` times a Haar orthogonal matrix.
    sigma_w, sigma_b : float
        Scale of the weights and standard deviation of the biases, at least 0.
    input_variance : float or None
        Mean square p⁰ of the entries of the input, greater than 0. ``None``: the pre-activations of every
        layer have the variance of the fixed point q*.
    layer_widths : sequence of int or None
        Widths N_0, ..., N_L of input and layers, of which only the ratios matter: a chain of rectangular
        layers, with entries of variance ``sigma_w**2 / N_{l-1}`` or semi-orthogonal matrices. ``None``: all
        the same.
    tied : bool
        Whether all layers share their weights, as the steps of a recurrent network do. The law of N → ∞ is
        the same [2]_.

    Raises
    ------
    InvalidInputError
        An argument breaks its rule.

    References
    ----------
    .. [1] Pennington, Schoenholz, Ganguli, arXiv 1802.09979; rectangular layers: Chhaibi, Daouda, Kahn,
       arXiv 2111.00841.
    .. [2] Yang, arXiv 2009.10685; the network, theory (1).
    """

    input_variance: float | None = None
    layer_widths: Sequence[int] | None = None
    tied: bool = False

    def __post_init__(self) -> None:
        if self.layer_widths is not None:
            object.__setattr__(self, "layer_widths", _listed(self.layer_widths))
            if isinstance(self.depth, _Default):
                object.__setattr__(self, "depth", _depth_of(self.layer_widths))
        super().__post_init__()
        if self.input_variance is not None:
            self._require("input_variance", "a finite number greater than 0", lambda value: value > 0)
        if self.layer_widths is not None:
            object.__setattr__(self, "layer_widths", self._required_widths(self.layer_widths))

    def _required_widths(self, given: Sequence[int]) -> tuple[int, ...]:
        if len(given) != self.depth + 1:
            rule = f"{self.depth + 1} widths, of the input and of the layers, at depth {self.depth}"
            raise InvalidInputError("layer_widths", rule, len(given))
        checked = tuple(require_whole("layer_widths", width, 1, MAX_WIDTH) for width in given)
        if self.tied and len(set(checked)) > 1:
            rule = "all the same where layers share their weights"
            raise InvalidInputError("layer_widths", rule, given)
        return checked


# Sweeps describe thousands of networks of one activation.
_named = lru_cache(maxsize=128)(find_activation)


def _listed(widths: Sequence[int]) -> tuple[int, ...]:
    try:
        return tuple(widths)
    except TypeError:
        raise InvalidInputError("layer_widths", "a sequence of whole numbers", widths) from None


def _depth_of(widths: Sequence[int]) -> int:
    if len(widths) < 2:
        raise InvalidInputError("layer_widths", "at least 2 widths, of the input and of the layers", widths)
    return len(widths) - 1
