"""Replicates as tasks: small frozen descriptions that any process turns into the same singular values."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from hashlib import sha256
from typing import Any

import numpy as np
import numpy.typing as npt

from isocalc import __version__
from isocalc.errors import NoAnswerError, require_choice, require_network, require_whole
from isocalc.limits import MOST_SEED, MOST_TRIALS
from isocalc.networks.branches import HIDDEN_OPTIONS
from isocalc.networks.descriptions import FeedForward, ResNet
from isocalc.simulation import simulate
from isocalc.simulation.budgets import (
    FEED_FORWARD_SECONDS,
    LAYER_SECONDS,
    RESIDUAL_SECONDS,
    WEIGHT_SECONDS,
)

Outcome = npt.NDArray[np.float64] | NoAnswerError
Versions = tuple[str, str, str, str]

_VERSIONED = ("isocalc", "numpy", "scipy", "streams")


@dataclass(frozen=True)
class Replicate:
    """One random network to simulate.

    Parameters
    ----------
    network : ResNet or FeedForward
    width : int or None
        Neurons of every layer, from 2 to 10⁶; ``None`` where the network has ``layer_widths``.
    seed : int
        From 0 to 2⁶³ − 1.
    trial : int
        Which of the networks of this seed, from 0.
    gates, dtype : str
        See `isocalc.simulation.simulate.replicate`.

    Raises
    ------
    InvalidInputError
        An argument breaks its rule.
    """

    network: ResNet | FeedForward
    width: int | None
    seed: int
    trial: int
    gates: simulate.Gates = "own"
    dtype: simulate.Dtype = "float64"

    def __post_init__(self) -> None:
        require_network(self.network, ResNet, FeedForward)
        simulate.given_widths(self.network, self.width)
        require_whole("seed", self.seed, 0, MOST_SEED)
        require_whole("trial", self.trial, 0, MOST_TRIALS - 1)
        require_choice("gates", self.gates, simulate.GATES)
        require_choice("dtype", self.dtype, simulate.DTYPES)

    @property
    def seconds(self) -> float:
        """About how long it takes on one core, to a factor of 3 and mostly of 1.5."""
        n = max(simulate.given_widths(self.network, self.width))
        chain = isinstance(self.network, FeedForward)
        product, values = FEED_FORWARD_SECONDS if chain else RESIDUAL_SECONDS
        weights = 1.0
        if isinstance(self.network, ResNet) and self.network.branch.has_hidden_layer:
            weights = 1 + 2 * self.network.hidden_width(n) / n
        layer = LAYER_SECONDS + weights * (WEIGHT_SECONDS * n**2 + product * n**3)
        return self.network.depth * layer + values * n**3

    @property
    def memory(self) -> int:
        """Bytes held while it is computed, at most."""
        return simulate.memory_needed(self.network, self.width)

    @property
    def size(self) -> int:
        """Number of singular values."""
        return simulate.given_widths(self.network, self.width)[0]

    @property
    def family(self) -> "Replicate":
        """The first replicate of the same network."""
        return replace(self, trial=0)


class Call:
    """A call that is made where its pickle is loaded.

    A worker gets its task as ``pickle.loads`` and bytes, and fails in that task where it lacks a module.
    Dask's workers end where they meet a function or an argument that they cannot load, and the task
    waits for others.
    """

    def __init__(self, function: Callable[..., Any], *args: object) -> None:
        self._function, self._args = function, args

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[object, ...]]:
        return self._function, self._args


def simulate_one(
    task: Replicate, versions: Versions, *, progress: Callable[[], None] | None = None
) -> Outcome:
    """Compute one replicate, wherever this is called; what has no answer returns the reason."""
    require_versions(library_versions(), "a worker", versions)
    try:
        return simulate.replicate(
            task.network,
            task.width,
            task.seed,
            task.trial,
            gates=task.gates,
            dtype=task.dtype,
            progress=progress,
        )
    except NoAnswerError as error:
        return error.with_traceback(None)


def library_versions() -> Versions:
    """Return the versions of what bits depend on: isocalc, NumPy, SciPy and the random streams."""
    import scipy  # noqa: PLC0415 - asked for when work is handed out

    return __version__, np.__version__, scipy.__version__, str(simulate.STREAMS)


def versions_beside(*_tasks: Replicate) -> Versions:
    """Return `library_versions` where tasks can be loaded."""
    return library_versions()


def require_versions(there: Versions, worker: str, here: Versions | None = None) -> None:
    """Raise NoAnswerError where a worker has other versions than this machine, or than ``here``."""
    here = library_versions() if here is None else here
    if there != here:
        other, own = (", ".join(map(" ".join, zip(_VERSIONED, of, strict=True))) for of in (there, here))
        raise NoAnswerError(f"{worker} has {other}, and this machine has {own}: install the same")


def describe(tasks: Sequence[Replicate]) -> dict[str, Any]:
    """Return all that determines the outcomes of tasks, for a checkpoint: versions, values of each option.

    The last entry is a digest of the whole list, in its order.
    """
    options: dict[str, dict[Any, None]] = {}
    digest = sha256()
    for task in tasks:
        values = {"arch": type(task.network).__name__, **_values(task.network), **_values(task)}
        for name, value in values.items():
            options.setdefault(name, {})[value] = None
        digest.update(repr(values).encode())
    listed: dict[str, Any] = {name: list(values) for name, values in options.items() if name != "trial"}
    listed["trials"] = len(options.get("trial", ()))
    versions = zip(_VERSIONED, library_versions(), strict=True)
    return dict(versions) | listed | {"combination": digest.hexdigest()}


def _values(described: Any) -> dict[str, Any]:
    values = {field.name: getattr(described, field.name) for field in fields(described)}
    if values.pop("network", None) is None:
        for name in set(HIDDEN_OPTIONS).difference(described.branch.options):
            values.pop(name, None)
        values["activation"] = described.act.identity
    return values
