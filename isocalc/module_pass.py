"""A signal and its tangents on their way through the layers and blocks that a module is."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from isocalc.forward import Mark, normalised
from isocalc.haar import Floats
from isocalc.module_layers import Block, Layer, Step

Array = npt.NDArray[np.float64]
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
        self._signal: Floats = np.empty(0)  # before the step that was last

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
        self._signal = rows[-1].copy()
        return _through(step, rows)

    def row_sizes(self) -> Array:
        """Return the lengths of the rows of the last step's Jacobian, which weights may make 0."""
        rows = np.concatenate((np.eye(self._signal.size), self._signal[None]))
        images, _ = _through(self._steps[self.done - 1], rows)
        return np.asarray(np.linalg.norm(images[:-1], axis=0))


def arguments(steps: tuple[Step, ...], signal: Floats) -> Iterator[tuple[Layer, Floats]]:
    """Yield every layer, those of residual blocks too, and what its weights are multiplied by."""
    for step in steps:
        if isinstance(step, Layer):
            yield step, signal
        elif step.kind == "post":
            yield step.layers[0], signal
        elif step.kind == "pre":
            yield step.layers[0], step.act.phi(signal.astype(float))
        else:
            first, second = step.layers
            inner = normalised(signal[None], step.eps)[0]
            yield first, inner
            yield second, step.act.phi(first.matrix @ inner + first.bias)
        signal = _through(step, signal[None])[0][0]


def _through(step: Step, rows: Floats) -> tuple[Floats, Mask | None]:
    if isinstance(step, Block):
        return _through_block(step, rows), None
    images, slopes = _through_layer(step, rows)
    return images, (slopes != 0) & step.matrix.any(axis=1)


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
