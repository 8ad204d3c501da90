"""Singular values of the input-output Jacobian of a PyTorch module at one input."""
# ruff: noqa: PLC0415 - PyTorch is optional, and takes seconds to load

import math
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from numpy.random import default_rng

from isocalc.errors import InvalidInputError, NoAnswerError
from isocalc.numerics.machine import machine_memory, require_fits
from isocalc.pytorch.module import Call, array, not_finite_part
from isocalc.pytorch.tolerances import CHUNK_NUMBERS, CHUNK_ROWS, COPIES, MOST_DENSE
from isocalc.user_code import told_as

if TYPE_CHECKING:
    from torch import Tensor


Array = npt.NDArray[np.float64]


class _NotVectorisedError(Exception):
    """torch.func does not take the user's code."""


def is_small(call: Call) -> bool:
    """Whether the smaller side of the Jacobian is one that is factorised whole."""
    return bool(min(call.batch.numel(), call.output.numel()) <= MOST_DENSE)


def rounding(call: Call) -> float:
    """Return the share of the largest singular value below which others are rounding errors."""
    import torch

    sides = call.batch.numel() + call.output.numel()
    return float(torch.finfo(call.output.dtype).eps) * math.sqrt(sides)


def dense_log_s(call: Call) -> Array:
    """Return the logarithms of all singular values, as many as there are inputs.

    Parameters
    ----------
    call : Call

    Returns
    -------
    array, shape (N_0,)
        log s, ascending: half the logarithms of the eigenvalues of JᵀJ. −inf stands for s = 0, which those
        beyond the number of outputs are, and for values below `rounding`.

    Raises
    ------
    NoAnswerError
        The Jacobian does not fit in memory, is not finite, or the module has no derivatives.
    """
    inputs, outputs = call.batch.numel(), call.output.numel()
    what = f"a Jacobian of {outputs} by {inputs}"
    require_fits(
        8 * COPIES * inputs * outputs, machine_memory(), what, next_steps=("find the largest alone",)
    )
    matrix = jacobian(call)
    _require_finite(matrix, call)
    try:
        s = np.linalg.svd(matrix, compute_uv=False)
    except np.linalg.LinAlgError:
        why = "the factorisation of the Jacobian did not converge"
        raise NoAnswerError(f"the singular values were not found: {why}") from None
    log_s = np.full(inputs, -math.inf)
    kept = s[s > rounding(call) * s[0]] if s[0] > 0 else s[:0]
    log_s[inputs - kept.size :] = np.log(kept[::-1])
    return log_s


def _require_finite(numbers: Array, call: Call) -> None:
    """Raise NoAnswerError where numbers of a module's Jacobian are not finite."""
    if not np.isfinite(numbers).all():
        cause = not_finite_part(call.module) or "a derivative of it is infinite or undefined there"
        raise NoAnswerError(f"the module's Jacobian is not finite at this input: {cause}")


def jacobian(call: Call) -> Array:
    """Return the Jacobian, shape (outputs, inputs), by torch.func along the smaller side."""
    import torch

    flat = call.batch.reshape(-1)
    shorter = min(call.batch.numel(), call.output.numel())
    chunk = max(1, min(shorter, CHUNK_NUMBERS // max(flat.numel(), 1), CHUNK_ROWS))
    with suppress(_NotVectorisedError), told_as(_NotVectorisedError), torch.no_grad():
        if call.output.numel() <= flat.numel():
            return array(torch.func.jacrev(call.function, chunk_size=chunk)(flat))
        return array(_columns(call, chunk).T)
    return array(_row_by_row(call))


def _columns(call: Call, chunk: int) -> "Tensor":
    """Return the images of the unit vectors, shape (inputs, outputs)."""
    import torch

    flat = call.batch.reshape(-1)

    def image(v: "Tensor") -> "Tensor":
        return torch.func.jvp(call.function, (flat,), (v,))[1]

    units = torch.eye(flat.numel(), dtype=flat.dtype, device=flat.device)
    return torch.func.vmap(image, chunk_size=chunk)(units)


def _row_by_row(call: Call) -> "Tensor":
    """Differentiate one output at a time, as any code can be."""
    import torch

    with (
        torch.enable_grad(),
        told_as(lambda error: NoAnswerError(f"the module cannot be differentiated: {error}")),
    ):
        x = call.batch.reshape(-1).detach().clone().requires_grad_()
        y = call.function(x)
        rows = [torch.autograd.grad(y[i], x, retain_graph=True)[0] for i in range(y.numel())]
        return torch.stack(rows)


def largest_log_s(call: Call, count: int) -> Array:
    """Return the logarithms of the largest singular values, ascending, by Lanczos.

    The Jacobian is never formed: it is applied by Jacobian-vector and vector-Jacobian products. Their squares
    are found, so that −inf stands for those below the square root of `rounding`, over the largest.

    Raises
    ------
    InvalidInputError
        So many are not fewer than the smaller side of the Jacobian.
    NoAnswerError
        The iteration does not converge, the Jacobian is not finite, or the module has no derivatives.
    """
    from scipy.sparse.linalg import ArpackError, LinearOperator, svds

    inputs, outputs = call.batch.numel(), call.output.numel()
    if not 1 <= count < min(inputs, outputs):
        rule = f"a whole number from 1 to {min(inputs, outputs) - 1} for a Jacobian of {outputs} by {inputs}"
        raise InvalidInputError("largest", rule, count)
    start = default_rng(0).standard_normal(min(inputs, outputs))
    with told_as(lambda error: NoAnswerError(f"the largest singular values were not found: {error}")):
        operator = LinearOperator((outputs, inputs), *_products(call), dtype=np.float64)
        try:
            s = svds(operator, k=count, tol=rounding(call), v0=start, return_singular_vectors=False)
        except ArpackError:
            if not operator.matvec(start if start.size == inputs else operator.rmatvec(start)).any():
                return np.full(count, -math.inf)
            why = "Lanczos' iteration did not converge; ask for other numbers of them"
            raise NoAnswerError(f"the largest singular values were not found: {why}") from None
    s = np.sort(s)
    with np.errstate(divide="ignore"):
        return np.log(np.where(s > math.sqrt(rounding(call)) * s[-1], s, 0.0))


def _products(call: Call) -> tuple[Any, Any]:
    """Return v ↦ J v and u ↦ Jᵀ u on arrays."""
    import torch

    flat = call.batch.reshape(-1)
    with torch.no_grad():
        transposed = torch.func.vjp(call.function, flat)[1]

    def image(tensor: "Tensor") -> Array:
        found = array(tensor)
        _require_finite(found, call)
        return found

    def forward(v: Array) -> Array:
        with torch.no_grad():
            tangent = torch.as_tensor(v.reshape(-1)).to(flat)
            return image(torch.func.jvp(call.function, (flat,), (tangent,))[1])

    def backward(u: Array) -> Array:
        with torch.no_grad():
            return image(transposed(torch.as_tensor(u.reshape(-1)).to(flat))[0])

    return forward, backward
