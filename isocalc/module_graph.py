"""What a PyTorch module computes, as weights, sums and element-wise functions between them.

The module is traced by calling it once (`torch.fx`), so that any Python in it is followed, and every
operation that does not depend on the input is folded into a number or matrix.
"""
# ruff: noqa: PLC0415 - PyTorch is optional, and takes seconds to load

from typing import TYPE_CHECKING, Any

import numpy as np

from isocalc.module_functions import combined, is_elementwise, number
from isocalc.module_terms import (
    Input,
    OpaqueError,
    Term,
    added,
    array,
    batch_normalised,
    by_vectors,
    normalised,
    product,
)
from isocalc.own_code import PASSED
from isocalc.torch_module import Call

if TYPE_CHECKING:
    from torch import Tensor
    from torch.fx import Node

_SAME_NUMBERS = {
    "view",
    "_unsafe_view",
    "reshape",
    "alias",
    "detach",
    "clone",
    "squeeze",
    "unsqueeze",
    "flatten",
}
_SAME_NUMBERS |= {"_to_copy", "lift_fresh_copy", "contiguous", "_reshape_alias", "dropout"}
_IN_WORDS = {
    "convolution": "a convolution",
    "_softmax": "a softmax",
    "bmm": "attention or a batched product",
    "embedding": "an embedding",
}


def traced(call: Call) -> Term:
    """Return what a module computes from its input.

    Raises
    ------
    OpaqueError
        It cannot be traced, or does something else; the message completes "it has ...".
    """
    import torch
    from torch.fx.experimental.proxy_tensor import make_fx

    def function(x: "Tensor") -> "Tensor":
        return call.module(x)

    try:
        with torch.no_grad():
            graph = make_fx(function)(call.batch.clone())  # modules may change it in place
    except PASSED:
        raise
    except BaseException as error:  # noqa: BLE001 - tracing runs the user's code, which may raise anything
        raise OpaqueError(f"code that cannot be traced ({type(error).__name__})") from None
    return _Reader(graph).read()


class _Reader:
    """Runs a traced module node by node: constants as tensors, what depends on the input as terms."""

    def __init__(self, graph: Any) -> None:
        self._graph = graph
        self._values: dict[Node, Any] = {}

    def read(self) -> Term:
        import torch

        with torch.no_grad():
            for node in self._graph.graph.nodes:
                if node.op == "placeholder":
                    self._values[node] = Term(Input())
                elif node.op == "get_attr":
                    self._values[node] = getattr(self._graph, node.target)
                elif node.op == "output":
                    found = self._of(node.args[0])
                    break
                else:
                    self._values[node] = self._computed(node)
        if not isinstance(found, Term):
            raise OpaqueError("an output that does not depend on the input")
        return found

    def _of(self, argument: Any) -> Any:
        from torch.fx import map_arg

        return map_arg(argument, lambda node: self._values[node])

    def _computed(self, node: "Node") -> Any:
        arguments, keywords = self._of(node.args), self._of(node.kwargs)
        if not hasattr(node.target, "_schema"):  # picks one of several results, which are in a tuple
            return arguments[0][arguments[1]]
        name, given = _bound(node.target, arguments, keywords)
        in_place = name.endswith("_")
        if not _has_term(arguments) and not _has_term(tuple(keywords.values())):
            if in_place:
                raise OpaqueError(f"the operation {name} on its own numbers")
            return node.target(*arguments, **keywords)
        terms = [value for value in given.values() if isinstance(value, Term)]
        if any(_has_term(value) for value in given.values() if not isinstance(value, Term)):
            raise OpaqueError(_IN_WORDS.get(name, f"the operation {name}"))
        value = node.meta["val"]
        result = value[0] if isinstance(value, tuple) else value
        plain = name.removesuffix("_")
        found = _term(plain, str(node.target).replace(f".{name}.", f".{plain}."), given, terms, result)
        if in_place:
            self._values[node.args[0]] = found
        return (found, None, None) if isinstance(value, tuple) else found


def _term(name: str, full: str, given: dict[str, Any], terms: list[Term], result: "Tensor") -> Term:
    """Return what one operation makes of terms."""
    if name in _SAME_NUMBERS:
        return terms[0]
    if name in {"addmm", "mm", "linear"}:
        return product(name, given)
    if name == "native_layer_norm":
        return normalised(given, result.numel())
    if name in {"native_batch_norm", "_native_batch_norm_legit_no_training", "cudnn_batch_norm"}:
        return batch_normalised(given, result)
    return _elementwise(name, full, given, result)


def _elementwise(name: str, full: str, given: dict[str, Any], result: "Tensor") -> Term:
    import torch

    operands = {key: value for key, value in given.items() if isinstance(value, (Term, torch.Tensor))}
    terms = [value for value in operands.values() if isinstance(value, Term)]
    arrays = {k: array(v) for k, v in operands.items() if not isinstance(v, Term)}
    alone = all(np.all(array == array.flat[0]) for array in arrays.values())
    if len({id(term.base) for term in terms}) > 1:
        return added(name, given, terms)
    if not is_elementwise(full):
        raise OpaqueError(_IN_WORDS.get(name, f"the operation {name}"))
    if alone:
        trees = [
            value.function if isinstance(value, Term) else number(float(arrays[key].flat[0]))
            for key, value in operands.items()
        ]
        plain = {key: value for key, value in given.items() if key not in operands}
        return Term(terms[0].base, combined(full, trees, plain))
    return by_vectors(name, given, terms[0], next(iter(arrays.values())), result.numel())


def _bound(target: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the name of an operation and all its arguments by name, defaults too."""
    schema = target._schema.arguments  # noqa: SLF001 - how PyTorch describes an operation
    given = {argument.name: argument.default_value for argument in schema if argument.has_default_value()}
    given |= dict(zip([argument.name for argument in schema], arguments, strict=False))
    return target._schema.name.partition("::")[2], given | keywords  # noqa: SLF001


def _has_term(value: Any) -> bool:
    return isinstance(value, Term) or (isinstance(value, (tuple, list)) and any(map(_has_term, value)))
