"""Time of signal propagation by depth, against the plain loop that integrates every layer anew.

    python tests/bench/bench_propagation.py

The loop is timed at 200 layers and scaled. Prints milliseconds and the ratio to the baseline.
"""

import time

import numpy as np

from isocalc import FeedForward, ResNet, fixed_points, propagate

DEPTHS = (10, 100, 1000, 10_000, 100_000, 1_000_000)
SAMPLE = 200
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(100)


def baseline(act, depth):
    """Gauss-Hermite quadrature in every layer: fast, though not accurate at kinks."""
    p, weights, c = 1.0, WEIGHTS / WEIGHTS.sum(), 0.0
    for _ in range(depth):
        x = np.sqrt(p / depth) * NODES
        p += weights @ act.phi(x) ** 2
        c += weights @ act.dphi(x) ** 2 / depth
    return c


def seconds(function, *arguments):
    best = np.inf
    for _ in range(3):
        start = time.perf_counter()
        function(*arguments)
        best = min(best, time.perf_counter() - start)
    return best


def main():
    print(f"{'activation':>12} {'depth':>9} {'ms':>10} {'baseline':>10} {'ratio':>7}")
    for spec in ("tanh", "relu", "gelu", "hardtanh"):
        for depth in DEPTHS:
            net = ResNet(spec, depth=depth)
            ours = seconds(propagate, net)
            theirs = seconds(baseline, net.act, SAMPLE) / SAMPLE * depth
            print(
                f"{spec:>12} {depth:9d} {ours * 1e3:10.2f} {theirs * 1e3:10.2f} {ours / theirs:7.3f}",
                flush=True,
            )
    print(f"\n{'fixed point':>12} {'sigma_w':>9} {'ms':>10}")
    for spec, sigma_w in (("tanh", 1.0), ("tanh", 1.5), ("gelu", 1.5), ("hardtanh", 1.0), ("sigmoid", 2.0)):
        ours = seconds(fixed_points, FeedForward(spec, sigma_w=sigma_w, sigma_b=0.0))
        print(f"{spec:>12} {sigma_w:9g} {ours * 1e3:10.2f}")


if __name__ == "__main__":
    main()
