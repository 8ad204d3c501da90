"""Whether a module does what the layers that were read from it do: outputs and derivatives are compared."""
# ruff: noqa: PLC0415 - PyTorch is optional, and takes seconds to load

import numpy as np
import numpy.typing as npt
from numpy.random import default_rng

from isocalc.haar import Floats
from isocalc.module_layers import Step
from isocalc.module_pass import StepsPass
from isocalc.module_terms import OpaqueError, array
from isocalc.own_code import PASSED, told_as
from isocalc.torch_module import Call

Array = npt.NDArray[np.float64]

# Relative differences, in double precision, up to which two are the same.
_SAME = 1e-5
_ROUNDINGS = 3e4


def verify(steps: tuple[Step, ...], call: Call) -> None:
    """Raise OpaqueError where layers and blocks do not do what a module does.

    At two inputs, its own and another, outputs are compared, and uᵀ J v of random u and v.
    """
    rng = default_rng(0)
    x = array(call.batch).reshape(-1)
    for given in (x, -0.7 * x[::-1]):
        u, v = rng.standard_normal(call.output.numel()), rng.standard_normal(x.size)
        output, gradient, rounding = _of_module(call, given, u)
        rows: Floats = np.stack([v, given])
        forward = StepsPass(steps)
        with np.errstate(all="ignore"):
            for _ in steps:
                rows, _ = forward.advance(rows)
            allowed = max(_SAME, _ROUNDINGS * rounding)
            if not _length(rows[1] - output) <= allowed * _length(output):
                raise OpaqueError("something beside the layers that were recognised: their output is another")
            if not abs(u @ rows[0] - gradient @ v) <= allowed * _length(gradient) * _length(v):
                raise OpaqueError("derivatives that are not those of its output")


def _length(vector: Floats) -> float:
    return float(np.linalg.norm(vector))


def _of_module(call: Call, x: Array, u: Array) -> tuple[Array, Array, float]:
    """Return a module's output and Jᵀ u, in double precision if it can, and the rounding of its numbers."""
    import torch
    from torch import Tensor

    named = (*call.module.named_parameters(), *call.module.named_buffers())
    shape, device = call.batch.shape, call.batch.device

    def found(state: dict[str, Tensor], dtype: torch.dtype) -> tuple[Array, Array]:
        def function(flat: Tensor) -> Tensor:
            return torch.func.functional_call(call.module, state, (flat.reshape(shape).clone(),)).reshape(-1)

        flat = torch.as_tensor(x.copy()).to(dtype=dtype, device=device)
        output, pullback = torch.func.vjp(function, flat)
        return array(output), array(pullback(torch.as_tensor(u).to(dtype=dtype, device=device))[0])

    own = {name: tensor.detach() for name, tensor in named}
    with torch.no_grad():
        try:
            double = {name: t.double() if t.is_floating_point() else t for name, t in own.items()}
            return *found(double, torch.float64), 0.0
        except PASSED:
            raise
        except BaseException:  # noqa: BLE001 - its code has other numbers, or its device no doubles
            with told_as(lambda error: OpaqueError(f"code that torch.func does not differentiate ({error})")):
                return *found(own, call.batch.dtype), float(torch.finfo(call.batch.dtype).eps)
