"""Layers, sums and element-wise functions that the operations of a PyTorch module are."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from isocalc.module_functions import IDENTITY, Tree, scaled

if TYPE_CHECKING:
    from torch import Tensor

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Term:
    """An element-wise function of the entries of a base.

    Parameters
    ----------
    base : Input, Weights, Norm or Sum
    function : Tree
    """

    base: "Input | Weights | Norm | Sum"
    function: Tree = IDENTITY


@dataclass(frozen=True, eq=False)
class Input:
    """The input of the module."""


@dataclass(frozen=True, eq=False)
class Weights:
    """W f(x) + b: ``matrix`` of shape (outputs, inputs), ``bias`` of shape (outputs,)."""

    argument: Term
    matrix: Array
    bias: Array


@dataclass(frozen=True, eq=False)
class Norm:
    """LayerNorm over all entries, before its learned gain and bias."""

    argument: Term
    eps: float


@dataclass(frozen=True, eq=False)
class Sum:
    """Two terms of different bases, added."""

    left: Term
    right: Term


class OpaqueError(Exception):
    """The module does something that is no layer of a fully connected network."""


def array(tensor: "Tensor") -> Array:
    """Return a tensor's numbers in double precision."""
    return np.asarray(tensor.detach().to("cpu").double().numpy(), dtype=np.float64)


def product(name: str, given: dict[str, Any]) -> Term:
    """Return W f(x) + b."""
    if name == "linear":
        term, matrix, bias = given["input"], given["weight"], given["bias"]
    elif name == "mm":
        term, matrix, bias = given["self"], given["mat2"], None
    else:
        term, matrix, bias = given["mat1"], given["mat2"], given["self"]
        if given["beta"] != 1 or given["alpha"] != 1:
            raise OpaqueError("the operation addmm with factors")
    if not isinstance(term, Term) or isinstance(matrix, Term) or isinstance(bias, Term):
        raise OpaqueError("a product of two images of the input")
    weights = array(matrix) if name == "linear" else array(matrix).T
    shift = np.zeros(len(weights)) if bias is None else np.broadcast_to(array(bias), len(weights))
    return Term(Weights(term, weights, shift))


def normalised(given: dict[str, Any], size: int) -> Term:
    """Return a LayerNorm with its gain and bias."""
    if list(given["normalized_shape"]) != [size]:
        raise OpaqueError("a LayerNorm over a part of the entries")
    norm = Term(Norm(given["input"], float(given["eps"])))
    gain = np.ones(size) if given["weight"] is None else array(given["weight"])
    bias = np.zeros(size) if given["bias"] is None else array(given["bias"])
    return affine(norm, gain, bias)


def batch_normalised(given: dict[str, Any], result: "Tensor") -> Term:
    """Return what batch normalisation does in evaluation: a fixed gain and bias for each entry."""
    if given.get("training") or result.dim() != 2:
        raise OpaqueError("a batch normalisation")
    term = given["input"]
    gain = 1 / np.sqrt(array(given["running_var"]) + float(given["eps"]))
    shift = -array(given["running_mean"]) * gain
    if given["weight"] is not None:
        gain, shift = gain * array(given["weight"]), shift * array(given["weight"])
    return affine(term, gain, shift + (0 if given["bias"] is None else array(given["bias"])))


def by_vectors(name: str, given: dict[str, Any], term: Term, vector: Array, size: int) -> Term:
    """Return a term plus, or times, a vector."""
    vector = np.broadcast_to(vector, (1, size)).reshape(-1)
    left = isinstance(given["self"], Term)
    if name in {"add", "sub"} and given["alpha"] == 1:
        sign = -1.0 if name == "sub" else 1.0
        gain = np.full(size, 1.0 if left else sign)
        return affine(term, gain, vector * (sign if left else 1.0))
    if name == "mul" or (name == "div" and left):
        return affine(term, vector if name == "mul" else 1 / vector, np.zeros(size))
    raise OpaqueError(f"the operation {name} with a vector")


def affine(term: Term, gain: Array, shift: Array) -> Term:
    """Return gain times a term plus shift, entry by entry, folded into weights where it has to be."""
    if np.all(gain == gain[0]) and not shift.any():
        return Term(term.base, scaled(float(gain[0]), term.function))
    if term.function == IDENTITY and isinstance(term.base, Weights):
        base = term.base
        return Term(replace(base, matrix=gain[:, None] * base.matrix, bias=gain * base.bias + shift))
    if term.function == IDENTITY and isinstance(term.base, Norm):
        return Term(Weights(term, np.diag(gain), shift))
    raise OpaqueError("a gain or bias of each entry that no weights come before")


def added(name: str, given: dict[str, Any], terms: list[Term]) -> Term:
    """Return the sum of two terms, a skip connection most often."""
    if name not in {"add", "sub"} or len(terms) != 2:
        raise OpaqueError("a product of two branches" if name == "mul" else f"{name} of two branches")
    factor = float(given["alpha"]) * (-1.0 if name == "sub" else 1.0)
    return Term(Sum(terms[0], Term(terms[1].base, scaled(factor, terms[1].function))))
