"""The equations of residual networks with correlated gates: freeness with amalgamation over the neurons.

Layer l is 1 + E W D in units of the skip connection, W of variance v/N, E and D diagonal of entries e and d.
On a path, the gates of one neuron in all layers, with p = v e² β and q = v d² α,

    r_l = p_l + r_{l−1}/(1 − q_l r_{l−1}),  r_0 = 1,        s_{l−1} = q_l + s_l/(1 − p_l s_l),  s_L = 1/z,

ω_l = 1/(1 − r_l s_l), α_l = E e_l² s_l ω_l, β_l = E d_l² r_{l−1} ω_{l−1}, and m = E ω_L − 1: one and the same
for every ω_l. With orthogonal weights p = v e² β Ψ and q = v d² α Ψ, Ψ = 1 − τ, τ = v αβ Ψ². The unknowns are
the logarithms of p/e² and q/d²; in them τ has one branch: √τ and the Green's function g = √(v αβ) are in the
lower half-plane, and 1/√τ = √τ + 1/g. All arguments are from −π to 0, on the real axis too. ∫ log(1 − λ/z) is

    E log Π (1 − q_l r_{l−1}) + E log(1 − r_L/z) + Σ v αβ    (orthogonal: − Σ log(1 − τ) in place of the sum),

stationary in the unknowns; its imaginary part over π is the mass above z: theory (44) to (48).

A group of K layers with the same gates has K times the variance and gets half (1 − 1/K) of its p before its
q: what that residuals is of third order in the variance of the group.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from isocalc.laws.paths.gate_paths import ChainArrays, ChainRoom
from isocalc.laws.tolerances import MOST_ITERATIONS, SOLVED, SOLVED_BESIDE_EDGE

Array = npt.NDArray[np.float64]
Complex = npt.NDArray[np.complex128]


class Solutions(NamedTuple):
    """Solutions at n places.

    Attributes
    ----------
    m : array, shape (n,)
        z G(z) − 1; on the real axis its limit from above.
    potential : array, shape (n,)
        ∫ log(1 − λ/z) of the law.
    states : array, shape (n, 2G)
        log(p/e²) and log(q/d²) of each group.
    solved : array of bool, shape (n,)
        Where the iteration converged.
    """

    m: Complex
    potential: Complex
    states: Complex
    solved: npt.NDArray[np.bool_]


def solve(chain: ChainArrays, y: npt.NDArray[np.inexact]) -> Solutions:
    """Solve the equations at log z = y, on all cores.

    Parameters
    ----------
    chain : ChainArrays
    y : array, shape (n,)
        Real, or complex with an imaginary part from 0 to π; neighbours help each other, best if falling.
    """
    from isocalc.laws.paths.kernels import solve_chain  # noqa: PLC0415 - loading Numba takes half a second

    log_z = np.asarray(y, dtype=complex)
    m, potential, residuals = np.empty_like(log_z), np.empty_like(log_z), np.empty(log_z.size)
    states = np.empty((log_z.size, 2 * chain.counts.size), dtype=complex)

    def solve_part(part: slice) -> None:
        found = states[part], m[part], potential[part], residuals[part]
        solve_chain(chain, log_z[part], SOLVED, MOST_ITERATIONS, ChainRoom.of(chain), *found)

    threads = min(os.cpu_count() or 1, log_z.size)
    ends = [round(k * log_z.size / threads) for k in range(threads + 1)]
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(solve_part, map(slice, ends[:-1], ends[1:])))
    return Solutions(m, potential, states, residuals <= SOLVED_BESIDE_EDGE)


def first_moments(chain: ChainArrays) -> tuple[float, float]:
    """Return E λ and E λ² from the expansion of the equations in 1/z.

    Parameters
    ----------
    chain : ChainArrays

    Returns
    -------
    mean, second : float
    """
    weights, counts = chain.weights, chain.counts
    before = (1 - 1 / counts) / 2
    ones = np.ones_like(weights)

    def gates(k: int) -> tuple[Array, Array]:
        return (chain.gates[k], ones) if chain.on_output else (ones, chain.gates[k])

    # r to order 0, then s to order 1, then r to order 1; x is r where the gates d are.
    r, x, p = ones, [], []
    for k, variance in enumerate(chain.variances.tolist()):
        e, d = gates(k)
        growth = 1 - variance * before[k] * float(weights @ (d * e))
        p.append(variance * float(weights @ (d * r)) / growth)
        x.append(r + before[k] * p[k] * e)
        r = r + p[k] * e
    s, s_before, q = ones, [ones] * counts.size, np.empty(counts.size)
    for k in range(counts.size - 1, -1, -1):
        e, d = gates(k)
        growth = 1 - chain.variances[k] * before[k] * float(weights @ (e * d))
        q[k] = chain.variances[k] * float(weights @ (e * s)) / growth
        s = s + q[k] * d
        s_before[k] = s
    r1 = np.zeros_like(ones)
    for k, variance in enumerate(chain.variances.tolist()):
        e, d = gates(k)
        fixed = variance * float(weights @ (d * (r1 + x[k] ** 2 * s_before[k])))
        if chain.orthogonal:
            fixed -= p[k] * p[k] * q[k] / (variance * counts[k])
        p1 = fixed / (1 - variance * before[k] * float(weights @ (d * e)))
        r1 = r1 + p1 * e + q[k] * d * x[k] ** 2
    mean = float(weights @ r)
    return mean, float(weights @ (r1 + r * r))
