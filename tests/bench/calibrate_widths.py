"""Calibrate the judgement by several widths: false alarms and power of what is extrapolated to N → ∞.

Run by hand, about 4 minutes of CPU: ``python tests/bench/calibrate_widths.py [GROUPS]``. Each group has 8
trials at N = 50, 100 and 200.
"""

import math
import sys
from dataclasses import replace

from isocalc.judging.width_trend import judge_widths
from isocalc.networks.descriptions import FeedForward, ResNet
from isocalc.simulation.simulate import spectra

WIDTHS, TRIALS, FIRST_SEED = (50, 100, 200), 8, 78_000_000
RESIDUAL = (
    ResNet("linear", depth=10),
    ResNet("relu", depth=20),
    ResNet("tanh", depth=10, sigma_w=1.5),
    ResNet("gelu", depth=20, sigma_w=1.5),
    ResNet("tanh", depth=10, sigma_w=2.0, weights="orthogonal"),
)
FEED_FORWARD = (
    FeedForward("linear", depth=3, input_variance=1.0),
    FeedForward("relu", depth=5, sigma_w=math.sqrt(2), input_variance=1.0),
    FeedForward("relu", depth=3, input_variance=1.0, weights="orthogonal"),
    FeedForward("tanh", depth=10, sigma_w=1.05, sigma_b=0.02, weights="orthogonal"),
    FeedForward("hardtanh", depth=3, sigma_w=1.1, sigma_b=0.3, weights="orthogonal"),
    FeedForward("gelu", depth=5, sigma_w=1.3, sigma_b=0.3),
)
PRE = ResNet("tanh", depth=20, sigma_w=2.0, input_variance=4.0, block="pre")


def samples(network, groups):
    """Yield groups of replicates by width."""
    for k in range(groups):
        yield {width: spectra(network, width, TRIALS, FIRST_SEED + 100 * k) for width in WIDTHS}


def rejects(group, network):
    return [trend.name for trend in judge_widths(group, network)[1] if trend.verdict == "disagrees"]


def main(groups):
    alarms = found = 0
    for network in (*RESIDUAL, *FEED_FORWARD):
        for group in samples(network, groups):
            if wrong := rejects(group, network):
                alarms += 1
                print(f"alarm: {network}: {', '.join(wrong)}", flush=True)
            if network in RESIDUAL:
                off = [replace(network, sigma_w=network.sigma_w * math.sqrt(by)) for by in (0.95, 1.05)]
                found += sum(bool(rejects(group, wrong_one)) for wrong_one in off)
    count = groups * len(RESIDUAL)
    print(
        f"{alarms} false alarms in {count + groups * len(FEED_FORWARD)}; c off by 5 %: {found} of {2 * count}"
    )
    pre = sum(bool(rejects(group, PRE)) for group in samples(PRE, groups))
    print(f"gates of pre-activation blocks taken for free: {pre} of {groups}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 8)
