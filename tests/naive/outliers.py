"""The determinant of outliers, one path and one dense system of equations at a time."""

import numpy as np
import numpy.typing as npt

from isocalc.laws.outliers.sampled import Paths

Array = npt.NDArray[np.float64]


def couplings(paths: Paths, z: float, p_hat: Array, q_hat: Array) -> Array:
    """Return K: what unit couplings ξ, η send into the chain, and the ξ, η that the chain returns."""
    layers, count = paths.e.shape
    total = np.zeros((2 * layers, 2 * layers))
    for path in range(count):
        e, d, n, k = (array[:, path] for array in (paths.e, paths.d, paths.n, paths.k))
        response = np.linalg.inv(_chain(z, p_hat * e**2, q_hat * d**2))
        u, v = np.arange(layers + 1), layers + 1 + np.arange(layers + 1)
        sources = np.zeros((2 * layers + 2, 2 * layers))
        measured = np.zeros((2 * layers, 2 * layers + 2))
        for layer in range(layers):
            xi, eta, root = layer, layers + layer, np.sqrt(paths.v)
            sources[u[layer + 1], xi] += k[layer] * root
            sources[v[layer], xi] -= n[layer] * q_hat[layer]
            sources[v[layer], eta] += n[layer] * root
            if paths.orthogonal:
                sources[u[layer + 1], eta] -= k[layer] * p_hat[layer]
            measured[xi, u[layer]] = n[layer]
            measured[eta, v[layer + 1]] = k[layer]
        total += measured @ response @ sources / count
    return total


def _chain(z: float, p: Array, q: Array) -> Array:
    """Return the matrix of the equations for U_0, ..., U_L, V_0, ..., V_L."""
    layers = p.size
    matrix = np.zeros((2 * layers + 2, 2 * layers + 2))
    u, v = np.arange(layers + 1), layers + 1 + np.arange(layers + 1)
    matrix[u[0], [u[0], v[0]]] = 1, -1
    matrix[v[-1], [v[-1], u[-1]]] = z, -1
    for layer in range(layers):
        row = u[layer + 1]
        matrix[row, [row, u[layer], v[layer + 1]]] = 1, -1, -p[layer]
        row = v[layer]
        matrix[row, [row, v[layer + 1], u[layer]]] = 1, -1, -q[layer]
    return matrix
