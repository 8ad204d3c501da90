"""Activations given as expressions of x: ``x*tanh(x)``, ``max(x, 0.1*x)``, ``where(x > 1, 1, x)``.

The language is in `isocalc.expression_text`; nothing of a text is ever run as a program.
"""

from functools import lru_cache

import numpy as np

from isocalc.activation_type import Activation
from isocalc.errors import InvalidInputError
from isocalc.expression_function import function_of
from isocalc.expression_pieces import pieces_of
from isocalc.expression_shape import is_odd, shape_of
from isocalc.expression_text import parse, simplified, written
from isocalc.expression_tree import Node, RefusedError
from isocalc.expression_waves import waves_of


def activation_of(text: str) -> Activation:
    """Return the activation that an expression of x means.

    Parameters
    ----------
    text : str

    Returns
    -------
    Activation
        Its name is the expression as isocalc writes it, which reads back as the same.

    Raises
    ------
    InvalidInputError
        The text is not in the language, or the expression is not defined, not finite or not smooth enough for
        some x; the message says where.
    """
    try:
        with np.errstate(all="ignore"):
            return _activation_of(parse(text))
    except RefusedError as refusal:
        raise InvalidInputError("activation", refusal.rule, text, refusal.advice) from None


def step_function_of(text: str) -> Activation | None:
    """Return the function that an expression made of steps means, ``None`` where it is another.

    Its gates are closed everywhere: no network has it, but its signal has a gain.
    """
    try:
        parsed = parse(text)
        tree = simplified(parsed)
        pieces = pieces_of(tree)
        if any(part.op != "const" for part in pieces.parts):
            return None
        function = function_of(tree, pieces)
        name = written(parsed)
        return Activation(
            name=name, phi=function.phi, dphi=function.dphi, formula=name, **shape_of(function).fields
        )
    except RefusedError:
        return None


@lru_cache(maxsize=64)
def _activation_of(parsed: Node) -> Activation:
    tree = simplified(parsed)
    pieces = pieces_of(tree)
    if all(part.op == "const" for part in pieces.parts):
        raise RefusedError("one whose derivative is not 0 everywhere", "It is constant, or made of steps.")
    function = function_of(tree, pieces)
    name = written(parsed)
    if waves := waves_of(function):
        return Activation(
            name=name,
            phi=function.phi,
            dphi=function.dphi,
            scale=waves.scale,
            odd=is_odd(function),
            period=waves.period,
            formula=name,
            closed_averages=waves.averages,
            closed_correlation=waves.correlation,
        )
    return Activation(
        name=name, phi=function.phi, dphi=function.dphi, formula=name, **shape_of(function).fields
    )
