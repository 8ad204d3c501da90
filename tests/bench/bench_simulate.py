"""Time of one simulated network against a plain numpy script, and the error of Σ log s, by depth.

    OPENBLAS_NUM_THREADS=1 python tests/bench/bench_simulate.py [WIDTH [DEPTH [REPEATS]]]

CPU time. The script multiplies the same layers, forms Haar matrices by numpy's QR and ends in numpy's SVD.
Both take turns; the best of the repeats counts. Limits at N = 1000, L = 100: feed-forward Gaussian 3,
residual 1.1, orthogonal 0.7. The identity: |Σ log s − Σ log|det layers|| / Σ|log s|, at most 1e-10, the
worst of 3 seeds.
"""

import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from isocalc import FeedForward, ResNet
from isocalc.simulation.simulate import replicate

sys.path.insert(0, str(Path(__file__).parent.parent))
from layers_apart import in_order, recorded

TIMED = (
    ("feed-forward Gaussian", FeedForward("linear"), 3.0),
    ("feed-forward Gaussian tanh", FeedForward("tanh", sigma_w=1.5, sigma_b=0.3), 3.0),
    ("feed-forward Gaussian relu", FeedForward("relu", sigma_w=2**0.5), 3.0),
    ("residual", ResNet("tanh"), 1.1),
    ("residual pre-activation", ResNet("tanh", block="pre"), 1.1),
    ("residual orthogonal", ResNet("tanh", weights="orthogonal"), 0.7),
    ("feed-forward orthogonal", FeedForward("tanh", sigma_w=1.05, sigma_b=0.1, weights="orthogonal"), 0.7),
)
DEPTHS = (10, 100, 500, 2000)


def haar(size, rng):
    q, r = np.linalg.qr(rng.standard_normal((size, size)))
    return q * np.sign(r.diagonal())


def plain(network, width):
    rng = np.random.default_rng(0)
    signal, jacobian = rng.standard_normal(width), np.eye(width)
    residual = isinstance(network, ResNet)
    sigma = network.sigma_w / np.sqrt(network.depth if residual else 1)
    phi, dphi = network.act.phi, network.act.dphi
    for _ in range(network.depth):
        if network.weights == "orthogonal":
            weights = sigma * haar(width, rng)
        else:
            weights = sigma / np.sqrt(width) * rng.standard_normal((width, width))
        bias = network.sigma_b * rng.standard_normal(width)
        if residual and network.block == "pre":
            image = weights @ (dphi(signal)[:, None] * jacobian)
            output = weights @ phi(signal) + bias
        else:
            field = weights @ signal + bias
            image, output = dphi(field)[:, None] * (weights @ jacobian), phi(field)
        jacobian = image + network.skip * jacobian if residual else image
        signal = output + network.skip * signal if residual else output
    return np.linalg.svd(jacobian, compute_uv=False)


def seconds(functions, repeats):
    best = [np.inf] * len(functions)
    for _ in range(repeats):
        for i, function in enumerate(functions):
            start = time.process_time()
            function()
            best[i] = min(best[i], time.process_time() - start)
    return best


def identity_error(network, width, seed):
    with recorded() as layers:
        log_s = replicate(network, width, seed, 0)
    determinants = np.sum([np.linalg.slogdet(layer)[1] for layer in in_order(layers)])
    return abs(log_s.sum() - determinants) / np.abs(log_s).sum()


def main(width=1000, depth=100, repeats=2):
    print(f"N = {width}, L = {depth}")
    print(f"{'network':>28} {'s':>8} {'plain':>8} {'ratio':>6} {'limit':>6}")
    for name, kind, limit in TIMED:
        network = replace(kind, depth=depth)
        ours, theirs = seconds(
            (lambda: replicate(network, width, 0, 0), lambda: plain(network, width)),  # noqa: B023 - called here
            repeats,
        )
        print(f"{name:>28} {ours:8.2f} {theirs:8.2f} {ours / theirs:6.2f} {limit:6.1f}", flush=True)
    print("\nerror of the identity", *(f"{f'L = {depth}':>9}" for depth in DEPTHS))
    for size in (12, 50, 100):
        for kind in (FeedForward("linear"), FeedForward("tanh", sigma_w=2.5, sigma_b=0.3)):
            worst = [
                max(identity_error(replace(kind, depth=depth), size, seed) for seed in range(3))
                for depth in DEPTHS
            ]
            print(
                f"{f'{kind.activation}, N = {size}':>21}", *(f"{error:9.1e}" for error in worst), flush=True
            )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
