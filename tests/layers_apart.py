"""Each layer's own Jacobian, taken from a forward pass while it runs; products of them in many digits."""

from contextlib import contextmanager

import mpmath
import numpy as np

from isocalc.simulation.forward import ForwardPass


@contextmanager
def recorded():
    """Yield a dictionary that fills with the Jacobian of each layer, shape (N_l, N_{l-1}), by its number."""
    advance, layers = ForwardPass.advance, {}

    def spy(self, rows):
        before, signal = self.mark(), rows[-1].copy()
        result = advance(self, rows)
        after = self.mark()
        self.return_to(before)
        images, _ = advance(self, np.concatenate((np.eye(signal.size, dtype=signal.dtype), signal[None])))
        self.return_to(after)
        layers[self.done] = images[:-1].T
        return result

    ForwardPass.advance = spy
    try:
        yield layers
    finally:
        ForwardPass.advance = advance


def in_order(layers):
    return [layers[number] for number in sorted(layers)]


def exact_log_singular_values(matrices, digits):
    """Return log s of the product of matrices, the last one leftmost, ascending."""
    with mpmath.workdps(digits):
        product = mpmath.matrix(matrices[0].tolist())
        for matrix in matrices[1:]:
            product = mpmath.matrix(matrix.tolist()) * product
        return np.array(sorted(float(mpmath.log(s)) for s in mpmath.svd_r(product, compute_uv=False)))
