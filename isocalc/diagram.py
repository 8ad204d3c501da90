"""Phase diagrams of feed-forward networks: arrays of σ_w and σ_b in, arrays of numbers out."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from isocalc.activations import Activation
from isocalc.errors import InvalidInputError, IsocalcError
from isocalc.fixed_point_sets import fixed_points_of
from isocalc.network import FeedForward, Weights

Array = npt.NDArray[np.float64]

_NUMBERS = ("q_star", "chi", "xi_q", "xi_c", "c_star", "relative_variance", "escape")


@dataclass(frozen=True, eq=False)
class PhaseDiagram:
    """Stable fixed points over σ_w and σ_b.

    The arrays have the shape (branches, ...) of σ_w and σ_b broadcast together behind as many branches as
    one network has stable fixed points at most, at least one; the smallest q* comes first. Numbers are NaN
    where a network has no such branch, and phases are "".

    Attributes
    ----------
    q_star, chi, xi_q, xi_c, c_star, relative_variance, escape : array of float
        As :class:`isocalc.FixedPoint` has them, NaN where they are ``None`` there.
    phase : array of str
        "ordered", "critical", "chaotic"; "" where there is no fixed point.
    """

    q_star: Array
    chi: Array
    phase: npt.NDArray[np.str_]
    xi_q: Array
    xi_c: Array
    c_star: Array
    relative_variance: Array
    escape: Array


def phase_diagram(
    activation: str | Activation,
    sigma_w: npt.ArrayLike,
    sigma_b: npt.ArrayLike = 0.0,
    *,
    weights: Weights = "gaussian",
) -> PhaseDiagram:
    """Return all stable fixed points of feed-forward networks of one activation.

    Parameters
    ----------
    activation : str or Activation
    sigma_w, sigma_b : array_like
        Scales of weights and biases, broadcast against each other; 0 or from 1e-100 to 1e10.
    weights : {"gaussian", "orthogonal"}

    Returns
    -------
    PhaseDiagram
        With the accuracy of :func:`isocalc.fixed_points`, which takes a hundred times as long for thousands
        of networks where some are chaotic.

    Raises
    ------
    InvalidInputError
        An argument breaks its rule.

    Notes
    -----
    Theory (12) to (17), Poole et al., arXiv 1606.05340.

    c* is the root of a power series (Mehler's formula for φ'), of
    piecewise linear φ that of a one-dimensional integral (Price's theorem). Where a φ of curves jumps
    or has kinks away from 0, or a kink at 0 and c* is beyond 0.999, chaotic networks with a bias are solved
    one by one, up to a tenth of a second each.

    Examples
    --------
    >>> import numpy as np
    >>> diagram = phase_diagram("tanh", np.linspace(0.5, 3, 101)[:, None], np.linspace(0, 1, 51))
    >>> diagram.chi.shape
    (1, 101, 51)
    """
    scales = _scales(sigma_w, sigma_b)
    networks = [
        FeedForward(activation, weights=weights, sigma_w=of_weights, sigma_b=of_biases)
        for of_weights, of_biases in zip(*(array.ravel().tolist() for array in scales), strict=True)
    ]
    answers = fixed_points_of(networks)
    for answer in answers:
        if isinstance(answer, InvalidInputError):
            raise answer
    found = [() if isinstance(answer, IsocalcError) else answer for answer in answers]
    shape = (max(map(len, found), default=1) or 1, len(found))
    numbers = {name: np.full(shape, np.nan) for name in _NUMBERS}
    phase = np.full(shape, "", dtype="U8")
    for i, points in enumerate(found):
        for branch, point in enumerate(points):
            phase[branch, i] = point.phase
            for name, array in numbers.items():
                array[branch, i] = getattr(point, name)  # None becomes NaN
    shape = (shape[0], *scales[0].shape)
    return PhaseDiagram(
        phase=phase.reshape(shape), **{name: array.reshape(shape) for name, array in numbers.items()}
    )


def _scales(sigma_w: npt.ArrayLike, sigma_b: npt.ArrayLike) -> tuple[Array, Array]:
    given = {"sigma_w": sigma_w, "sigma_b": sigma_b}
    arrays = []
    for name, value in given.items():
        try:
            arrays.append(np.asarray(value, dtype=float))
        except (TypeError, ValueError, OverflowError):
            raise InvalidInputError(name, "a real number or an array of them", value) from None
    try:
        first, second = np.broadcast_arrays(*arrays)
    except ValueError:
        rule = f"of a shape that broadcasts with sigma_w's {arrays[0].shape}"
        raise InvalidInputError("sigma_b", rule, arrays[1].shape) from None
    return first, second
