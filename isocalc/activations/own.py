"""Activations that are Python functions of the user's own, named ``module:function``. They are run."""

import math
from collections.abc import Callable
from hashlib import sha256
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from isocalc.activations.definition import Activation
from isocalc.activations.expressions.evaluation import Pieces
from isocalc.activations.expressions.shape import resolved
from isocalc.activations.expressions.tree import RefusedError, X
from isocalc.activations.tolerances import EQUAL
from isocalc.errors import InvalidInputError, NoAnswerError
from isocalc.user_code import is_module, loaded, told_as

Array = npt.NDArray[np.float64]
Numbers = npt.NDArray[Any]

RULE = (
    "module:function or module:function,derivative, or file.py:function and so on, of Python functions that "
    "take and return NumPy arrays"
)

_PROBES = np.concatenate([-np.geomspace(1e-3, 30.0, 40)[::-1], np.geomspace(1e-3, 30.0, 40)]) * 1.0037


class OwnActivation(Activation):
    """An activation that pickles by what it was loaded from, and whose values a checkpoint records."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return own_activation, (self.name,)

    @property
    def identity(self) -> str:
        """The name, with a digest of values of φ."""
        return f"{self.name} {sha256(self.phi(_PROBES).tobytes()).hexdigest()[:16]}"


def own_activation(spec: str) -> Activation:
    """Load an activation from a module of the user's own, which is run.

    Parameters
    ----------
    spec : str
        ``module:function`` or ``module:function,derivative``; the module is looked for in the current folder
        too, or is a file, ``folder/file.py``. Both functions take an array of float64, of any shape, and
        return one of the same shape. Without a derivative φ has to take complex arrays: φ' is its complex
        step. ``function.breakpoints``, a tuple of numbers, says where φ has kinks, ``function.jumps`` where
        it jumps; without the first, φ may have a kink at 0.

    Returns
    -------
    OwnActivation
        Laws at finite depth ask for φ' at complex x, and so for a derivative that takes them.

    Raises
    ------
    InvalidInputError
        The module or function cannot be loaded or fails, or gives no finite arrays, or its derivative is
        another function's, or it varies too fast.
    """
    module, _, names = spec.rpartition(":")
    function, *others = names.split(",")
    if (
        not is_module(module)
        or not all(name.strip().isidentifier() for name in (function, *others))
        or len(others) > 1
    ):
        raise InvalidInputError("act_from", RULE, spec, "An example: my_module:phi,dphi.")
    own = _Own(spec, *(_loaded(spec, module, name.strip()) for name in (function, *others)))
    own.check()
    cuts, jumps = own.numbers("breakpoints", (0.0,)), own.numbers("jumps", ())
    try:
        panels = resolved(_Shaped(own, Pieces(cuts, (X,) * (len(cuts) + 1))))
    except RefusedError as refusal:
        advice = f"{refusal.advice} Name its kinks: {function}.breakpoints = (0.0, 1.0)."
        raise InvalidInputError("act_from", refusal.rule, spec, advice) from None
    return OwnActivation(
        name=spec,
        phi=own.phi,
        dphi=own.dphi,
        breakpoints=tuple(sorted({*cuts, *jumps, *panels.extra})),
        jumps=jumps,
        scale=panels.scale,
        longest=panels.longest,
        window=panels.window,
        formula=spec,
    )


def building_with(spec: str, build: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``build`` with this activation, whatever name it is given for one."""
    own = own_activation(spec)

    def build_with_it(*, activation: str, **values: Any) -> Any:
        del activation
        return build(own, **values)

    return build_with_it


def _loaded(spec: str, module: str, name: str) -> Callable[[Numbers], Numbers]:
    function = loaded("act_from", RULE, spec, module, name)
    if not callable(function):
        raise InvalidInputError("act_from", RULE, spec, f"{name} is no function.")
    return function  # type: ignore[no-any-return] # whatever the user's function is


class _Own:
    """The user's functions, with their errors told as isocalc's."""

    def __init__(
        self,
        spec: str,
        function: Callable[[Numbers], Numbers],
        derivative: Callable[[Numbers], Numbers] | None = None,
    ) -> None:
        self.spec, self._function, self._derivative = spec, function, derivative
        self._continues = False

    def phi(self, x: Array) -> Array:
        """Return φ at an array of real x."""
        return np.asarray(self._called(self._function, x), dtype=np.float64)

    def dphi(self, x: Numbers) -> Numbers:
        """Return φ' at an array of x."""
        if np.iscomplexobj(x):
            if not self._continues:
                raise NoAnswerError(
                    f"the gates of {self.spec} are averaged along complex x, which needs a derivative, "
                    "module:function,derivative, that takes complex arrays",
                    ("take the universal law",),
                )
            return self._called(self._derivative, x)  # type: ignore[arg-type] # it continues
        if self._derivative is not None:
            return np.asarray(self._called(self._derivative, x), dtype=np.float64)
        with np.errstate(all="ignore"):
            step = 1e-20  # whose square is nothing beside any x
            return np.asarray(self._called(self._function, x + 1j * step).imag / step)

    def _called(self, function: Callable[[Numbers], Numbers], x: Numbers) -> Numbers:
        with (
            np.errstate(all="ignore"),
            told_as(lambda error: NoAnswerError(f"{self.spec} failed: {error}")),
        ):
            result = np.asarray(function(+x))
        if result.shape != x.shape or result.dtype.kind not in "fc":
            kind = f"shape {result.shape} and type {result.dtype}"
            raise NoAnswerError(
                f"{self.spec} returned {kind} for an array of shape {x.shape} and type {x.dtype}"
            )
        if result.dtype.kind == "c" and x.dtype.kind != "c":
            raise NoAnswerError(f"{self.spec} returned complex numbers for real ones")
        return result

    def numbers(self, name: str, otherwise: tuple[float, ...]) -> tuple[float, ...]:
        """Return an attribute of the function that is a tuple of numbers."""
        given = getattr(self._function, name, otherwise)
        try:
            values = tuple(sorted(float(value) for value in given))
        except (TypeError, ValueError):
            values = (math.nan,)
        if not all(map(math.isfinite, values)):
            raise InvalidInputError("act_from", RULE, self.spec, f"Its {name} must be a tuple of numbers.")
        return values

    def check(self) -> None:
        """Raise InvalidInputError where the functions do not do what is asked of them."""
        try:
            self._check()
        except NoAnswerError as error:
            raise InvalidInputError("act_from", RULE, self.spec, f"{error}.") from None

    def _check(self) -> None:
        far = np.geomspace(1e-12, 1e6, 400)
        x = np.concatenate([-far[::-1], far, _PROBES])
        for values in (self.phi(x), self.dphi(x)):
            if not np.isfinite(values).all():
                raise NoAnswerError(
                    f"The function or derivative is not finite at x = {x[~np.isfinite(values)][0]:.4g}"
                )
        # Central differences in φ are good to 1e-10: a derivative that is off by 1e-6 is another's.
        step = 1e-5 * np.maximum(1.0, np.abs(_PROBES))
        slope = self.dphi(_PROBES)
        near = (self.phi(_PROBES + step) - self.phi(_PROBES - step)) / (2 * step)
        apart = np.abs(slope - near) > 1e-6 * (1.0 + np.abs(near).max())
        if apart.mean() > 0.1:  # a few may be kinks
            at = _PROBES[apart][0]
            what = "Its derivative" if self._derivative else "Its complex step (give a derivative instead)"
            wrong, right = slope[apart][0], near[apart][0]
            raise NoAnswerError(f"{what} is {wrong:.6g} at x = {at:.4g}, differences are {right:.6g}")
        self._continues = self._derivative is not None and self._takes_complex(self._derivative)

    def _takes_complex(self, derivative: Callable[[Numbers], Numbers]) -> bool:
        """Whether the derivative continues to complex x: off the axis it differs as along it."""
        step = 1e-4
        try:
            above = self._called(derivative, _PROBES + 1j * step)
        except NoAnswerError:
            return False
        along = (self.dphi(_PROBES + step) - self.dphi(_PROBES - step)) / 2
        same = np.abs(above.imag - along) <= 1e-3 * np.abs(along) + 1e-9
        return bool(np.mean(same) > 0.9)


class _Shaped(NamedTuple):
    """The user's functions, as `expressions.shape` looks at a function in pieces."""

    own: _Own
    pieces: Pieces

    def phi(self, x: Array, /) -> Array:
        """Return φ at real x."""
        return self.own.phi(x)

    def dphi(self, x: Numbers, /) -> Numbers:
        """Return φ' at real x."""
        return self.own.dphi(x)

    def noise(self, x: Array, /) -> tuple[Array, Array]:
        """Return how far rounding, of x too, may move φ and φ', a guess."""
        slope = np.abs(self.own.dphi(x))
        far = EQUAL * np.abs(x)
        return EQUAL * (1.0 + np.abs(self.own.phi(x))) + far * slope, EQUAL * (1.0 + slope) + far * slope
