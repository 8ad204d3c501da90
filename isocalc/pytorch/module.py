"""The user's own PyTorch module: loaded, built, and called with one input. Needs the extra ``torch``."""
# ruff: noqa: PLC0415 - PyTorch is optional, and takes seconds to load

import inspect
import math
import random
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
from numpy.random import SeedSequence, default_rng

from isocalc.errors import InvalidInputError, NoAnswerError
from isocalc.pytorch.tolerances import CALIBRATING
from isocalc.user_code import is_module, loaded, quoted, told_as

if TYPE_CHECKING:
    from torch import Tensor, nn


Array = npt.NDArray[np.float64]

Norms = Literal["none", "initial", "own", "calibrated"]

RULE = (
    "file.py:name or package.module:name of an nn.Module, a class of it, or a function without arguments "
    "that returns one"
)


def require_torch() -> None:
    """Raise InvalidInputError where PyTorch is not installed."""
    try:
        import torch  # noqa: F401 - whether it is there
    except ImportError as error:
        advice = f"Install it: pip install 'isocalc[torch]'. ({quoted(error)}.)"
        raise InvalidInputError("target", "given with PyTorch installed", "none", advice) from None


@dataclass(frozen=True, eq=False)
class Target:
    """What the user wants measured.

    Parameters
    ----------
    spec : str, nn.Module or callable
        ``package.module:name`` or ``file.py:name``, which is imported; or, in Python, what it would name.
    submodule : str
        Dotted path of a part of it that is measured alone; empty for all of it.
    dtype : str
        ``"float64"`` or ``"float32"`` to convert the module to, ``"own"`` to leave it as it is.

    Raises
    ------
    InvalidInputError
        PyTorch is missing, the name is of another form, cannot be loaded or is no module.
    """

    spec: "str | nn.Module | Callable[[], nn.Module]"
    submodule: str = ""
    dtype: str = "own"
    _found: Any = field(init=False, repr=False, default=None)

    def __post_init__(self) -> None:
        require_torch()
        object.__setattr__(self, "_found", _named(self.spec) if isinstance(self.spec, str) else self.spec)
        if not callable(self._found):
            kind = type(self._found).__name__
            raise InvalidInputError("target", RULE, self.spec, f"It is of type {kind}.")

    @property
    def is_instance(self) -> bool:
        """Whether it is a module already, with weights that are drawn once and for all."""
        from torch import nn

        return isinstance(self._found, nn.Module)

    def build(self, seed: int, trial: int) -> "nn.Module":
        """Return the module in evaluation mode: a new one, drawn with a seed of its own, if it can be.

        Raises
        ------
        InvalidInputError
            The user's code fails or returns no module, the module holds no parameters or no such part.
        """
        from torch import nn

        _plant(seed, trial)
        with (
            told_as(lambda error: InvalidInputError("target", RULE, self.spec, f"Calling it: {error}.")),
            redirect_stdout(sys.stderr),
        ):
            made = self._found if self.is_instance else self._found()
        if not isinstance(made, nn.Module):
            raise InvalidInputError("target", RULE, self.spec, f"It returned type {type(made).__name__}.")
        part = self._part(made)
        if next(part.parameters(), None) is None:
            advice = "It holds no parameters, so that nothing of it is random."
            raise InvalidInputError("target", "a module with parameters", self.spec, advice)
        if self.dtype != "own":
            part = _converted(part, self.dtype)
        return part.eval()

    def _part(self, made: "nn.Module") -> "nn.Module":
        from torch import nn

        try:
            part = made.get_submodule(self.submodule) if self.submodule else made
        except (AttributeError, RuntimeError) as error:  # of scripted modules
            names = ", ".join(name for name, _ in made.named_children()) or "none"
            rule, advice = "the path of a part of the module", f"{quoted(error)}. Its parts: {names}."
            raise InvalidInputError("module", rule, self.submodule, advice) from None
        # A list of blocks has no forward of its own.
        return nn.Sequential(*part) if isinstance(part, nn.ModuleList) else part


def _named(spec: str) -> Any:
    """Import what ``package.module:name`` or ``file.py:name`` names."""
    module, _, name = spec.rpartition(":")
    if not (is_module(module) and name.isidentifier()):
        raise InvalidInputError("target", RULE, spec, "An example: model.py:make.")
    return loaded("target", RULE, spec, module, name)


def _plant(seed: int, trial: int) -> None:
    """Seed the generators that an initialisation may draw from."""
    import torch

    drawn = int(SeedSequence(seed, spawn_key=(trial,)).generate_state(1)[0])
    torch.manual_seed(drawn)
    random.seed(drawn)
    np.random.seed(drawn)  # noqa: NPY002 - the user's code may draw from it


def _converted(part: "nn.Module", dtype: str) -> "nn.Module":
    import copy

    import torch

    return copy.deepcopy(part).to(getattr(torch, dtype))


def drawn_input(seed: int, trial: int, shape: Sequence[int], variance: float, stream: int = 1) -> Array:
    """Return a Gaussian input of a shape, scaled so that the mean square of its entries is ``variance``."""
    x = default_rng(SeedSequence(seed, spawn_key=(trial, stream))).standard_normal(tuple(shape))
    return x * math.sqrt(variance / float(np.mean(x * x)))


def calibration_inputs(
    seed: int, trial: int, shape: Sequence[int], variance: float, inputs: Array | None
) -> Array:
    """Return the inputs that `calibrated` takes: Gaussian ones of their own, or the first that were given."""
    if inputs is not None:
        return inputs[:CALIBRATING]
    return drawn_input(seed, trial, (CALIBRATING, *shape), variance, stream=2)


def _normalisations(module: "nn.Module") -> "list[Any]":
    """Return the parts with running statistics of a mean and a variance."""
    from torch.nn.modules.batchnorm import _NormBase

    parts = [part for part in module.modules() if isinstance(part, _NormBase)]
    return [part for part in parts if part.running_mean is not None and part.running_var is not None]


def norms_of(module: "nn.Module") -> Norms:
    """Say where the statistics of a module's batch normalisation come from."""
    parts = _normalisations(module)
    if not parts:
        return "none"
    initial = all(not part.running_mean.any() and bool((part.running_var == 1).all()) for part in parts)
    return "initial" if initial else "own"


def calibrated(module: "nn.Module", inputs: Array) -> "nn.Module":
    """Return a copy whose batch normalisation has the statistics of a batch, run once in training mode.

    Raises
    ------
    InvalidInputError
        There is none, or the module does not take the batch in training mode.
    """
    import copy

    import torch

    rule = "given with a module that has batch normalisation"
    if not _normalisations(module):
        raise InvalidInputError("calibrate", rule, type(module).__name__, "Leave it out.")
    rule = f"{rule} and takes a batch of {len(inputs)} inputs in training mode"
    name = type(module).__name__
    like = _floating(module)
    batch = torch.as_tensor(inputs).to(dtype=like.dtype, device=like.device)
    with (
        torch.no_grad(),
        told_as(lambda error: InvalidInputError("calibrate", rule, name, f"{error}.")),
        redirect_stdout(sys.stderr),
    ):
        module = copy.deepcopy(module)
        for part in _normalisations(module):
            part.momentum = 1.0  # nothing of what was before remains
        module.train()(batch)
        return module.eval()


@dataclass(frozen=True, eq=False)
class Call:
    """A module as a function of one input, checked by calling it once.

    Parameters
    ----------
    module : nn.Module
        In evaluation mode.
    x : array
        One input; the module is given a batch of one, of its own type and on its own device.

    Attributes
    ----------
    batch : Tensor, shape (1, *x.shape)
    output : Tensor
        What the module makes of it.

    Raises
    ------
    InvalidInputError
        The module takes several inputs, fails on this one, or returns no tensor of real numbers.
    NoAnswerError
        Its output is not finite.
    """

    module: "nn.Module"
    x: Array
    batch: "Tensor" = field(init=False, repr=False)
    output: "Tensor" = field(init=False, repr=False)

    def __post_init__(self) -> None:
        import torch

        like = _floating(self.module)
        batch = torch.as_tensor(self.x).to(dtype=like.dtype, device=like.device)[None]
        object.__setattr__(self, "batch", batch)
        _require_one_input(self.module)
        with torch.no_grad(), told_as(self._refusal), redirect_stdout(sys.stderr):
            output, again = self.module(batch.clone()), self.module(batch.clone())
        if not isinstance(output, torch.Tensor) or not output.is_floating_point():
            kind = str(output.dtype) if isinstance(output, torch.Tensor) else type(output).__name__
            rule, advice = "a module that returns one tensor of real numbers", "Wrap it in one that does."
            raise InvalidInputError("target", rule, kind, advice, ("measure a part",))
        if not output.numel():
            raise InvalidInputError("target", "a module with outputs", "none", "Its output is empty.")
        if not bool(torch.isfinite(output).all()):
            cause = not_finite_part(self.module) or "take inputs of a smaller mean square"
            raise NoAnswerError(f"the module's output is not finite: {cause}")
        _require_one_function(output, again)
        object.__setattr__(self, "output", output)

    def _refusal(self, error: str) -> InvalidInputError:
        shape = ",".join(map(str, self.batch.shape))
        rule = f"a module that runs on one input, a batch of shape {shape}"
        kind = type(self.module).__name__
        return InvalidInputError("target", rule, kind, f"It raised {error}.", ("give another shape",))

    @property
    def function(self) -> "Callable[[Tensor], Tensor]":
        """The flat output of a flat input; raises NoAnswerError where its size is another than before."""
        shape, size = self.batch.shape, self.output.numel()

        def function(flat: "Tensor") -> "Tensor":
            # A copy, since modules may change their input in place.
            output = self.module(flat.reshape(shape).clone()).reshape(-1)
            if output.numel() != size:
                raise _no_function()
            return output

        return function


def array(tensor: "Tensor") -> Array:
    """Return a tensor's numbers in double precision."""
    return np.asarray(tensor.detach().to("cpu").double().numpy(), dtype=np.float64)


def _require_one_function(output: "Tensor", again: "Tensor") -> None:
    """Raise NoAnswerError where two calls with one input differ by more than the order of sums explains."""
    import torch

    if again.shape != output.shape:
        raise _no_function()
    apart = float(torch.linalg.vector_norm((again - output).double()))
    # Of numbers that are not finite the second time, the comparison is false.
    near = math.sqrt(torch.finfo(output.dtype).eps) * float(torch.linalg.vector_norm(output.double()))
    if not apart <= near:
        raise _no_function()


def _no_function() -> NoAnswerError:
    return NoAnswerError(
        "the module's output changes from call to call with the same input, in evaluation mode too: it "
        "draws random numbers or counts its calls, so that it is no function with a Jacobian"
    )


def not_finite_part(module: "nn.Module") -> str:
    """Name a parameter or buffer that is not finite; empty where there is none."""
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        if not bool(tensor.detach().isfinite().all()):
            return f"its {name} is not"
    return ""


def weights_of(module: "nn.Module") -> tuple[float, ...]:
    """Return numbers by which modules of other weights are told apart: of each parameter its sum."""
    return tuple(float(tensor.detach().double().sum()) for tensor in module.parameters())


def _floating(module: "nn.Module") -> "Tensor":
    """Return the first parameter or buffer that has real numbers."""
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.is_floating_point():
            if tensor.is_meta:
                advice = "They are on PyTorch's device meta."
                raise InvalidInputError("target", "a module whose parameters have values", "none", advice)
            return tensor
    raise InvalidInputError("target", "a module with real parameters", "none", "Its parameters are not real.")


def _require_one_input(module: "nn.Module") -> None:
    try:
        parameters = inspect.signature(module.forward).parameters.values()
    except (TypeError, ValueError):
        return
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    keyword = [p for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty]
    needed = [p for p in parameters if p.kind in kinds and p.default is p.empty] + keyword
    if len(needed) > 1:
        names = ", ".join(p.name for p in needed)
        advice = f"Its forward takes {len(needed)}: {names}. Wrap it in one that gives the others."
        raise InvalidInputError("target", "a module of one input", type(module).__name__, advice)
