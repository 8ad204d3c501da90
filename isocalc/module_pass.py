"""A signal and its tangents on their way through the layers and blocks that a module is."""

import numpy as np
import numpy.typing as npt

from isocalc.forward import Mark, normalised
from isocalc.haar import Floats
from isocalc.module_layers import Block, Layer, Step

Mask = npt.NDArray[np.bool_]


class StepsPass:
    """A signal and its tangents on their way through layers and blocks, as `jacobian.log_spectrum` asks.

    Parameters
    ----------
    steps : tuple of Layer or Block
    """

    def __init__(self, steps: tuple[Step, ...]) -> None:
        self._steps = steps
        self.depth, self.done = len(steps), 0

    @property
    def network(self) -> "StepsPass":
        """What has the depth."""
        return self

    def mark(self) -> Mark:
        """Return where the pass stands, for `return_to`."""
        return Mark(self.done, None)

    def return_to(self, mark: Mark) -> None:
        """Go back."""
        self.done = mark.done

    def advance(self, rows: Floats) -> tuple[Floats, Mask | None]:
        """Send a signal, the last row, and directions tangent to it, the others, through the next step."""
        step = self._steps[self.done]
        self.done += 1
        if isinstance(step, Block):
            return _through_block(step, rows), None
        images, slopes = _through_layer(step, rows)
        return images, np.asarray(slopes != 0)


def _through_layer(layer: Layer, rows: Floats) -> tuple[Floats, Floats]:
    images = rows @ layer.matrix.T
    pre_activation = images[-1] + layer.bias
    slopes = layer.act.dphi(pre_activation)
    images[:-1] *= slopes
    images[-1] = layer.act.phi(pre_activation)
    return images, slopes


def _through_block(block: Block, rows: Floats) -> Floats:
    first = block.layers[0]
    if block.kind == "post":
        branch, _ = _through_layer(Layer(first.matrix, first.bias, block.act), rows)
    elif block.kind == "pre":
        gated = rows * block.act.dphi(rows[-1])
        gated[-1] = block.act.phi(rows[-1])
        branch, _ = _through_layer(first, gated)
    else:
        hidden = Layer(first.matrix, first.bias, block.act)
        images, _ = _through_layer(hidden, normalised(rows, block.eps))
        branch, _ = _through_layer(block.layers[1], images)
    return block.skip * rows + branch
