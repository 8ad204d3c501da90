"""How far the universal, the layered and the exact law are from real networks.

Kolmogorov distances to the pooled log s of four networks of width 1000, which alone are about 0.002 from
their law. By hand: ``python tests/bench/compare_laws.py``.
"""

import sys
import time

import numpy as np

import isocalc

WIDTH, TRIALS, SEED = 1000, 4, 1
PRE = {"block": "pre"}
CASES = [
    # The cases for which correlated-gates measurements are stated.
    isocalc.ResNet("tanh", depth=40, sigma_w=2.0, input_variance=4.0, **PRE),
    isocalc.ResNet("tanh", depth=40, **PRE),
    isocalc.ResNet("relu", depth=40, sigma_w=2.0, **PRE),
    isocalc.ResNet("gelu", depth=40, sigma_w=2.0, **PRE),
    isocalc.ResNet("tanh", depth=5, sigma_w=2.0, input_variance=4.0, **PRE),
    isocalc.ResNet("relu", depth=2, sigma_w=2.0),
    isocalc.ResNet("relu", depth=40, sigma_w=2.0),
    isocalc.ResNet("gelu", depth=5, sigma_w=1.5, block="preln", sigma_w2=2.0, hidden_ratio=4.0),
    # Others.
    isocalc.ResNet("tanh", depth=40, sigma_w=2.0, input_variance=4.0, weights="orthogonal", **PRE),
    isocalc.ResNet("silu", depth=20, sigma_w=1.5, sigma_b=0.5, **PRE),
    isocalc.ResNet("hardtanh", depth=30, sigma_w=2.0, skip=0.95, input_variance=2.0, **PRE),
    isocalc.ResNet("leaky_relu:0.2", depth=10, sigma_w=2.0, weights="orthogonal", **PRE),
    isocalc.ResNet("erf", depth=100, sigma_w=3.0, skip=-1.0, input_variance=3.0, **PRE),
    isocalc.ResNet("relu", depth=5, sigma_w=1.5, block="preln", sigma_w2=1.5, hidden_ratio=0.5),
]


def distance(log_s: np.ndarray, law: isocalc.UniversalLaw) -> float:
    pooled = np.sort(log_s, axis=None)
    steps = np.arange(pooled.size + 1) / pooled.size
    mass = law.using("log").cdf(pooled)
    return float(max(np.abs(steps[1:] - mass).max(), np.abs(steps[:-1] - mass).max()))


def main() -> None:
    print(f"{'network':48} {'universal':>10} {'layered':>10} {'exact':>10} {'stated':>8} {'seconds':>8}")
    for net in CASES:
        log_s = isocalc.spectra(net, WIDTH, TRIALS, SEED)
        found = [distance(log_s, isocalc.spectrum(net, law=law)) for law in ("universal", "layered")]
        start = time.perf_counter()
        exact = isocalc.spectrum(net, law="exact")
        exact.grid(200)
        seconds = time.perf_counter() - start
        found.append(distance(log_s, exact))
        about = f"{net.block} {net.activation} L={net.depth} {net.weights[:5]} sw={net.sigma_w}"
        print(
            f"{about:48} {found[0]:10.4f} {found[1]:10.4f} {found[2]:10.4f} {exact.error:8.4f} {seconds:8.2f}"
        )
        sys.stdout.flush()


if __name__ == "__main__":
    main()
