"""How often `judging.freeness` rejects gates that are free, and finds those that are not: the figures of mc.

    OPENBLAS_NUM_THREADS=1 python tests/bench/calibrate_freeness.py WIDTH GROUPS SEED

Groups of 8 trials of either kind; a false-alarm rate of 1 % by any of the statistics.
"""

import sys

import numpy as np

from isocalc.judging.freeness import contrasts
from isocalc.networks.descriptions import FeedForward, ResNet
from isocalc.simulation.replicates import Replicate, run
from isocalc.simulation.simulate import GATES

TRIALS = 8


def free(width: int) -> list[ResNet | FeedForward]:
    chain = (width, 3 * width // 2, 7 * width // 6, width // 3)
    return [
        ResNet("tanh", depth=20),
        ResNet("relu", depth=20, sigma_w=1.4),
        ResNet("relu", depth=20, weights="orthogonal"),
        ResNet("softplus", depth=30),
        ResNet("gelu", depth=10, sigma_w=2.0),
        FeedForward("tanh", depth=1, sigma_w=1.5, sigma_b=0.1),
        FeedForward("tanh", depth=10, sigma_w=1.3, sigma_b=0.1),
        FeedForward("tanh", depth=40, sigma_w=1.0, sigma_b=0.1),
        FeedForward("tanh", depth=10, sigma_w=2.5, sigma_b=0.1),
        FeedForward("tanh", depth=10, sigma_w=1.3, sigma_b=0.1, tied=True),
        FeedForward("tanh", depth=20, sigma_w=1.1, sigma_b=0.1, weights="orthogonal"),
        FeedForward("sigmoid", depth=5, sigma_w=3.0),
        FeedForward("relu", depth=10, sigma_w=2**0.5),
        FeedForward("hardtanh", depth=10, sigma_w=1.3, sigma_b=0.2, weights="orthogonal"),
        FeedForward("linear", depth=5),
        FeedForward("relu", depth=3, sigma_w=1.4, layer_widths=chain),
    ]


def rejected(network: ResNet | FeedForward, width: int, groups: int, seed: int) -> int:
    width_given = None if getattr(network, "layer_widths", None) else width
    trials = range(groups * TRIALS)
    tasks = [Replicate(network, width_given, seed, trial, gates) for gates in GATES for trial in trials]
    log_s = np.array(run(tasks)).reshape(2, groups, TRIALS, width)
    return sum(
        any(contrast.verdict == "disagrees" for contrast in contrasts(log_s[0, group], log_s[1, group]))
        for group in range(groups)
    )


def main() -> None:
    width, groups, seed = map(int, sys.argv[1:])
    total = 0
    for network in free(width):
        total += (found := rejected(network, width, groups, seed))
        print(f"{found:4d} of {groups}  {network}", flush=True)
    print(f"{total:4d} of {groups * len(free(width))}  free gates rejected")
    correlated = ResNet("tanh", depth=20, block="pre", sigma_w=2.0, input_variance=4.0)
    print(f"{rejected(correlated, width, groups, seed):4d} of {groups}  correlated gates found: {correlated}")


if __name__ == "__main__":
    main()
