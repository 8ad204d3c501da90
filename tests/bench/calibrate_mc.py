"""Calibrate the judgement of simulations: displacements at finite width, false alarms, power.

Run by hand, about 25 minutes of CPU: ``python tests/bench/calibrate_mc.py [WIDTH ...]``. For every network
and width: the difference between simulation and theory over all trials as a share of the allowance (the
largest three, with standard errors), and how many groups of 8 trials reject the right law. Then, for N = 500,
how many groups reject wrong laws: c 5 % off, gates of pre-activation blocks taken for free, Gaussian weights
taken for orthogonal ones.
"""

import math
import sys
import time
from dataclasses import replace

from isocalc.judging.judge import compare
from isocalc.judging.outliers import set_aside
from isocalc.judging.statistics import findings
from isocalc.judging.width_law import WidthLaw
from isocalc.networks.descriptions import FeedForward, ResNet
from isocalc.simulation.simulate import spectra

TRIALS = 8
GROUPS = {50: 100, 100: 25, 200: 8, 500: 3}
FIRST_SEED = 77_000_000
# Activation, depth, sigma_w, sigma_b, weights.
FEED_FORWARD = (
    ("linear", 1, 1.0, 0.0, "gaussian"),
    ("linear", 3, 1.0, 0.0, "gaussian"),
    ("linear", 10, 1.0, 0.0, "gaussian"),
    ("linear", 30, 1.0, 0.0, "gaussian"),
    ("linear", 100, 1.0, 0.0, "gaussian"),
    ("relu", 2, math.sqrt(2), 0.0, "gaussian"),
    ("relu", 10, math.sqrt(2), 0.0, "gaussian"),
    ("relu", 40, 1.2, 0.0, "gaussian"),
    ("relu", 3, 1.0, 0.0, "orthogonal"),
    ("relu", 10, math.sqrt(2), 0.0, "orthogonal"),
    ("leaky_relu:0.2", 10, 1.0, 0.0, "gaussian"),
    ("leaky_relu:0.5", 20, 1.0, 0.0, "orthogonal"),
    ("tanh", 10, 1.5, 0.1, "gaussian"),
    ("tanh", 100, 1.1, 0.05, "gaussian"),
    ("tanh", 10, 1.05, 0.02, "orthogonal"),
    ("tanh", 50, 1.2, 0.2, "orthogonal"),
    ("tanh", 3, 2.0, 0.3, "orthogonal"),
    ("hardtanh", 3, math.sqrt(1.2), math.sqrt(0.1), "orthogonal"),
    ("hardtanh", 20, 1.2, 0.2, "gaussian"),
    ("gelu", 10, 1.3, 0.3, "gaussian"),
    ("silu", 10, 1.4, 0.3, "orthogonal"),
    ("erf", 20, 1.0, 0.1, "orthogonal"),
    ("softplus", 5, 1.0, 0.3, "gaussian"),
    ("sigmoid", 4, 2.0, 0.2, "gaussian"),
    ("squared_relu", 4, 0.5, 0.3, "gaussian"),
    ("elu", 20, 1.1, 0.0, "gaussian"),
    ("sin", 10, 1.2, 0.2, "gaussian"),
)
RESIDUAL = (
    ("linear", 1, 1.0, 0.0, "gaussian", "own"),
    ("linear", 3, 1.0, 0.0, "orthogonal", "own"),
    ("linear", 8, 1.0, 0.0, "gaussian", "own"),
    ("linear", 20, 0.2, 0.0, "gaussian", "own"),
    ("linear", 20, 1.0, 0.0, "orthogonal", "own"),
    ("linear", 60, 3.0, 0.0, "gaussian", "own"),
    ("linear", 100, 1.0, 0.0, "gaussian", "own"),
    ("relu", 2, 1.0, 0.0, "gaussian", "own"),
    ("relu", 4, 1.4, 0.0, "orthogonal", "own"),
    ("relu", 10, 1.0, 0.0, "gaussian", "own"),
    ("relu", 60, 2.0, 0.0, "gaussian", "own"),
    ("relu", 20, 1.0, 0.5, "orthogonal", "own"),
    ("relu", 20, 2.0, 0.0, "gaussian", "independent"),
    ("tanh", 2, 1.5, 0.0, "gaussian", "own"),
    ("tanh", 5, 2.0, 0.0, "orthogonal", "own"),
    ("tanh", 10, 0.7, 0.0, "gaussian", "own"),
    ("tanh", 20, 2.0, 0.5, "gaussian", "own"),
    ("tanh", 20, 2.0, 0.0, "orthogonal", "own"),
    ("tanh", 100, 1.0, 0.0, "gaussian", "own"),
    ("gelu", 20, 1.5, 0.0, "gaussian", "own"),
    ("silu", 20, 1.0, 0.0, "orthogonal", "own"),
    ("elu", 20, 1.0, 0.0, "gaussian", "own"),
    ("selu", 20, 1.5, 0.1, "gaussian", "own"),
    ("softplus", 20, 1.0, 0.0, "gaussian", "own"),
    ("sigmoid", 20, 2.0, 0.0, "gaussian", "own"),
    ("gaussian", 20, 1.0, 0.0, "gaussian", "own"),
    ("tanhshrink", 20, 2.0, 0.0, "gaussian", "own"),
    ("hardshrink", 30, 2.0, 0.0, "gaussian", "own"),
    ("squared_relu", 20, 0.7, 0.0, "gaussian", "own"),
    ("sin", 20, 2.5, 0.0, "gaussian", "own"),
    ("snake", 20, 1.5, 0.0, "gaussian", "own"),
    ("threshold:1:-5", 30, 2.0, 0.0, "gaussian", "own"),
)
PRE = ResNet("tanh", depth=40, sigma_w=2.0, input_variance=4.0, block="pre")
ORTHOGONAL = (
    FeedForward("tanh", depth=5, sigma_w=1.1, sigma_b=0.1, weights="orthogonal"),
    FeedForward("linear", depth=1, input_variance=1.0, weights="orthogonal"),
    FeedForward("relu", depth=20, input_variance=1.0, weights="orthogonal"),
    ResNet("linear", depth=10, sigma_w=1.5, weights="orthogonal"),
    ResNet("tanh", depth=10, sigma_w=2.0, weights="orthogonal"),
)


def cases(n):
    for name, depth, sigma_w, sigma_b, weights in FEED_FORWARD:
        yield FeedForward(name, depth=depth, sigma_w=sigma_w, sigma_b=sigma_b, weights=weights), "own"
    yield FeedForward("relu", depth=10, sigma_w=1.4), "independent"
    yield FeedForward("tanh", depth=8, sigma_w=1.3, sigma_b=0.2, tied=True), "own"
    yield FeedForward("relu", depth=3, sigma_w=1.4, layer_widths=(n, 2 * n, n, n // 2)), "own"
    narrowing = (n, n, n // 2, n // 2)
    yield (
        FeedForward("tanh", depth=3, sigma_w=1.4, sigma_b=0.2, weights="orthogonal", layer_widths=narrowing),
        "own",
    )
    yield FeedForward("linear", depth=2, layer_widths=(n, 2 * n, 3 * n)), "own"
    for name, depth, sigma_w, sigma_b, weights, gates in RESIDUAL:
        yield ResNet(name, depth=depth, sigma_w=sigma_w, sigma_b=sigma_b, weights=weights), gates


def replicates(network, width, trials, seed, gates="own"):
    chain = isinstance(network, FeedForward) and network.layer_widths
    return spectra(network, None if chain else width, trials, seed, gates=gates)


def rejects(log_s, law):
    statistics = compare(set_aside(log_s, law)[0], law)
    return [statistic.name for statistic in statistics if statistic.verdict == "disagrees"]


def calibrate(width):
    shares, alarms, groups, found, wrong = {}, [], 0, 0, 0
    for seed, (network, gates) in enumerate(cases(width), start=FIRST_SEED + 10_000 * width):
        law = WidthLaw.of(network, width, gates=gates)
        log_s = replicates(network, width, TRIALS * GROUPS[width], seed, gates)
        label = f"{type(network).__name__} {network.act.name} {network.weights} L={network.depth}"
        for finding in findings(set_aside(log_s, law)[0], law):
            if finding.theory is not None and finding.allowance is not None:
                share = (finding.simulation - finding.theory) / finding.allowance
                error = finding.standard_error / finding.allowance
                entry = (abs(share) - 2 * error, f"{share:+.2f} ± {error:.2f} ({label} {gates})")
                shares[finding.name] = sorted([*shares.get(finding.name, []), entry], reverse=True)
        off = []
        if isinstance(network, ResNet):
            networks = [replace(network, sigma_w=network.sigma_w * math.sqrt(by)) for by in (0.95, 1.05)]
            off = [WidthLaw.of(wrong_one, width, gates=gates) for wrong_one in networks]
        for group in log_s.reshape(-1, TRIALS, log_s.shape[1]):
            groups += 1
            alarms += [(label, names)] if (names := rejects(group, law)) else []
            found += sum(bool(rejects(group, law)) for law in off)
            wrong += len(off)
    print(f"N = {width}: {len(alarms)} false alarms in {groups} groups; c off by 5 %: {found} of {wrong}")
    for label, names in alarms:
        print(f"  alarm: {label}: {', '.join(names)}")
    for name, entries in shares.items():
        print(f"  {name}: " + "; ".join(text for _, text in entries[:3]))


def power(width, groups):
    law = WidthLaw.of(PRE, width)
    log_s = replicates(PRE, width, TRIALS * groups, FIRST_SEED)
    count = sum(bool(rejects(group, law)) for group in log_s.reshape(groups, TRIALS, -1))
    print(f"N = {width}, gates of pre-activation blocks taken for free: {count} of {groups}")
    for network in ORTHOGONAL:
        law = WidthLaw.of(replace(network, weights="gaussian"), width)
        log_s = replicates(network, width, TRIALS * groups, FIRST_SEED)
        count = sum(bool(rejects(group, law)) for group in log_s.reshape(groups, TRIALS, -1))
        kind = f"{type(network).__name__} {network.act.name} L={network.depth}"
        print(f"N = {width}, Gaussian taken for orthogonal, {kind}: {count} of {groups}")


if __name__ == "__main__":
    for width in [int(word) for word in sys.argv[1:]] or GROUPS:
        start = time.process_time()
        calibrate(width)
        if width == max(GROUPS):
            power(width, 8)
        print(f"  {time.process_time() - start:.0f} s of CPU", flush=True)
